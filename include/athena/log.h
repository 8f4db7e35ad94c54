/* athena/log.h - events, the facts in them, and metrics. */
#ifndef ATHENA_LOG_H
#define ATHENA_LOG_H

#include <athena/abi.h>

/* clang-format off */

/* ---- metrics: declared in a table of the descriptor, fed by ath_log_api.put ---- */
enum {
    ATH_M_COUNTER = 1,           /* only grows; put adds */
    ATH_M_GAUGE,                 /* goes up and down; put sets */
    ATH_M_HISTOGRAM              /* put observes one value, in seconds */
};

/* An entry of ath_plugin.metric. Texts live as long as the plugin. The name must be new in the
 * process. */
typedef struct {
    const char *name;            /* "athena_sink_file_bytes_total" */
    const char *label;           /* names between commas: "client,table"; NULL: none */
    const char *help;            /* one sentence */
    uint32_t    kind;            /* ATH_M_* */
    uint32_t    series;          /* label sets kept (0: 1000); later ones count as "other" */
} ath_metric;

/* ---- events ---- */
enum {                           /* how a fact's value is written */
    ATH_V_PLAIN = 1,             /* a word: in a line as it is, in JSON as a string */
    ATH_V_TEXT,                  /* text: quoted in a line, a string in JSON */
    ATH_V_NUMBER,                /* a number in decimal */
    ATH_V_BOOL,                  /* true or false */
    ATH_V_JSON                   /* a JSON text, put in as it is */
};
enum {
    ATH_FACT_SAME = 1            /* pad, the host's alone, beside ATH_EV_KEYS: the value lives as
                                  * long as the process and never changes, as the key does */
};
typedef struct { ath_str key, value; uint32_t form, pad; } ath_fact;         /* frozen; ATH_V_* */

enum {
    ATH_ERROR = 1,               /* someone must act */
    ATH_WARN,                    /* will become an error */
    ATH_INFO,                    /* a change of state */
    ATH_DEBUG                    /* everything else */
};
enum {
    ATH_EV_KEEP = 1,             /* must not be lost: spilled to disk rather than dropped */
    ATH_EV_KEYS = 2,             /* the host's alone: the keys live as long as the process, so
                                  * a pointer that a sink has seen is the same key again; all its
                                  * texts together are shorter than ATH_EV_KEYS_TEXT */
    ATH_EV_ROW  = 4              /* a row of a table, a fact for each column (p NULL: null): only
                                  * for sinks that name the event, never for those that take "*" */
};

enum { ATH_EV_KEYS_TEXT = 32768 };

typedef struct {                 /* one event; all of it is borrowed for the call */
    uint32_t size;
    uint32_t level;              /* ATH_ERROR .. ATH_DEBUG */
    uint32_t flags;              /* ATH_EV_* */
    uint32_t fact_count;
    uint64_t time_ns;            /* wall clock, since 1970; 0 given to the host: now */
    ath_str  source;             /* who says it, as operators filter it: "athena::gateway" */
    ath_str  name;               /* what kind: "request", "operation", "auth"; empty: a line */
    ath_str  message;
    ath_str  request_id;         /* empty: of no request */
    ath_str  trace_id;           /* 32 hex digits, or empty */
    const ath_fact *fact;        /* in the order in which they are shown */
} ath_event;

/* Any thread. Nothing here waits; what a full queue must drop is counted. */
typedef struct {
    uint32_t size, pad;
    /* One line; `t` is the task that it belongs to, or NULL. Everything but ATH_DEBUG is rare:
     * failures are returned, not written. */
    void (*write)(ath_self *s, ath_task *t, int level, const char *fmt, va_list ap);
    /* One event, copied. < 0: it was not kept. An empty source or request id is filled in from the
     * plugin's name and from `t`. */
    int  (*event)(ath_self *s, ath_task *t, const ath_event *ev);
    /* `metric` is an index into the plugin's own table; `label` has as many values as the entry has
     * label names (NULL when it has none). */
    void (*put)(ath_self *s, uint32_t metric, const ath_str *label, double v);
} ath_log_api;

/* clang-format on */
#endif
