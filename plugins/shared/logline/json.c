/* The JSON line, and the clock that both kinds of line share. */
#include <time.h>

#include "lib/json.h"
#include "logline/logline_priv.h"

void logline_clock(struct logline *l, uint64_t second)
{
    time_t t = (time_t)second;
    struct tm local, utc;
    long minutes;

    if (l->second == second && l->clock[0])
        return;
    l->second = second;
    localtime_r(&t, &local);
    gmtime_r(&t, &utc);
    strftime(l->clock, sizeof(l->clock), "%Y-%m-%dT%H:%M:%S", &local);
    strftime(l->utc, sizeof(l->utc), "%Y-%m-%dT%H:%M:%S", &utc);
    minutes = local.tm_gmtoff / 60;
    snprintf(l->zone, sizeof(l->zone), "%c%02ld:%02ld", minutes < 0 ? '-' : '+',
             (minutes < 0 ? -minutes : minutes) / 60 % 24, (minutes < 0 ? -minutes : minutes) % 60);
}

void logline_free(struct logline *l)
{
    buf_free(&l->extra);
}

/* Bytes that are no UTF-8 would make the whole line unreadable: they become '?'. */
static void text(struct logline *l, struct buf *b, ath_str s)
{
    if (str_utf8(s)) {
        buf_json(b, s);
        return;
    }
    buf_reset(&l->extra);
    buf_str(&l->extra, s);
    utf8_mend(l->extra.p, l->extra.n);
    buf_json(b, buf_view(&l->extra));
}

static void key(struct logline *l, struct buf *b, ath_str name)
{
    char last = b->p[b->n - 1];

    if (last != '{')
        buf_char(b, ',');
    text(l, b, name);
    buf_char(b, ':');
}

static void member(struct logline *l, struct buf *b, ath_str name, ath_str value)
{
    if (value.n == 0)
        return;
    key(l, b, name);
    text(l, b, value);
}

static void fact(struct logline *l, struct buf *b, ath_str name, const ath_fact *f)
{
    bool raw =
        f->value.n && (f->form == ATH_V_NUMBER || f->form == ATH_V_BOOL || f->form == ATH_V_JSON);

    key(l, b, name);
    if (raw)
        buf_str(b, f->value);
    else
        text(l, b, f->value);
}

static void facts(struct logline *l, struct buf *b, const ath_event *e, bool span)
{
    bool any = false;

    for (uint32_t i = 0; i < e->fact_count; i++) {
        const ath_fact *f = &e->fact[i];
        if (is_span(f) != span)
            continue;
        if (!any)
            buf_z(b, span ? ",\"span\":{" : ",\"fields\":{");
        any = true;
        fact(l, b, span ? str_after(f->key, SPAN_N) : f->key, f);
    }
    if (any)
        buf_char(b, '}');
}

void logline_json(struct logline *l, struct buf *b, const ath_event *e)
{
    static const char *const levels[] = { "TRACE", "ERROR", "WARN", "INFO", "DEBUG", "TRACE" };

    logline_clock(l, e->time_ns / 1000000000u);
    buf_printf(b, "{\"time\":\"%s.%06uZ\",\"level\":\"%s\"", l->utc,
               (unsigned)(e->time_ns / 1000u % 1000000u), levels[e->level < 5 ? e->level : 5]);
    member(l, b, ATH_S("target"), e->source);
    member(l, b, ATH_S("name"), e->name);
    member(l, b, ATH_S("message"), e->message);
    member(l, b, ATH_S("request_id"), e->request_id);
    member(l, b, ATH_S("trace_id"), e->trace_id);
    facts(l, b, e, true);
    facts(l, b, e, false);
    buf_lit(b, "}\n");
}
