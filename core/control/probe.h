/* core/control/probe.h - what is asked in the background, so that no request has to wait for it.
 *
 *     checks    the plugins' ath_check capabilities, each at its own pace, on a work loop
 *     clients   each client's database answers a SELECT every now and then: how long did it take?
 *     mirrors   the servers beside this one: reachable, which version, how fast?
 *
 * Each has never more than one question under way (per check, client, mirror), with a time limit of
 * its own; what dies delays nothing but its own row. The last answers are kept and may be read on any
 * thread.
 *
 * Mirrors are probed only while somebody wants to know: by GET /health/cluster in the last minutes.
 * A round probes all of them, PROBE_PARALLEL at a time, and takes PROBE_BUDGET_MS at most, which is
 * shared out among those that are left; whoever asks meanwhile waits for that same round, and only
 * when there is no answer yet that is of any use.
 */
#ifndef CORE_CONTROL_PROBE_H
#define CORE_CONTROL_PROBE_H

#include <athena/service/cluster.h>

#include "io/task.h"
#include "lib/buf.h"

enum {
    PROBE_PARALLEL = 8,
    PROBE_BUDGET_MS = 5000,
    PROBE_MIRRORS_MOST = 128,    /* those behind are left out, which is said in the log */
    PROBE_WANTED_MS = 150000     /* mirrors are probed on for so long after the last question */
};

struct probe_check {
    const ath_check *check;
    ath_self *self;
    const char *plugin;
};

struct probe_options {           /* what it points to lives as long as the process */
    ath_loop *home;              /* a work loop */
    const struct probe_check *check; /* copied */
    size_t checks;
    ath_str mirrors;             /* URLs between commas; empty: none */
    bool control;                /* there is a control plane, whose cluster_mirrors is read */
    uint64_t mirror_every_ms;
    uint64_t client_every_ms;    /* 0: clients are not asked */
    uint64_t client_timeout_ms;
};

/* Once, when the loops serve. */
void probe_start(const struct probe_options *o);
void probe_drain(void);          /* nothing begins any more, what runs is canceled; any thread */
void probe_stop(void);           /* after the loops have stopped */

/* An array of one object per check: name, plugin, summary, ok (null: not known yet), message, took_ms,
 * age_ms; and how many there are: {"total":2,"ok":1,"failing":1,"unknown":0}. */
void probe_checks_json(struct buf *b);
void probe_checks_summary(struct buf *b);

/* An array of one object per client that was asked: client, ok, latency_ms (null: it did not answer),
 * age_ms, and, for administrators, reason. */
void probe_clients_json(struct buf *b, bool reasons);

extern const ath_cluster_api cluster_service; /* the mirrors */

#endif
