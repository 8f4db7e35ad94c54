/* Events in their blocks: first the events, then all facts, then the texts one after the other. */
#include "log/event.h"

#include "base/clock.h"
#include "log/log.h"

bool log_draft_begin(struct log_draft *d, uint32_t events, uint32_t facts, size_t text)
{
    size_t before = events * sizeof(struct event) + facts * sizeof(ath_fact);
    struct block *b = block_take(before + text);

    if (!b)
        return false;
    if (b->events != events || b->facts != facts) {
        b->events = events;
        b->facts = facts;
        b->copied[0] = b->copied[1] = NULL;
    }
    *d = (struct log_draft){ .block = b,
                             .fact = (ath_fact *)(void *)(b->at + events * sizeof(struct event)),
                             .at = b->at + before,
                             .end = b->at + b->room,
                             .most = events };
    return true;
}

ath_fact *log_draft_event(struct log_draft *d, const ath_event *e, uint32_t hidden)
{
    const void **copied = &d->block->copied[d->count];
    struct event *ev = (struct event *)(void *)d->block->at + d->count++;
    ath_fact *fact = d->fact;

    ev->e = *e;
    ev->e.size = sizeof(ev->e);
    ev->e.fact = fact + hidden;
    ev->e.fact_count -= hidden;
    ev->block = d->block;
    ev->bytes = (sizeof(*d->block) + d->block->room) / d->most;
    if (!ev->e.time_ns)
        ev->e.time_ns = clock_wall_ns();
    if (*copied != e->fact || !(e->flags & ATH_EV_KEYS)) {
        if (e->fact_count)
            memcpy(fact, e->fact, e->fact_count * sizeof(*fact));
        d->block->copied[1] = NULL; /* behind another first event it may stand elsewhere */
        *copied = e->flags & ATH_EV_KEYS ? e->fact : NULL;
    }
    d->fact += e->fact_count;
    return fact;
}

static size_t text_size(const ath_event *e)
{
    size_t n = e->source.n + e->name.n + e->message.n + e->request_id.n + e->trace_id.n + 5;

    for (uint32_t i = 0; i < e->fact_count; i++)
        n += e->fact[i].value.n + e->fact[i].key.n + 2;
    return n;
}

/* Empty texts, too, end in a NUL: what the host gives does. */
static ath_str copied(struct log_draft *d, ath_str s)
{
    char *from = d->at, *end = str_put(from, s);

    *end = 0;
    d->at = end + 1;
    return str_from(from, s.n);
}

bool event_copy(struct log_draft *d, const ath_event *from)
{
    size_t text = text_size(from);
    ath_event e = *from;
    ath_fact *fact;

    if (e.fact_count > EVENT_FACTS || text > EVENT_MOST ||
        !log_draft_begin(d, 1, e.fact_count, text))
        return false;
    e.flags &= ~(uint32_t)ATH_EV_KEYS;
    e.source = copied(d, e.source);
    e.name = copied(d, e.name);
    e.message = copied(d, e.message);
    e.request_id = copied(d, e.request_id);
    e.trace_id = copied(d, e.trace_id);
    fact = log_draft_event(d, &e, 0);
    for (uint32_t i = 0; i < e.fact_count; i++) {
        fact[i].key = copied(d, fact[i].key);
        if (fact[i].value.p || !(e.flags & ATH_EV_ROW)) /* a column may be null */
            fact[i].value = copied(d, fact[i].value);
    }
    return true;
}
