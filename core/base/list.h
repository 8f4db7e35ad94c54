/* core/base/list.h - a doubly linked ring with its node inside the object.
 *
 * A list is a node that stands alone; an unlinked node points at itself, so unlinking twice is
 * harmless.
 */
#ifndef CORE_BASE_LIST_H
#define CORE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_push(struct list *l, struct list *node) /* at the end */
{
    node->prev = l->prev;
    node->next = l;
    l->prev->next = node;
    l->prev = node;
}

static inline void list_push_front(struct list *l, struct list *node)
{
    list_push(l->next, node);
}

static inline void list_unlink(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

static inline struct list *list_first(struct list *l)
{
    return list_empty(l) ? NULL : l->next;
}

static inline struct list *list_pop(struct list *l)
{
    struct list *node = list_first(l);

    if (node)
        list_unlink(node);
    return node;
}

/* All of `from`, in its order, to `to`, which held nothing. */
static inline void list_take(struct list *to, struct list *from)
{
    if (list_empty(from)) {
        list_init(to);
        return;
    }
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

/* `next` is read ahead, so the body may unlink `node`. */
#define list_each(node, next_, l) \
    for (struct list *node = (l)->next, *next_ = node->next; node != (l); \
         node = next_, next_ = node->next)

#define list_entry(node, type, member) container_of(node, type, member)

#endif
