/* core/plugin: lines that a plugin writes, outside and inside a request. */
#include "http/req.h"
#include "log/log.h"
#include "plugin/host.h"
#include "support/check_main.h"

static struct buf text;          /* what the sink got */

static int keep(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    (void)state, (void)e;
    for (size_t i = 0; i < n; i++) {
        buf_printf(&text, "%s: %s", batch[i]->source.p, batch[i]->message.p);
        for (uint32_t f = 0; f < batch[i]->fact_count; f++)
            buf_printf(&text, " %s=%s", batch[i]->fact[f].key.p, batch[i]->fact[f].value.p);
        buf_printf(&text, " %s\n", batch[i]->request_id.p);
    }
    return 0;
}

static const ath_sink sink = { ATH_CAP(ath_sink, ATH_CAP_SINK, "keep"), .events = "*", .write = keep };

ATH_PRINTF(2, 3) static const char *written(ath_task *t, const char *fmt, ...)
{
    static ath_self self = { .name = "routes-x" };
    struct log_sink *s = NULL;
    va_list ap;
    ath_err e;

    buf_reset(&text);
    ck_assert_int_eq(log_sink_start("keep", &sink, NULL, NULL, &s, &e), 0);
    va_start(ap, fmt);
    host_table()->log->write(&self, t, ATH_WARN, fmt, ap);
    va_end(ap);
    log_sink_stop(s);
    return buf_view(&text).p;
}

START_TEST(a_line_in_a_request_begins_with_it)
{
    static const struct task_type job = { .name = "job" };
    struct req r = { .method = ATH_S("POST"), .path = ATH_S("/gateway/fetch"),
                     .peer = ATH_S("10.0.0.7"), .id = "24d26ac3-64e9-416b-afd9-4db3a9520ba1" };
    ath_task below = { .type = &job, .parent = &r.task };
    ath_err e;

    r.task.type = &request_type;
    ck_assert_str_eq(written(NULL, "no %s", "request"), "routes-x: no request \n");
    ck_assert_str_eq(written(&below, "password=%s", "x"),
                     "routes-x: password=*** span.http_method=POST span.http_route=/gateway/fetch "
                     "span.net_peer_addr=10.0.0.7 24d26ac3-64e9-416b-afd9-4db3a9520ba1\n");
    ck_assert_int_eq(log_filter("warn", &e), 0);
    ck_assert_str_eq(written(&r.task, "alone"),
                     "routes-x: alone 24d26ac3-64e9-416b-afd9-4db3a9520ba1\n");
    buf_free(&text);
}
END_TEST

SUITE("plugin line", a_line_in_a_request_begins_with_it)
