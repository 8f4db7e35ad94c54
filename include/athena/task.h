/* athena/task.h - what work hangs on, and what it can do: operations, children, forks, memory.
 *
 * A task is a request, a job, a tick, a check, a command, a sink's batch, or what `fork` and
 * `begin` start. It lives on one loop and has one arena, one deadline and one view of the
 * configuration. It ends once: a request with its reply, the others with `done`; or badly, when its
 * code returns a negative code. What still runs below it (operations, children, streams, sessions,
 * its folder) then ends too and answers nobody. A task that waits for nothing and has not ended is
 * a bug: the host ends it and names the plugin.
 *
 * Operations are the calls that take `then`. They return
 *     0         started: `then` runs exactly once, later (never inside the call), on the task's
 *               loop, whether it worked or not: d->rc < 0 says that it failed, and `e` has the
 *               words. What `then` returns counts as what the task's code returns, so
 *               `return d->rc` ends the task with those words.
 *     negative  not started: `e` has the words and `then` never runs.
 * Structs and arrays given to an operation are read during the call; the bytes that they point to
 * must live until `then`. Operations of one task may run side by side.
 *
 * Cancelled (by a job's cancel, by ath_task_api.cancel, at the end of a drain): running operations
 * end with ATH_E_CANCELED and `then` is called, so that the code can clean up; what it starts
 * afterwards has the grace time. Gone (the client of a request left, the parent ended): no `then`
 * runs any more, only what was registered with ath_mem_api.own.
 */
#ifndef ATHENA_TASK_H
#define ATHENA_TASK_H

#include <athena/abi.h>

/* clang-format off */

typedef struct {                 /* how an operation ended; borrowed until `then` returns */
    uint32_t size;
    int32_t  rc;                 /* 0, or < 0: it failed, and `e` has the words */
    void    *arg;                /* what was passed with `then` */
    const ath_rows *rows;        /* query, more: the first statement's; NULL: none */
    ath_session *session;        /* open: it is the task's until `close` or its end */
    ath_stream  *stream;         /* fetch, call, ATH_PG_COPY; the task's, until its end */
    ath_str  bytes;              /* a piece (read), a body (fetch), a note; empty: the end */
    const ath_pair *header;      /* of an HTTP answer, names in lower case */
    uint32_t header_count;
    int32_t  status;             /* HTTP status, or the exit status of a child */
    int32_t  signal;             /* that ended a child; 0: none */
    int32_t  pad;
    uint64_t count;              /* rows or bytes moved; of a query that failed see pg.h */
} ath_done;

/* A continuation. Returns 0 or a negative code, which ends the task with what is in `e`. */
typedef int  ath_then(ath_task *t, const ath_done *d, ath_err *e);

/* The shape of every operation: name(t, ..., then, arg, e). `arg` comes back as d->arg. */
#define ATH_OP(name, ...) \
    int (*name)(ath_task *t, __VA_ARGS__, ath_then *then, void *arg, ath_err *e)

/* The first step of a task (fork, begin, check), or what `work` runs on another thread. */
typedef int  ath_run(ath_task *t, void *arg, ath_err *e);

/* ---- children: another program, never a shell ---- */
enum {
    ATH_CHILD_IN   = 1,          /* its stdin is a stream; else it reads nothing */
    ATH_CHILD_OUT  = 2,          /* its stdout is a stream; else its lines go to `line` */
    ATH_CHILD_SELF = 4,          /* argv[0] is this very program */
    ATH_CHILD_KEEP = 8,          /* may outlive us; else it dies with us */
    ATH_CHILD_SHOW = 16,         /* of a command: our terminal, our folder */
    ATH_CHILD_WHOLE = 32         /* what it has started itself dies with us, too */
};

/* It runs in the task's private folder, in a process group of its own, with no descriptors but its
 * three. Secrets go into a file of that folder, not into argv or env, which others can read. `then`
 * comes when it has exited and its output has been read: d->status, d->signal. */
typedef struct {
    uint32_t size, flags;        /* ATH_CHILD_* */
    const char *const *argv;     /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *env;      /* NULL-terminated "NAME=value", added to PATH, HOME and LANG */
    uint32_t timeout_ms;         /* 0: the task's deadline alone */
    uint32_t kill_after_ms;      /* TERM at the timeout or a cancel, then KILL this much later */
    /* One line of output that is no stream, without its newline; fd is 1 or 2; on the task's loop,
     * borrowed. NULL: the host logs them at debug. `arg` is the operation's. */
    void (*line)(ath_task *t, void *arg, int fd, ath_str text);
    ath_stream *in, *out;        /* set by spawn: write its stdin, read its stdout */
} ath_child;

/* ---- tasks below a task ---- */
enum { ATH_FORK_SPREAD = 1 };    /* on another work loop; else on the parent's */
typedef struct {
    uint32_t size, flags;        /* ATH_FORK_* */
    uint32_t timeout_ms;         /* 0: the parent's deadline; of begin: none */
    uint32_t pad;
    ath_run *run;                /* its first step, on its loop */
    void    *arg;
    ath_task *beside;            /* of begin, called by this task's code: on its loop and for its
                                  * client, but outliving it; NULL: on a work loop, for `client` */
    ath_str  client;             /* of begin without `beside`: by name; empty, or nobody has that
                                  * name: for none */
} ath_fork;

/* ---- the tables ---- */
typedef struct {
    uint32_t size, pad;
    /* Zeroed, aligned for anything, never NULL (out of memory ends the process: bound what a peer
     * may size). Freed with the task; only from the task's thread. */
    void *(*alloc)(ath_arena *a, size_t n);
    /* destroy(p) runs when the arena goes, however the task ends; last registered, first run. */
    void  (*own)(ath_arena *a, void *p, ath_fn *destroy);
} ath_mem_api;

typedef struct {
    uint32_t size, pad;
    void     (*post)(ath_loop *l, ath_fn *fn, void *arg);   /* any thread; in order */
    uint64_t (*now_ms)(ath_loop *l);     /* monotonic, as of this turn of the loop; on l's thread */
    /* The raw loop, for a plugin that links libuv itself: it closes its handles in loop_fini. */
    struct uv_loop_s *(*uv)(ath_loop *l);
} ath_loop_api;

typedef struct {
    uint32_t size, pad;
    ath_arena  *(*arena)(ath_task *t);
    ath_loop   *(*loop)(ath_task *t);
    /* The plugin's config struct as the task began with it: the same for its whole life. */
    const void *(*config)(ath_task *t, ath_self *s);
    /* What `init` made: shared by all loops, so read-only once `start` has returned. */
    void       *(*state)(ath_task *t, ath_self *s);
    /* What `loop_init` made for the task's loop: only this thread uses it. */
    void       *(*local)(ath_task *t, ath_self *s);
    /* A private folder (mode 0700), made at the first call, removed with the task; empty text when
     * it could not be made. */
    ath_str     (*dir)(ath_task *t);
    uint64_t    (*left_ms)(ath_task *t); /* until the deadline; UINT64_MAX: there is none */
    ATH_OP(after, uint64_t ms);          /* a timer; never early */
    /* Runs blocking(t, arg, e) on a thread of the pool. It may not call the host but for err, and
     * may not touch what the task's own code uses meanwhile. */
    ATH_OP(work, ath_run *blocking);
    ATH_OP(spawn, ath_child *c);         /* sets c->in and c->out before it returns */
    /* A task below `t`; `then` comes when it has ended, with what it gave to `done`, which by then
     * belongs to `t`. It is not failed by its failure unless `then` says so. */
    ATH_OP(fork, const ath_fork *f);
    void (*begin)(ath_self *s, const ath_fork *f);   /* on a work loop; any thread */
    void (*cancel)(ath_task *t);         /* and what is below it */
    /* Ends a task that is no request, well. `result` is read during the call: bytes (JSON of a
     * command or check), count, stream, rows. NULL: nothing to say. */
    void (*done)(ath_task *t, const ath_done *result);
} ath_task_api;

/* clang-format on */
#endif
