/* The parent's side of a child process.
 *
 *     task_spawn -> running -> exited and all output read -> its output stream ends -> op finished
 *                      | cancel, timeout: TERM to the group, later KILL; then as above
 *
 * A stream of output ends only when the exit status is known: the output of a tool that failed
 * never looks complete. Pipes are socket pairs: a reader that stops never sees the end, so the pipe
 * of a dropped stream is closed; and a grandchild may hold a pipe for ever, so after the exit it
 * has a while and no more.
 */
#include "io/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "io/stream.h"
#include "lib/buf.h"
#include "log/log.h"

enum {
    PROC_MAGIC = 0x9c0c0001,
    CHUNK = 16384, /* read and written at once */
    LINE = 8192,   /* longer lines come in pieces */
    KILL_AFTER_MS = 5000,
    LINGER_MS = 2000
};

struct proc;

struct outlet { /* its stdout or stderr */
    uv_pipe_t pipe;
    struct proc *proc;
    int fd;
    bool open;
    char *line; /* LINE bytes, at the first piece of a line */
    size_t n;
};

struct proc {
    uint32_t magic;
    uint32_t handles; /* not closed yet; the last one frees */
    struct op *op;
    ath_task *task;
    uv_process_t process;
    struct outlet out, err;
    ath_stream *to; /* its stdout; NULL: lines, or dropped */
    uv_pipe_t in;
    uv_write_t write;
    char *written;    /* CHUNK bytes on their way */
    ath_stream *from; /* its stdin; NULL: none, or closed */
    struct deadline limit, linger;
    uint32_t flags, kill_after_ms;
    void (*line)(ath_task *t, void *arg, int fd, ath_str text);
    int rc, status, signal;
    bool exited, writing;
};

/* ---- the end ---- */

static void on_closed(uv_handle_t *h)
{
    struct proc *x = CHECKED(h->data, struct proc, PROC_MAGIC);

    if (--x->handles > 0)
        return;
    x->magic = 0;
    free(x->out.line);
    free(x->err.line);
    free(x->written);
    free(x);
}

static void close_handle(void *h)
{
    if (!uv_is_closing(h))
        uv_close(h, on_closed);
}

static void finish(struct proc *x)
{
    struct op *o = x->op;

    deadline_clear(&x->limit);
    deadline_clear(&x->linger);
    o->done.status = x->status;
    o->done.signal = x->signal;
    o->stop = NULL;
    if (x->to) {
        o->done.count = stream_moved(x->to);
        stream_produce(x->to, NULL, NULL);
        stream_end(x->to, x->rc < 0 ? x->rc : x->status || x->signal ? ATH_E_UPSTREAM : 0);
        x->to = NULL;
    }
    if (x->rc == ATH_E_TIMEOUT)
        err_fail(op_err(o), x->rc, "the program ran longer than it may");
    else if (x->rc == ATH_E_UPSTREAM)
        err_fail(op_err(o), x->rc, "what the program should read ended early");
    op_finish(o, x->rc);
}

static void check_finished(struct proc *x)
{
    if (x->exited && !x->out.open && !x->err.open && x->op) {
        finish(x);
        x->op = NULL;
    }
}

static void outlet_close(struct outlet *o)
{
    if (!o->open)
        return;
    o->open = false;
    close_handle(&o->pipe);
}

static void input_close(struct proc *x)
{
    if (x->from) {
        stream_consume(x->from, NULL, NULL);
        x->from = NULL;
    }
    if (x->flags & ATH_CHILD_IN)
        close_handle(&x->in);
}

/* Nobody reads it any more. */
static void input_refused(struct proc *x)
{
    ath_stream *s = x->from;

    input_close(x);
    if (s)
        stream_drop(s);
}

static void send_signal(struct proc *x, int sig)
{
    kill(x->flags & ATH_CHILD_SHOW ? x->process.pid : -x->process.pid, sig);
}

/* One that may outlive us is let go instead. */
static void let_run(struct proc *x)
{
    x->exited = true;
    close_handle(&x->process);
    input_refused(x);
    outlet_close(&x->out);
    outlet_close(&x->err);
    check_finished(x);
}

static void terminate(struct proc *x, int rc)
{
    ath_loop *l = x->task->loop;

    if (x->rc < 0)
        return;
    x->rc = rc;
    if (x->flags & ATH_CHILD_KEEP) {
        let_run(x);
        return;
    }
    if (x->exited) { /* somebody else holds its output */
        outlet_close(&x->out);
        outlet_close(&x->err);
        check_finished(x);
        return;
    }
    send_signal(x, SIGTERM);
    deadline_set(l, &x->limit, loop_now_ms(l) + x->kill_after_ms);
}

static void on_limit(struct deadline *d)
{
    struct proc *x = list_entry(d, struct proc, limit);

    if (x->rc < 0)
        send_signal(x, SIGKILL);
    else
        terminate(x, ATH_E_TIMEOUT);
}

static void on_stop(struct op *o)
{
    terminate(o->impl, ATH_E_CANCELED);
}

static void on_linger(struct deadline *d)
{
    struct proc *x = list_entry(d, struct proc, linger);

    if (x->to && stream_full(x->to)) { /* its reader is slow, not its writer */
        deadline_set(x->task->loop, d, loop_now_ms(x->task->loop) + LINGER_MS);
        return;
    }
    outlet_close(&x->out);
    outlet_close(&x->err);
    check_finished(x);
}

static void on_exit_(uv_process_t *h, int64_t status, int sig)
{
    struct proc *x = CHECKED(h->data, struct proc, PROC_MAGIC);

    x->exited = true;
    x->status = (int)status;
    x->signal = sig;
    deadline_clear(&x->limit);
    if (x->rc < 0) /* what it started goes with it */
        send_signal(x, SIGKILL);
    close_handle(h);
    input_refused(x);
    if (x->out.open || x->err.open)
        deadline_set(x->task->loop, &x->linger, loop_now_ms(x->task->loop) + LINGER_MS);
    check_finished(x);
}

/* ---- its output ---- */

static void log_line(ath_str text)
{
    struct buf shown = BUF_HEAP;

    if (!log_wants(ATH_DEBUG, ATH_S("athena::child")))
        return;
    log_redact(&shown, text);
    log_write(ATH_DEBUG, "athena::child", "%s", buf_view(&shown).p);
    buf_free(&shown);
}

static void give_line(struct outlet *o, ath_str text)
{
    struct proc *x = o->proc;
    ath_task *t = x->task;
    const char *before;

    if (!x->line)
        log_line(text);
    if (!x->line || t->gone || t->ended || !x->op)
        return;
    before = loop_enter(t->loop, t->label ? t->label : t->type->name);
    x->line(t, x->op->done.arg, o->fd, text);
    loop_leave(t->loop, before);
}

static void keep_rest(struct outlet *o, ath_str text)
{
    if (!o->line)
        o->line = mem_new(LINE);
    while (text.n) {
        size_t n = text.n < LINE - o->n ? text.n : LINE - o->n;

        memcpy(o->line + o->n, text.p, n);
        o->n += n;
        text = str_after(text, n);
        if (o->n == LINE) {
            give_line(o, str_from(o->line, LINE));
            o->n = 0;
        }
    }
}

static void split_lines(struct outlet *o, ath_str text)
{
    while (text.n) {
        size_t end = str_find(text, '\n');

        if (end == text.n) {
            keep_rest(o, text);
            return;
        }
        if (o->n || end > LINE) {
            keep_rest(o, str_from(text.p, end));
            if (o->n) /* else its last piece was just full */
                give_line(o, str_from(o->line, o->n));
            o->n = 0;
        } else {
            give_line(o, str_from(text.p, end));
        }
        text = str_after(text, end + 1);
    }
}

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *ret)
{
    static _Thread_local char chunk[CHUNK]; /* read and taken up before the next one is asked for */

    (void)h, (void)hint;
    *ret = uv_buf_init(chunk, sizeof(chunk));
}

static void on_output(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct proc *x = CHECKED(h->data, struct proc, PROC_MAGIC);
    struct outlet *o = h == (uv_stream_t *)&x->out.pipe ? &x->out : &x->err;

    if (n == 0)
        return;
    if (n < 0) {
        if (o->n)
            give_line(o, str_from(o->line, o->n));
        o->n = 0;
        outlet_close(o);
        check_finished(x);
    } else if (o == &x->out && x->flags & ATH_CHILD_OUT) {
        if (x->to)
            stream_push(x->to, str_from(b->base, (size_t)n));
        if (x->to && stream_full(x->to))
            uv_read_stop(h); /* nobody reads: the child waits in its write */
    } else {
        split_lines(o, str_from(b->base, (size_t)n));
    }
}

static void on_room(ath_stream *s, void *impl)
{
    struct proc *x = CHECKED(impl, struct proc, PROC_MAGIC);

    (void)s;
    if (x->out.open)
        uv_read_start((uv_stream_t *)&x->out.pipe, on_alloc, on_output);
}

static void on_drop(ath_stream *s, void *impl)
{
    struct proc *x = CHECKED(impl, struct proc, PROC_MAGIC);

    (void)s;
    x->to = NULL;
    outlet_close(&x->out); /* the child learns it by SIGPIPE */
    check_finished(x);
}

static const struct stream_producer output = { on_room, on_drop };

/* ---- its input ---- */

static void on_input(ath_stream *s, void *impl);

static void on_written(uv_write_t *w, int status)
{
    struct proc *x = w->data;

    x->writing = false;
    if (status == UV_ECANCELED || !x->from)
        return;
    if (status < 0)
        input_refused(x);
    else
        on_input(x->from, x);
}

/* The pipe is full: a piece is copied and sent when it may. */
static void write_later(struct proc *x, ath_str b)
{
    size_t n = b.n < CHUNK ? b.n : CHUNK;
    uv_buf_t piece;

    if (!x->written)
        x->written = mem_new(CHUNK);
    memcpy(x->written, b.p, n);
    piece = uv_buf_init(x->written, (unsigned)n);
    x->write.data = x;
    if (uv_write(&x->write, (uv_stream_t *)&x->in, &piece, 1, on_written) < 0) {
        input_refused(x);
        return;
    }
    x->writing = true;
    stream_take(x->from, n);
}

static void on_input(ath_stream *s, void *impl)
{
    struct proc *x = CHECKED(impl, struct proc, PROC_MAGIC);
    ath_str b;
    int rc;

    while (!x->writing && (b = stream_peek(s)).n) {
        uv_buf_t piece = uv_buf_init((char *)(uintptr_t)b.p, (unsigned)b.n);

        rc = uv_try_write((uv_stream_t *)&x->in, &piece, 1);
        if (rc > 0) {
            stream_take(s, (size_t)rc);
        } else if (rc == UV_EAGAIN) {
            write_later(x, b);
        } else {
            input_refused(x);
            return;
        }
    }
    if (!x->writing && stream_ended(s, &rc)) {
        input_close(x);
        if (rc < 0) /* half an input must not look like a whole one */
            terminate(x, rc == ATH_E_CANCELED ? rc : ATH_E_UPSTREAM);
    }
}

/* ---- the start ---- */

/* Our own program, as the kernel knows it. */
static const char *self_path(void)
{
    static _Thread_local char path[1024];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (n <= 0)
        return "/proc/self/exe";
    path[n] = 0;
    return access(path, X_OK) == 0 ? path : "/proc/self/exe"; /* replaced by a new one on disk */
}

static const char *env_value(const char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (; env && *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

/* Where the program is; empty: nowhere. */
static ath_str find_program(ath_arena *a, const char *name, const char *const *env)
{
    const char *path = env_value(env, "PATH");
    ath_str rest, folder;

    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? str_of(name) : (ath_str){ "", 0 };
    if (!path && !(path = getenv("PATH")))
        path = "/usr/local/bin:/usr/bin:/bin";
    rest = str_of(path);
    while (str_next(&rest, ':', &folder)) {
        ath_str full = arena_printf(a, "%.*s/%s", STR_ARG(folder), name);

        if (folder.n && access(full.p, X_OK) == 0)
            return full;
    }
    return (ath_str){ "", 0 };
}

static char **make_env(ath_arena *a, const char *const *env)
{
    static const char *const kept[] = { "PATH", "HOME", "LANG" };
    size_t n = 0;
    const char **list;

    for (; env && env[n]; n++)
        ;
    list = arena_alloc(a, (n + ATH_COUNT(kept) + 1) * sizeof(*list));
    for (size_t i = 0; i < n; i++)
        list[i] = env[i];
    for (size_t i = 0; i < ATH_COUNT(kept); i++)
        if (!env_value(env, kept[i]) && getenv(kept[i]))
            list[n++] = arena_printf(a, "%s=%s", kept[i], getenv(kept[i])).p;
    return (char **)(uintptr_t)list;
}

static char **make_argv(ath_arena *a, const ath_child *c, const char *self, const char *program)
{
    size_t n = 0;
    const char **list;

    while (c->argv[n])
        n++;
    list = arena_alloc(a, (n + 5) * sizeof(*list));
    list[0] = self;
    list[1] = "--as-child";
    list[2] = c->flags & ATH_CHILD_KEEP
                  ? "keep"
                  : arena_printf(a, "parent=%d%s", (int)getpid(),
                                 c->flags & ATH_CHILD_WHOLE ? ",whole" : "").p;
    list[3] = program;
    for (size_t i = 0; i < n; i++)
        list[4 + i] = c->argv[i];
    return (char **)(uintptr_t)list;
}

static struct proc *proc_new(ath_task *t, const ath_child *c)
{
    struct proc *x = MEM_NEW(struct proc);

    x->magic = PROC_MAGIC;
    x->task = t;
    x->flags = c->flags;
    x->line = c->line;
    x->kill_after_ms = c->kill_after_ms ? c->kill_after_ms : KILL_AFTER_MS;
    x->out.proc = x->err.proc = x;
    x->out.fd = 1;
    x->err.fd = 2;
    x->process.data = x->in.data = x->out.pipe.data = x->err.pipe.data = x;
    deadline_init(&x->limit, on_limit);
    deadline_init(&x->linger, on_linger);
    return x;
}

static uv_stdio_container_t make_pipe(struct proc *x, uv_pipe_t *pipe, unsigned direction)
{
    uv_pipe_init(&x->task->loop->uv, pipe, 0);
    x->handles++;
    return (uv_stdio_container_t){ .flags = UV_CREATE_PIPE | direction,
                                   .data.stream = (uv_stream_t *)pipe };
}

static uv_stdio_container_t make_outlet(struct proc *x, struct outlet *o, bool piped)
{
    if (!piped && x->flags & ATH_CHILD_SHOW)
        return (uv_stdio_container_t){ .flags = UV_INHERIT_FD, .data.fd = o->fd };
    o->open = true;
    return make_pipe(x, &o->pipe, UV_WRITABLE_PIPE);
}

static int proc_start(struct proc *x, const ath_child *c, const char *program, ath_arena *a)
{
    uv_stdio_container_t io[3];
    uv_process_options_t o = {
        .file = self_path(), .exit_cb = on_exit_, .stdio = io, .stdio_count = 3
    };

    o.args = make_argv(a, c, o.file, program);
    o.env = make_env(a, c->env);
    if (!(c->flags & ATH_CHILD_SHOW)) {
        ath_str dir = task_dir(x->task);
        o.flags = UV_PROCESS_DETACHED;
        o.cwd = dir.n ? dir.p : "/";
    }
    io[0] = (uv_stdio_container_t){ .flags = UV_IGNORE };
    if (c->flags & ATH_CHILD_IN)
        io[0] = make_pipe(x, &x->in, UV_READABLE_PIPE);
    else if (c->flags & ATH_CHILD_SHOW)
        io[0] = (uv_stdio_container_t){ .flags = UV_INHERIT_FD, .data.fd = 0 };
    io[1] = make_outlet(x, &x->out, c->flags & ATH_CHILD_OUT || c->line);
    io[2] = make_outlet(x, &x->err, c->line);
    x->handles++; /* the process's own: libuv keeps it even when it fails */
    return uv_spawn(&x->task->loop->uv, &x->process, &o);
}

static void proc_abandon(struct proc *x)
{
    close_handle(&x->process);
    if (x->flags & ATH_CHILD_IN)
        close_handle(&x->in);
    outlet_close(&x->out);
    outlet_close(&x->err);
}

static void start_streams(struct proc *x, ath_child *c)
{
    if (c->flags & ATH_CHILD_IN) {
        c->in = x->from = stream_open(x->task, 0);
        stream_consume(x->from, on_input, x);
    }
    if (c->flags & ATH_CHILD_OUT) {
        c->out = x->to = stream_open(x->task, 0);
        stream_produce(x->to, &output, x);
    }
    if (x->out.open)
        uv_read_start((uv_stream_t *)&x->out.pipe, on_alloc, on_output);
    if (x->err.open)
        uv_read_start((uv_stream_t *)&x->err.pipe, on_alloc, on_output);
}

int task_spawn(ath_task *t, ath_child *c, ath_then *then, void *arg, ath_err *e)
{
    ATH_CLEANUP(arena_free) ath_arena a = { 0 };
    int rc = task_may_start(t, e);
    struct proc *x;
    ath_str program;

    if (rc < 0)
        return rc;
    program =
        c->flags & ATH_CHILD_SELF ? str_of(self_path()) : find_program(&a, c->argv[0], c->env);
    if (!program.n)
        return err_fail(e, ATH_E_MISSING, "could not find program \"%s\"", c->argv[0]);
    x = proc_new(t, c);
    rc = proc_start(x, c, program.p, &a);
    if (rc < 0) {
        proc_abandon(x);
        return err_fail(e, ATH_E_UPSTREAM, "could not start program \"%s\": %s", c->argv[0],
                        uv_strerror(rc));
    }
    x->op = op_new(t, then, arg);
    x->op->impl = x;
    x->op->stop = on_stop;
    start_streams(x, c);
    if (c->timeout_ms)
        deadline_set(t->loop, &x->limit, loop_now_ms(t->loop) + c->timeout_ms);
    return 0;
}
