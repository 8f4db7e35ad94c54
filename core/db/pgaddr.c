/* One host after the other through the loop's resolver; each address becomes an entry of its own,
 * so that libpq tries them in turn. What a guarded target may not reach is no entry, and one such
 * address is enough to refuse its whole name: libpq gets addresses that were looked at, and no
 * others.
 */
#include "db/pgaddr.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "io/resolve.h"
#include "lib/text.h"

enum { ADDRESSES = 64 }; /* of all hosts together */

struct entry {
    char *host, *addr, *port;
};

struct lookup {
    struct pgaddr out; /* first: what callers hold */
    struct resolve ask;
    ath_loop *loop;
    struct db_target *target;
    size_t next; /* the host to look up */
    struct entry entry[ADDRESSES];
    size_t entries;
    uint32_t rotate;
    pgaddr_fn *fn;
    void *arg;
    char why[256];
};

static void lookup_free(struct lookup *k)
{
    for (size_t i = 0; i < k->entries; i++) {
        free(k->entry[i].host);
        free(k->entry[i].addr);
        free(k->entry[i].port);
    }
    buf_free(&k->out.host);
    buf_free(&k->out.addr);
    buf_free(&k->out.port);
    target_unref(k->target);
    free(k);
}

static void entry_add(struct lookup *k, const struct db_host *h, const char *addr)
{
    if (k->entries == ADDRESSES)
        return;
    k->entry[k->entries++] =
        (struct entry){ mem_dup_z(h->name), mem_dup_z(addr ? addr : ""), mem_dup_z(h->port) };
}

static void finish(struct lookup *k)
{
    for (size_t i = 0; i < k->entries; i++) {
        const struct entry *en = &k->entry[(i + k->rotate) % k->entries];
        if (i) {
            buf_char(&k->out.host, ',');
            buf_char(&k->out.addr, ',');
            buf_char(&k->out.port, ',');
        }
        buf_z(&k->out.host, en->host);
        buf_z(&k->out.addr, en->addr);
        buf_z(&k->out.port, en->port);
    }
    k->fn(k->arg, &k->out, k->entries == 0 && k->target->hosts ? k->why : NULL);
    lookup_free(k);
}

static void step(struct lookup *k);

static bool is_forbidden(const struct lookup *k, const struct addresses *list)
{
    for (size_t i = 0; k->target->guarded && i < list->n; i++)
        if (address_class(&list->at[i]) != ADDRESS_PUBLIC)
            return true;
    return false;
}

static void take(struct lookup *k, const struct db_host *h, const struct addresses *list)
{
    char text[ADDRESS_TEXT];

    if (is_forbidden(k, list)) {
        (void)snprintf(k->why, sizeof(k->why), "host \"%s\" has a private address", h->name);
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        address_text(&list->at[i], text);
        entry_add(k, h, text);
    }
}

static void on_answer(struct resolve *ask, int rc, const struct addresses *list, const ath_err *e)
{
    struct lookup *k = container_of(ask, struct lookup, ask);
    const struct db_host *h = &k->target->host[k->next++];

    if (rc < 0)
        (void)snprintf(k->why, sizeof(k->why), "%.*s", e->message_n, e->message);
    else
        take(k, h, list);
    step(k);
}

/* An address that was given as such. */
static void take_given(struct lookup *k, const struct db_host *h)
{
    struct addresses one = { .n = 1 };

    if (h->addr && address_parse(str_of(h->addr), &one.at[0]) && is_forbidden(k, &one))
        (void)snprintf(k->why, sizeof(k->why), "host \"%s\" has a private address", h->name);
    else
        entry_add(k, h, h->addr);
}

static void step(struct lookup *k)
{
    for (; k->next < k->target->hosts; k->next++) {
        const struct db_host *h = &k->target->host[k->next];
        if (h->lookup) {
            resolve_start(k->loop, &k->ask, str_of(h->name));
            return;
        }
        take_given(k, h);
    }
    finish(k);
}

void pgaddr_start(ath_loop *l, struct db_target *t, uint32_t rotate, pgaddr_fn *fn, void *arg,
                  struct pgaddr **at)
{
    struct lookup *k = MEM_NEW(struct lookup);

    k->loop = l;
    k->target = target_ref(t);
    k->rotate = rotate;
    k->ask.done = on_answer;
    list_init(&k->ask.node);
    k->fn = fn;
    k->arg = arg;
    *at = &k->out;
    step(k);
}

void pgaddr_cancel(struct pgaddr *a)
{
    struct lookup *k = container_of(a, struct lookup, out);

    resolve_cancel(&k->ask);
    lookup_free(k);
}
