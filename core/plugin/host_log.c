/* ath_log_api: lines, events and metrics in a plugin's name. */
#include "log/log.h"

#include "base/clock.h"
#include "http/req.h"
#include "lib/buf.h"
#include "log/metric.h"
#include "plugin/abi.h"
#include "plugin/host.h"

/* Says which request an event belongs to, where the plugin did not. */
static void complete(ath_self *s, ath_task *t, ath_event *ev)
{
    if (ev->source.n == 0)
        ev->source = str_of(s->name);
    if (ev->time_ns == 0)
        ev->time_ns = clock_wall_ns();
    if (!t || !req_is(t))
        return;
    if (ev->request_id.n == 0)
        ev->request_id = str_of(req_of(t)->id);
    if (ev->trace_id.n == 0)
        ev->trace_id = req_of(t)->trace_id;
}

enum { SPAN_FACTS = 3 };

/* The request around a line, as its own lines show it: first of all facts, and only where the
 * filter lets requests show. */
static uint32_t span_facts(ath_task *t, ath_fact fact[SPAN_FACTS])
{
    const struct req *r;

    if (!t || !req_is(t) || !log_wants(ATH_INFO, ATH_S("athena::http")))
        return 0;
    r = req_of(t);
    fact[0] = (ath_fact){ ATH_S(LOG_SPAN "http_method"), r->method, ATH_V_PLAIN, 0 };
    fact[1] = (ath_fact){ ATH_S(LOG_SPAN "http_route"), r->path, ATH_V_PLAIN, 0 };
    fact[2] = (ath_fact){ ATH_S(LOG_SPAN "net_peer_addr"), r->peer, ATH_V_PLAIN, 0 };
    return SPAN_FACTS;
}

static void write_line(ath_self *s, ath_task *t, int level, const char *fmt, va_list ap)
{
    struct buf text = BUF_HEAP, redacted = BUF_HEAP;
    ath_fact fact[SPAN_FACTS];
    ath_event ev = { .size = sizeof(ev), .level = (uint32_t)level, .fact = fact };

    if (level < ATH_ERROR || level > ATH_DEBUG || !log_wants(level, str_of(s->name)))
        return;
    buf_vprintf(&text, fmt, ap);
    log_redact(&redacted, buf_view(&text));
    ev.message = buf_view(&redacted);
    ev.fact_count = span_facts(t, fact);
    complete(s, t, &ev);
    log_event(&ev);
    buf_free(&text);
    buf_free(&redacted);
}

static int event(ath_self *s, ath_task *t, const ath_event *ev)
{
    ath_event ours;

    abi_copy(&ours, sizeof(ours), ev, ev->size);
    if (ours.level < ATH_ERROR || ours.level > ATH_DEBUG)
        return ATH_E_BUG;
    ours.size = sizeof(ours);
    ours.flags &= ATH_EV_KEEP | ATH_EV_ROW; /* the core's own flags are not for others */
    complete(s, t, &ours);
    return log_event(&ours);
}

static void put(ath_self *s, uint32_t metric, const ath_str *label, double v)
{
    if (metric < s->d.metric_count)
        metric_put(s->metric[metric], label, v);
}

const ath_log_api host_log = {
    .size = sizeof(host_log),
    .write = write_line,
    .event = event,
    .put = put,
};
