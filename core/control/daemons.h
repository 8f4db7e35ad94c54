/* core/control/daemons.h - the registry of daemons: this process in it, and who runs which family.
 *
 * Every process tells the control plane that it lives (daemon_runtime_registry), as its kind, with the
 * workers that really run in it. Who was silent for 60 s is offline; a stop says so at once. The same
 * trip asks who runs the families of workers that this process knows, so that one that nobody runs, or
 * that servers and daemons both run, shows in /health/cluster, in metrics and in the doctor.
 *
 * The registry's key is the daemon's id. Two that share one (two processes with the same
 * ATHENA_DAEMON_ID) would overwrite each other: the statement says who wrote the row last, and who finds
 * somebody else's live row takes a name of its own beside it, "<id>:<kind>". An id that is made is the
 * same after a restart, so the registry does not grow by restarts.
 */
#ifndef CORE_CONTROL_DAEMONS_H
#define CORE_CONTROL_DAEMONS_H

#include <stdbool.h>

#include "io/task.h"
#include "lib/buf.h"

enum { DAEMON_ID = 400, DAEMON_FAMILIES_MOST = 32 };

struct daemons_options {         /* what it points to lives as long as the process */
    const char *kind, *mode;     /* "athena_clone_worker", "dedicated_worker" */
    bool control;                /* there is a control plane; without one there is nothing to do */
    bool shows;                  /* false: only others are looked at (daemon.enabled) */
    ath_str id;                  /* that was given; empty: one is made */
    const char *config_path;     /* NULL: there is no file */
    uint16_t port;               /* 0: it has none */
    uint64_t every_ms;
    ath_str (*inspect)(ath_task *t, const char *what); /* "process", "workers": as of inspect.h */
    const char *known;           /* JSON: [{"worker":"clone_worker","family":"clone"}], copied */
};

/* The host's name, by its variable first. The first time on the control thread. */
const char *daemons_host(void);

/* Before the loops serve. */
void daemons_setup(const struct daemons_options *o);
void daemons_stop(void);         /* after the loops have stopped */

/* The heartbeat: a tick of the core's own. */
extern const ath_worker daemons_worker;

/* The process stops: others see it offline at once. On no particular thread; its task is on a work loop. */
void daemons_end(void);

/* This process's id as it stands in the registry now, and as it was given or made; any thread. A job
 * that is pinned to either is for this process. */
void daemons_id(char ret_id[DAEMON_ID], char ret_base[DAEMON_ID]);

/* How the families stand, as of the last heartbeat: [{"family":"clone","servers":0,"daemons":1,
 * "state":"ok"}]; state "none": nobody who is online runs it, "doubled": servers and daemons do. Before
 * the first one: null. Any thread. */
void daemons_families_json(struct buf *b);

/* The statement behind it, for who asks for itself. $1: `known`. Columns: family, how many servers and
 * how many daemons run it, and their ids, between commas. */
extern const char daemons_families_sql[];

/* "ok", "none" or "doubled". */
const char *daemons_state(uint64_t servers, uint64_t daemons);

#endif
