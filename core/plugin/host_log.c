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

static void write_line(ath_self *s, ath_task *t, int level, const char *fmt, va_list ap)
{
    struct buf text = BUF_HEAP, redacted = BUF_HEAP;
    ath_event ev = { .size = sizeof(ev), .level = (uint32_t)level };

    if (level < ATH_ERROR || level > ATH_DEBUG || !log_wants(level, str_of(s->name)))
        return;
    buf_vprintf(&text, fmt, ap);
    log_redact(&redacted, buf_view(&text));
    ev.message = buf_view(&redacted);
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
    ours.flags &= ATH_EV_KEEP; /* the core's own flags are not for others */
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
