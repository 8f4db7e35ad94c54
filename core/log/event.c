/* Copying an event: one pass adds the sizes up, a second one lays the texts out behind the facts. */
#include "log/event.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "log/log.h"

static size_t text_size(const ath_event *e, bool keys)
{
    size_t n = e->source.n + e->name.n + e->message.n + e->request_id.n + e->trace_id.n + 5;

    for (uint32_t i = 0; i < e->fact_count; i++)
        n += e->fact[i].value.n + 1 + (keys ? e->fact[i].key.n + 1 : 0);
    return n;
}

static char *put(char *at, ath_str *s)
{
    if (s->n)
        memcpy(at, s->p, s->n);
    at[s->n] = 0;
    s->p = at;
    return at + s->n + 1;
}

struct event *event_copy(const ath_event *from)
{
    bool keys = !(from->flags & LOG_KEYS_STAY);
    size_t facts = from->fact_count * sizeof(ath_fact), n = text_size(from, keys);
    struct event *ev;
    char *at;

    if (from->fact_count > EVENT_FACTS || n > EVENT_MOST)
        return NULL;
    if (!(ev = malloc(sizeof(*ev) + facts + n)))
        return NULL;
    atomic_init(&ev->refs, 1);
    ev->e = *from;
    ev->e.size = sizeof(ev->e);
    ev->e.flags &= ~(uint32_t)LOG_KEYS_STAY;
    ev->e.fact = ev->fact;
    if (!ev->e.time_ns)
        ev->e.time_ns = clock_wall_ns();
    if (facts)
        memcpy(ev->fact, from->fact, facts);
    at = (char *)ev->fact + facts;
    at = put(at, &ev->e.source);
    at = put(at, &ev->e.name);
    at = put(at, &ev->e.message);
    at = put(at, &ev->e.request_id);
    at = put(at, &ev->e.trace_id);
    for (ath_fact *f = ev->fact, *end = f + from->fact_count; f < end; f++) {
        at = put(at, &f->value);
        if (keys)
            at = put(at, &f->key);
    }
    return ev;
}

void event_release(struct event *ev)
{
    if (atomic_fetch_sub_explicit(&ev->refs, 1, memory_order_acq_rel) == 1)
        free(ev);
}
