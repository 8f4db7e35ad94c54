/* plugins/workers/backup/restore.h - what restores, drills and proofs share.
 *
 *     restore.c    job_type restore: the object into a new database that takes the live one's place; or
 *                  into the live one, as the published server does; or a replaced one put back
 *     steps.c      what these have in common: where it goes, what earlier attempts left, the end
 *     fetch.c      an object from the store into a folder, every byte of it checked
 *     load.c       pg_restore: what the archive says of itself, then the run
 *     count.c      are all tables there, with all of their rows?
 *     site.c       the server that it goes to
 *     spare.c      a database beside another one; swap.c: in its place
 *     prove.c      job_type prove
 *     drill.c      job_type drill
 *     upkeep.c     the ticks: what is to be dropped, which backups are to be drilled
 *     retain.c     which backups go (backup/keep.h)
 */
#ifndef WORKERS_BACKUP_RESTORE_H
#define WORKERS_BACKUP_RESTORE_H

#include "backup.h"
#include "backup/archive.h"
#include "backup/listing.h"
#include "backup/record.h"
#include "journal.h"
#include "spare.h"
#include "tools.h"
#include "workdir.h"

/* ---- fetch.c: a flow's part ---- */

struct fetch {                   /* of one object */
    ath_task *home;              /* what is found lives as long as it */
    ath_str key;
    ath_str folder;              /* empty text: decode alone */
    struct seal_ring *ring;
    struct manifest told;        /* beside the object */
    bool has_told;
    bool rows;                   /* count the rows on the way */
    bool by_digest;              /* archive_unpack.by_digest */
    struct archive_unpack unpack;
    ath_stream *bytes;
    uint64_t size;               /* of the object */
    struct journal *journal;     /* of whose job progress is told */
    const char *stage;
    int from, to;                /* percent that it goes through; from < 0: it says nothing */
};

/* Everything of the object or a failure; one that is for good is ATH_E_INPUT or ATH_E_MISSING. An
 * operation. */
int fetch_run(ath_task *t, struct fetch *f, ath_then *then, void *arg, ath_err *e);

/* ---- load.c ---- */

enum { LOAD_SAID = 2000 };       /* of what the tool said are kept: the last bytes (D-48) */

struct load {                    /* pg_restore of one folder into one database */
    const struct backup_payload *payload;
    const struct target *target;
    struct journal *journal;
    ath_str dir;                 /* of the run: the tool signs in by files there */
    const char *dump;            /* the folder with the toc.dat */
    ath_str database;            /* of the target's server; empty: the target's own */
    uint32_t server_major;
    uint32_t archive_major;      /* of the pg_dump that made the archive; 0: unknown */
    bool clean, single;
    int from, to;                /* percent */
    /* what comes of it */
    struct listing listing;
    struct tool tool;
    uint32_t loaded, harmless, ignored;
    int percent;
    bool began;                  /* the tool was started: the database is not as it was */
    bool failed;
    struct buf said;
    struct target_files files;
    struct tool_run run;
    ath_task *task;              /* whose arena it is in */
    ath_task *run_task;          /* of the run */
};

/* Which tool, and what it reads in the archive; ATH_E_INPUT when that is not for this server. */
int load_look(ath_task *t, struct load *l, ath_then *then, void *arg, ath_err *e);
int load_run(ath_task *t, struct load *l, ath_then *then, void *arg, ath_err *e);

/* ---- count.c ---- */

/* Of a database that was just restored: as many tables as the archive makes, and of each that the
 * manifest names as many rows as it says. ATH_E_INPUT names the first that differs. */
int count_check(ath_task *t, const struct site *s, ath_str database, const struct listing *listing,
                const struct manifest *m, ath_then *then, void *arg, ath_err *e);

/* ---- steps.c ---- */

struct restoring {               /* of one job, in its arena */
    struct flow flow;
    ath_job *job;
    const struct backup_payload *payload;
    struct journal journal;
    struct target target;
    struct site site;
    struct spare spare;
    struct swap swap;
    struct workdir dir;
    struct fetch fetch;
    struct load load;
    struct seal_ring ring;
    ath_str sealed;
    ath_str elsewhere;           /* of a drill: the URI that it goes to instead; a secret */
    struct drill *drill;         /* drill.c's own */
    const ath_rows *left, *kept;  /* by earlier attempts: databases beside; the one set aside */
    const ath_rows *dress, *undone; /* of an undo: what it takes back */
    uint32_t at;
    uint64_t begun_ms;
    bool noted, swapped, touched; /* touched: the live database may not be as it was */
    int rc;                      /* of what failed first */
    ath_str why;
};

#define RESTORING(flow) ((struct restoring *)(flow))

/* Runs the steps as a task below the job, within the payload's time; cleans up; ends the job. */
int restoring_run(ath_job *j, const struct backup_payload *p, const struct flow_step *steps,
                  ath_err *e);

/* One statement or more of the control plane, under the lease. */
int restoring_control(ath_task *t, const ath_stmt *stmt, uint32_t n, struct flow *f, ath_err *e);

/* Steps: { begin, took } each. */
#define STEP_RECALL { recall_ask, recall_took }
#define STEP_TARGET { target_take, NULL }
#define STEP_LOOK { look_ask, look_took }
#define STEP_WHERE { where_ask, where_took }
#define STEP_DROP_LEFT { left_drop, left_dropped }, { left_forget, NULL }
#define STEP_FETCH { folder_in, NULL }, { fetch_ask, NULL }
#define STEP_LIST { list_ask, NULL }
#define STEP_SPARE \
    { spare_step_note, NULL }, { spare_step_create, NULL }, { spare_step_find, spare_step_found }, \
        { spare_step_oid, NULL }
#define STEP_LOAD { load_ask, NULL }
#define STEP_JOURNAL { journal_ask, journal_took }

typedef int flow_begin(ath_task *t, struct flow *f, ath_err *e);
typedef int flow_took(ath_task *t, struct flow *f, const ath_done *d, ath_err *e);
flow_begin recall_ask, target_take, look_ask, where_ask, left_drop, left_forget, folder_in,
    fetch_ask, list_ask, spare_step_note, spare_step_create, spare_step_find, spare_step_oid, load_ask,
    journal_ask;
flow_took recall_took, look_took, where_took, left_dropped, spare_step_found, journal_took;

/* ---- replace.c ---- */

extern const struct flow_step replace_steps[], undo_steps[], settle_steps[];

/* All that kept answers of it, and the record. */
#define STEP_TELL { tell_ask, tell_took }, { record_ask, record_took }
flow_begin tell_ask, record_ask;
flow_took tell_took, record_took;

/* All caches of answers that may be of the database: it is another one. */
int caches_tell(ath_task *t, ath_then *then, void *arg, ath_err *e);

#endif
