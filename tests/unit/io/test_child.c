/* Child processes: what they inherit, their streams, how they are stopped, and that they die with
 * us. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/stream.h"
#include "lib/buf.h"
#include "support/check_main.h"

static ath_loop *l;

static struct {
    ath_task task;
    int rc, ended, status, signal;
    ath_err err;
    struct buf lines;
    ath_stream *in, *out;
    uint64_t sent, got, most;
    int out_rc, over;
    bool drop;
} p;

static void p_end(ath_task *t, int rc, const ath_err *e, const ath_done *result)
{
    p.ended++;
    p.rc = rc;
    if (e)
        err_copy(&p.err, e);
    if (result && result->status)
        p.status = result->status;
    if (result && result->signal)
        p.signal = result->signal;
    task_unref(t);
}

static void p_destroy(ath_task *t)
{
    (void)t;
    loop_stop(l);
}

static const struct task_type p_type = { .name = "probe", .end = p_end, .destroy = p_destroy };

static void run(ath_run *fn, void *arg)
{
    ath_err e;

    buf_free(&p.lines);
    memset(&p, 0, sizeof(p));
    err_reset(&e);
    ck_assert_int_eq(loop_new(LOOP_WORK, 0, "work-0", &l, &e), 0);
    task_init(&p.task, &p_type, l, NULL, NULL);
    task_run(&p.task, fn, arg);
    loop_run(l);
    ck_assert_uint_eq(task_alive(), 0);
    loop_free(l);
    ck_assert_int_eq(p.ended, 1);
}

static void on_line(ath_task *t, void *arg, int fd, ath_str text)
{
    (void)t, (void)arg;
    buf_printf(&p.lines, "%d:%.*s\n", fd, STR_ARG(text));
}

static int on_end(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc == 0)
        task_done(
            t, &(ath_done){ .size = sizeof(ath_done), .status = d->status, .signal = d->signal });
    return d->rc;
}

struct how {
    const char *argv[8];
    const char *env[3];
    uint32_t flags, timeout_ms, kill_after_ms;
};

static int start(ath_task *t, void *arg, ath_err *e)
{
    const struct how *h = arg;
    ath_child c = { .size = sizeof(c),
                    .flags = h->flags,
                    .argv = h->argv,
                    .env = h->env,
                    .line = on_line,
                    .timeout_ms = h->timeout_ms,
                    .kill_after_ms = h->kill_after_ms };

    return task_spawn(t, &c, on_end, NULL, e);
}

#define SH(script)                                                                                 \
    {                                                                                              \
        "sh", "-c", script, NULL                                                                   \
    }

START_TEST(lines_and_status_come_back)
{
    struct how h = { .argv = SH("echo one; echo two; printf three; exit 3") };
    struct how err = { .argv = SH("echo oops >&2; kill -USR1 $$") };

    run(start, &h);
    ck_assert_int_eq(p.rc, 0);
    ck_assert_int_eq(p.status, 3);
    ck_assert_str_eq(p.lines.p, "1:one\n1:two\n1:three\n");
    run(start, &err);
    ck_assert_int_eq(p.signal, SIGUSR1);
    ck_assert_str_eq(p.lines.p, "2:oops\n");
}
END_TEST

START_TEST(long_lines_come_in_pieces)
{
    struct how h = { .argv = SH("head -c 20000 /dev/zero | tr '\\0' x; echo; echo end") };
    ath_str rest, line;
    size_t n = 0, total = 0;

    run(start, &h);
    rest = buf_view(&p.lines);
    while (str_next(&rest, '\n', &line) && !str_is(line, "1:end")) {
        ck_assert_uint_le(line.n, 8192 + 2);
        total += line.n - 2;
        n++;
    }
    ck_assert_uint_eq(total, 20000);
    ck_assert_uint_eq(n, 3);
}
END_TEST

START_TEST(only_what_is_given_is_inherited)
{
    struct how h = {
        .argv = SH("echo $SECRET-$GIVEN; test -n \"$PATH\" && echo path; ls /proc/self/fd | wc -l;"
                   "read pid comm state ppid group rest < /proc/self/stat;"
                   "test $pid = $group && echo leader; stat -c %a ."),
        .env = { "GIVEN=yes" }
    };
    int fd = open("/dev/null", O_RDONLY); /* not closed on exec */

    setenv("SECRET", "no", 1);
    run(start, &h);
    close(fd);
    ck_assert_str_eq(p.lines.p,
                     "1:-yes\n1:path\n1:4\n1:leader\n1:700\n"); /* 0, 1, 2 and the folder */
}
END_TEST

START_TEST(a_program_that_is_not_there_is_refused)
{
    struct how h = { .argv = { "no-such-program-here" } },
               path = { .argv = { "/no/such/program" } };

    run(start, &h);
    ck_assert_int_eq(p.rc, ATH_E_MISSING);
    ck_assert_str_eq(err_get(&p.err, "message").p,
                     "could not find program \"no-such-program-here\"");
    run(start, &path);
    ck_assert_int_eq(p.rc, ATH_E_MISSING);
}
END_TEST

/* ---- stopping ---- */

static bool dies(pid_t pid)
{
    char path[64], text[256];

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    for (int i = 0; i < 100; i++) {
        FILE *f = fopen(path, "r");
        bool alive = f && fgets(text, sizeof(text), f) && !strstr(text, ") Z");

        if (f)
            fclose(f);
        if (!alive)
            return true;
        uv_sleep(10);
    }
    return false;
}

START_TEST(a_timeout_terminates_and_then_kills)
{
    struct how polite = { .argv = { "sleep", "60" }, .timeout_ms = 50 };
    struct how stubborn = { .argv = SH("trap '' TERM; echo up; while :; do sleep 1; done"),
                            .timeout_ms = 300,
                            .kill_after_ms = 50 };
    uint64_t from = clock_ms();

    run(start, &polite);
    ck_assert_int_eq(p.rc, ATH_E_TIMEOUT);
    run(start, &stubborn);
    ck_assert_int_eq(p.rc, ATH_E_TIMEOUT);
    ck_assert_uint_lt(clock_ms() - from, 10000);
}
END_TEST

static void cancel_at_line(ath_task *t, void *arg, int fd, ath_str text)
{
    on_line(t, arg, fd, text);
    task_cancel(t);
}

static int start_and_cancel(ath_task *t, void *arg, ath_err *e)
{
    const struct how *h = arg;
    ath_child c = { .size = sizeof(c), .argv = h->argv, .line = cancel_at_line };

    return task_spawn(t, &c, on_end, NULL, e);
}

START_TEST(canceling_ends_the_whole_group)
{
    struct how h = { .argv = SH("sleep 61 & echo $!; wait") };
    pid_t grandchild;

    run(start_and_cancel, &h);
    ck_assert_int_eq(p.rc, ATH_E_CANCELED);
    grandchild = atoi(p.lines.p + 2);
    ck_assert_int_gt(grandchild, 1);
    ck_assert(dies(grandchild));
}
END_TEST

/* ---- streams ---- */

enum { TOTAL = 3000000, PIECE = 30000 };
static char piece[PIECE];

static int fed(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (p.sent == TOTAL) {
        stream_close(p.in, 0);
        return 0;
    }
    for (size_t i = 0; i < PIECE; i++)
        piece[i] = (char)((p.sent + i) % 253);
    p.sent += PIECE;
    if (p.sent - p.got > p.most)
        p.most = p.sent - p.got;
    return stream_write(t, p.in, str_from(piece, PIECE), fed, NULL, e);
}

/* Both the child and the reader of its output. */
static int both_over(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (++p.over == 2)
        task_done(
            t, &(ath_done){ .size = sizeof(ath_done), .status = d->status, .signal = d->signal });
    return 0;
}

static int drained(ath_task *t, const ath_done *d, ath_err *e)
{
    p.out_rc = d->rc;
    if (d->rc < 0 || d->bytes.n == 0)
        return both_over(t, d, e);
    for (size_t i = 0; i < d->bytes.n; i++)
        if (d->bytes.p[i] != (char)((p.got + i) % 253))
            ck_abort_msg("byte %zu is another one", (size_t)p.got + i);
    p.got += d->bytes.n;
    return stream_read(t, p.out, drained, NULL, e);
}

static int start_cat(ath_task *t, void *arg, ath_err *e)
{
    const struct how *h = arg;
    ath_child c = { .size = sizeof(c), .flags = ATH_CHILD_IN | ATH_CHILD_OUT, .argv = h->argv };
    int rc = task_spawn(t, &c, both_over, NULL, e);

    if (rc < 0)
        return rc;
    p.in = c.in;
    p.out = c.out;
    ck_assert_int_eq(fed(t, &(ath_done){ 0 }, e), 0);
    return stream_read(t, c.out, drained, NULL, e);
}

START_TEST(bytes_go_through_a_child_and_never_pile_up)
{
    struct how h = { .argv = { "cat" } };

    run(start_cat, &h);
    ck_assert_int_eq(p.rc, 0);
    ck_assert_int_eq(p.out_rc, 0);
    ck_assert_uint_eq(p.got, TOTAL);
    ck_assert_uint_le(p.most, 1500000); /* streams, two socket pairs, cat's own buffer */
}
END_TEST

static int child_over(ath_task *t, const ath_done *d, ath_err *e)
{
    p.status = d->status;
    p.signal = d->signal;
    return both_over(t, d, e);
}

static int drain_zero(ath_task *t, const ath_done *d, ath_err *e)
{
    p.out_rc = d->rc;
    p.got += d->bytes.n;
    if (p.drop && d->bytes.n)
        stream_close(p.out, 0);
    if (p.drop || d->rc < 0 || d->bytes.n == 0)
        return both_over(t, d, e);
    return stream_read(t, p.out, drain_zero, NULL, e);
}

static int start_out(ath_task *t, void *arg, ath_err *e)
{
    const struct how *h = arg;
    ath_child c = { .size = sizeof(c), .flags = ATH_CHILD_OUT, .argv = h->argv };
    int rc = task_spawn(t, &c, child_over, NULL, e);

    if (rc < 0)
        return rc;
    p.out = c.out;
    p.drop = h->flags != 0;
    return stream_read(t, c.out, drain_zero, NULL, e);
}

START_TEST(output_of_a_tool_that_failed_never_looks_complete)
{
    struct how bad = { .argv = SH("echo half; exit 1") }, good = { .argv = SH("echo whole") };

    run(start_out, &bad);
    ck_assert_int_eq(p.status, 1);
    ck_assert_uint_eq(p.got, 5);
    ck_assert_int_eq(p.out_rc, ATH_E_UPSTREAM);
    run(start_out, &good);
    ck_assert_int_eq(p.out_rc, 0);
    ck_assert_uint_eq(p.got, 6);
}
END_TEST

START_TEST(a_reader_that_has_enough_stops_the_child)
{
    struct how h = { .argv = { "cat", "/dev/zero" }, .flags = 1 };

    run(start_out, &h);
    ck_assert_int_eq(p.rc, 0);
    ck_assert_int_eq(p.signal, SIGPIPE);
}
END_TEST

static int refused(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == 0) /* into the buffer still */
        return stream_write(t, p.in, str_from(piece, PIECE), refused, NULL, e);
    ck_assert_int_eq(d->rc, ATH_E_CANCELED);
    p.sent++;
    return 0;
}

static int start_deaf(ath_task *t, void *arg, ath_err *e)
{
    const struct how *h = arg;
    ath_child c = { .size = sizeof(c), .flags = ATH_CHILD_IN, .argv = h->argv };
    int rc = task_spawn(t, &c, on_end, NULL, e);

    if (rc < 0)
        return rc;
    p.in = c.in;
    return stream_write(t, p.in, str_from(piece, PIECE), refused, NULL, e);
}

START_TEST(a_child_that_does_not_read_cancels_the_writer)
{
    struct how h = { .argv = { "true" } };

    run(start_deaf, &h);
    ck_assert_int_eq(p.rc, 0);
    ck_assert_uint_eq(p.sent, 1);
}
END_TEST

/* ---- our own program: another user ---- */

START_TEST(the_shim_drops_to_a_user)
{
    struct how h = { .argv = { "athena", "--as-child", "user=nobody", "/bin/sh", "sh", "-c",
                               "id -un; id -Gn; pwd" },
                     .flags = ATH_CHILD_SELF };
    struct how unknown = { .argv = { "athena", "--as-child", "user=no-such-user", "/bin/true",
                                     "true" },
                           .flags = ATH_CHILD_SELF };

    if (geteuid() == 0) {
        run(start, &h);
        ck_assert_str_eq(p.lines.p, "1:nobody\n1:nogroup\n1:/\n");
    }
    run(start, &unknown);
    ck_assert_int_eq(p.status, 127);
    ck_assert_ptr_nonnull(strstr(p.lines.p, "could not become user \"no-such-user\""));
}
END_TEST

/* ---- our death ---- */

static int report_fd;

static void report_line(ath_task *t, void *arg, int fd, ath_str text)
{
    (void)t, (void)arg, (void)fd;
    dprintf(report_fd, "%.*s\n", STR_ARG(text));
}

static int start_reporting(ath_task *t, void *arg, ath_err *e)
{
    const char *alone[] = { "sh", "-c", "echo $$; exec sleep 62", NULL };
    const char *two[] = { "sh", "-c", "sleep 62 & echo $!; wait", NULL };
    ath_child c = { .size = sizeof(c), .argv = alone, .line = report_line };

    c.flags = *(uint32_t *)arg;
    if (c.flags & ATH_CHILD_WHOLE)
        c.argv = two;
    return task_spawn(t, &c, on_end, NULL, e);
}

static pid_t spawn_in_a_victim(uint32_t flags, pid_t *ret_victim)
{
    int fd[2];
    char text[32] = { 0 };

    ck_assert_int_eq(pipe2(fd, O_CLOEXEC), 0);
    *ret_victim = fork();
    if (*ret_victim == 0) {
        report_fd = fd[1];
        run(start_reporting, &flags);
        _exit(0);
    }
    ck_assert_int_gt(read(fd[0], text, sizeof(text) - 1), 0);
    close(fd[0]);
    close(fd[1]);
    return atoi(text);
}

START_TEST(children_die_with_us_unless_they_are_kept)
{
    pid_t victim, child = spawn_in_a_victim(0, &victim);

    ck_assert_int_gt(child, 1);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    ck_assert(dies(child));

    child = spawn_in_a_victim(ATH_CHILD_KEEP, &victim);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    uv_sleep(100);
    ck_assert_int_eq(kill(child, 0), 0);
    kill(child, SIGKILL);
}
END_TEST

START_TEST(what_a_child_has_started_dies_with_us_if_it_is_to)
{
    pid_t victim, grandchild = spawn_in_a_victim(ATH_CHILD_WHOLE, &victim);

    ck_assert_int_gt(grandchild, 1);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    ck_assert(dies(grandchild));
}
END_TEST

/* The process beside the tool is not to be noticed. */
START_TEST(a_whole_child_ends_as_the_tool_does)
{
    struct how exits = { .argv = SH("echo out; exit 7"), .flags = ATH_CHILD_WHOLE };
    struct how killed = { .argv = SH("kill -SEGV $$"), .flags = ATH_CHILD_WHOLE };
    struct how late = { .argv = SH("trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done"),
                        .timeout_ms = 300, .flags = ATH_CHILD_WHOLE };
    struct how stubborn = { .argv = SH("trap '' TERM; while :; do sleep 1; done"),
                            .timeout_ms = 300, .kill_after_ms = 50, .flags = ATH_CHILD_WHOLE };

    run(start, &exits);
    ck_assert_int_eq(p.status, 7);
    ck_assert_str_eq(p.lines.p, "1:out\n");
    run(start, &killed);
    ck_assert_int_eq(p.signal, SIGSEGV);
    run(start, &late);
    ck_assert_int_eq(p.rc, ATH_E_TIMEOUT);
    run(start, &stubborn);
    ck_assert_int_eq(p.rc, ATH_E_TIMEOUT);
}
END_TEST

SUITE("child", lines_and_status_come_back, long_lines_come_in_pieces,
      only_what_is_given_is_inherited, a_program_that_is_not_there_is_refused,
      a_timeout_terminates_and_then_kills, canceling_ends_the_whole_group,
      bytes_go_through_a_child_and_never_pile_up, output_of_a_tool_that_failed_never_looks_complete,
      a_reader_that_has_enough_stops_the_child, a_child_that_does_not_read_cancels_the_writer,
      the_shim_drops_to_a_user, children_die_with_us_unless_they_are_kept,
      what_a_child_has_started_dies_with_us_if_it_is_to, a_whole_child_ends_as_the_tool_does)
