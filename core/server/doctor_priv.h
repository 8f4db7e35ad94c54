/* core/server/doctor_priv.h - what the doctor's files share. */
#ifndef CORE_SERVER_DOCTOR_PRIV_H
#define CORE_SERVER_DOCTOR_PRIV_H

#include "io/task.h"
#include "lib/buf.h"
#include "server/setup.h"

enum verdict { VERDICT_NONE, VERDICT_OK, VERDICT_WARN, VERDICT_FAIL, VERDICT_SKIP, VERDICTS };

struct check {
    const char *name;  /* "client.shop" */
    ath_run *run;      /* arg: the check. Ends by doctor_say(), or with a code: it has failed */
    const void *about; /* a client, a capability */
    struct exam *exam;
    enum verdict verdict;
    const char *seen, *hint; /* hint NULL: none */
    uint64_t began_ns, took_ns;
    int major; /* of a tool or a server; 0: unknown */
};

struct exam {
    ath_task *task;   /* the checks are below it */
    ath_arena *arena; /* of their texts; the task's */
    struct setup *setup;
    bool serving;
    uint32_t limit_ms;
    struct check *check;
    size_t n, room, next, running;
    uint64_t began_ns;
};

/* ---- doctor.c ---- */

/* The document; ends it with the final status. For what could not even be examined, too. */
void doctor_document(struct exam *x, struct buf *b);
struct check *doctor_add(struct exam *x, const char *name, ath_run *run, const void *about);

/* What was found out; the check is over. Texts are copied; hint NULL or "": none. Returns 0. */
ATH_PRINTF(5, 6)
int doctor_say(ath_task *t, struct check *c, enum verdict v, const char *hint, const char *fmt,
               ...);
ATH_PRINTF(4, 5)
void doctor_note(struct check *c, enum verdict v, const char *hint, const char *fmt, ...);

/* ---- doctor_host.c: the configuration, the machine ---- */

ath_run check_path, check_accepted, check_plugins, check_contracts, check_admin_key;
ath_run check_secrets_key, check_descriptors, check_storage, check_tool, check_spool;

/* ---- doctor_data.c: databases and Redis ---- */

ath_run check_logging, check_auth, check_client, check_clock, check_redis;
ath_run check_schema, check_deferred, check_backups, check_clones, check_syncs, check_workers;

/* Whether the tools are new enough for the servers that were seen. */
void judge_tools(struct exam *x);

#endif
