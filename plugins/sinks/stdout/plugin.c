/* sink-stdout: events to standard output; coloured lines on a terminal, a JSON object per line
 * otherwise.
 *
 * A reader that has gone (broken pipe) or a closed descriptor costs the batch, never the server; a
 * reader that is slow, or a full disk behind a redirection, makes the host keep the batch.
 */
#include <errno.h>
#include <unistd.h>

#include "logline/logline.h"
#include "logline/sink_fields.h"

struct config {
    ath_str format, color;
    int32_t date;
    SINK_QUEUE_MEMBERS;
};

struct sink {
    const struct config *cfg;
    bool json;
    unsigned flags; /* LOGLINE_* */
    bool waits;     /* the last batch did not go out whole */
    struct logline line;
    struct logout out;
};

static bool colored(const struct config *cfg, bool terminal)
{
    bool on;

    if (getenv("NO_COLOR"))
        return false;
    return str_bool(cfg->color, &on) ? on : terminal;
}

static int out_open(void *state, ath_err *e)
{
    struct sink *s = state;
    bool terminal = isatty(STDOUT_FILENO);

    (void)e;
    s->out.fd = STDOUT_FILENO;
    s->json = str_is(s->cfg->format, "json") || (str_is(s->cfg->format, "auto") && !terminal);
    s->flags = LOGLINE_SPAN | (colored(s->cfg, terminal) ? LOGLINE_COLOR : 0) |
               (s->cfg->date ? LOGLINE_DATE : 0);
    return 0;
}

static int out_write(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    struct sink *s = state;
    int rc;

    for (size_t i = 0; i < n && !s->waits; i++) {
        if (s->json)
            logline_json(&s->line, &s->out.text, batch[i]);
        else
            logline_text(&s->line, &s->out.text, batch[i], s->flags);
    }
    rc = logout_flush(&s->out);
    s->waits = rc == -EAGAIN || rc == -ENOSPC || rc == -EDQUOT;
    if (rc == 0)
        return 0;
    errno = -rc;
    if (s->waits)
        return ath_fail(e, ATH_E_RETRY, "could not write to standard output: %m");
    logout_free(&s->out);
    return ath_fail(e, ATH_E_UPSTREAM, "could not write to standard output: %m");
}

static int init(ath_self *self, const void *config, void **state, ath_err *e)
{
    struct sink *s = calloc(1, sizeof(*s));

    (void)self;
    if (!s)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    s->cfg = config;
    *state = s;
    return 0;
}

static void fini(void *state)
{
    struct sink *s = state;

    if (!s)
        return;
    logout_free(&s->out);
    logline_free(&s->line);
    free(s);
}

static const ath_field fields[] = {
    ATH_STR(struct config, format, "format", "auto", "auto|text|json",
            "Lines for people, JSON objects, or what suits: lines on a terminal, else JSON."),
    ATH_STR(
        struct config, color, "color", "auto", NULL,
        "Colours of the lines: true, false, or auto: on a terminal. NO_COLOR switches them off.",
        .alias = "$ATHENA_ANSI"),
    ATH_BOOL(struct config, date, "date", "false",
             "Begin each line with date, time and zone instead of the time alone.",
             .alias = "$ATHENA_LOG_DATE"),
    SINK_QUEUE_FIELDS(struct config),
};

static const ath_sink sink = {
    ATH_CAP(ath_sink, ATH_CAP_SINK, "stdout"),
    .events = "*",
    .open = out_open,
    .write = out_write,
};
static const ath_cap *const caps[] = { &sink.cap, NULL };

ATH_PLUGIN("sink-stdout", "1.0.0", "", "", .summary = "Events to standard output",
           ATH_ARRAY(field, fields), .config_size = sizeof(struct config), .cap = caps,
           .init = init, .fini = fini);
