/* Copying an event: one pass adds the sizes up, a second one lays the texts out behind the facts.
 * Texts that come as one block are copied as one, and the pointers into it moved. */
#include "log/event.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "lib/text.h"

static struct event *event_new(const ath_event *from, size_t text)
{
    size_t facts = from->fact_count * sizeof(ath_fact);
    struct event *ev;

    if (from->fact_count > EVENT_FACTS || text > EVENT_MOST)
        return NULL;
    if (!(ev = malloc(sizeof(*ev) + facts + text)))
        return NULL;
    atomic_init(&ev->refs, 1);
    ev->e = *from;
    ev->e.size = sizeof(ev->e);
    ev->e.fact = ev->fact;
    if (!ev->e.time_ns)
        ev->e.time_ns = clock_wall_ns();
    if (facts)
        memcpy(ev->fact, from->fact, facts);
    return ev;
}

static size_t text_size(const ath_event *e)
{
    size_t n = e->source.n + e->name.n + e->message.n + e->request_id.n + e->trace_id.n + 5;

    for (uint32_t i = 0; i < e->fact_count; i++)
        n += e->fact[i].value.n + e->fact[i].key.n + 2;
    return n;
}

static char *put(char *at, ath_str *s)
{
    char *end = str_put(at, *s);

    *end = 0;
    s->p = at;
    return end + 1;
}

struct event *event_copy(const ath_event *from)
{
    struct event *ev = event_new(from, text_size(from));
    char *at;

    if (!ev)
        return NULL;
    at = (char *)(ev->fact + from->fact_count);
    at = put(at, &ev->e.source);
    at = put(at, &ev->e.name);
    at = put(at, &ev->e.message);
    at = put(at, &ev->e.request_id);
    at = put(at, &ev->e.trace_id);
    for (ath_fact *f = ev->fact, *end = f + from->fact_count; f < end; f++) {
        at = put(at, &f->key);
        at = put(at, &f->value);
    }
    return ev;
}

struct block {
    uintptr_t from, n, move; /* move: added to what points into it */
};

static void moved(const struct block *b, ath_str *s)
{
    uintptr_t p = (uintptr_t)s->p;

    if (p - b->from < b->n)
        s->p = (const char *)(p + b->move);
}

struct event *event_copy_block(const ath_event *from, const char *text, size_t n)
{
    struct event *ev = event_new(from, n);
    struct block b = { .from = (uintptr_t)text, .n = n };
    char *at;

    if (!ev)
        return NULL;
    at = (char *)(ev->fact + from->fact_count);
    memcpy(at, text, n);
    b.move = (uintptr_t)at - b.from;
    moved(&b, &ev->e.source);
    moved(&b, &ev->e.name);
    moved(&b, &ev->e.message);
    moved(&b, &ev->e.request_id);
    moved(&b, &ev->e.trace_id);
    for (ath_fact *f = ev->fact, *end = f + from->fact_count; f < end; f++)
        moved(&b, &f->value);
    return ev;
}

void event_release(struct event *ev)
{
    if (atomic_fetch_sub_explicit(&ev->refs, 1, memory_order_acq_rel) == 1)
        free(ev);
}
