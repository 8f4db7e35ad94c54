/* core/control/probe_priv.h - private to the probes: the parts that probe.c starts and stops. */
#ifndef CORE_CONTROL_PROBE_PRIV_H
#define CORE_CONTROL_PROBE_PRIV_H

#include "control/probe.h"
#include "control/round.h"

/* Each on the home loop, but for the last of the three, which comes after the loops. */
void checks_start(const struct probe_options *o);
void checks_drain(void);
void checks_stop(void);
void checks_metrics(struct buf *b);

void pulses_start(const struct probe_options *o);
void pulses_drain(void);
void pulses_stop(void);
void pulses_metrics(struct buf *b);

void mirrors_start(const struct probe_options *o);
void mirrors_drain(void);
void mirrors_stop(void);
void mirrors_metrics(struct buf *b);

/* What one probe of a mirror has found. Texts are in the arena of the round's task. */
struct mirror {
    const char *url;             /* as stored */
    bool online;
    double latency_ms, bytes_per_s; /* < 0: not known */
    ath_str version, message;    /* p NULL: not known */
    ath_str capabilities;        /* an object */
};

/* Asks it until `until_ms`, by loop_now_ms(); then calls done(m) on t's loop, exactly once, unless the
 * task is over before. < 0: it was not begun. */
int mirror_probe(ath_task *t, struct mirror *m, uint64_t until_ms, void (*done)(struct mirror *m),
                 ath_err *e);
void mirror_json(struct buf *b, const struct mirror *m);
char *mirror_shown(const char *url); /* a URL without its user and password, on the heap */

/* A number as short as three decimals allow: 1.84. */
void put_number(struct buf *b, double v);

#endif
