/* The few lines that run in a new process before it becomes the tool. They allocate nothing that
 * must be freed and report to standard error, which is the tool's. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/child.h"
#include "lib/text.h"

enum { FAILED = 127, FIRST_FREE_FD = 3 };

struct shim {
    int64_t parent, death;
    const char *user;
    bool keep, whole;
};

static int shim_fail(const char *what, const char *name)
{
    fprintf(stderr, "athena: could not %s \"%s\": %s\n", what, name, strerror(errno));
    return FAILED;
}

static bool shim_options(struct shim *s, char *text)
{
    ath_str rest = str_of(text), piece;

    while (str_next(&rest, ',', &piece)) {
        if (rest.n) /* so that a value ends in NUL */
            ((char *)(uintptr_t)piece.p)[piece.n] = 0;
        if (str_starts(piece, "parent=") && str_i64(str_after(piece, 7), &s->parent))
            continue;
        if (str_starts(piece, "death=") && str_i64(str_after(piece, 6), &s->death))
            continue;
        if (str_is(piece, "keep"))
            s->keep = true;
        else if (str_is(piece, "whole"))
            s->whole = true;
        else if (str_starts(piece, "user="))
            s->user = piece.p + 5;
        else
            return false;
    }
    return true;
}

static int drop_to(const char *user)
{
    const struct passwd *pw;

    errno = 0;
    pw = getpwnam(user);
    if (!pw) {
        errno = errno ? errno : ENOENT;
        return -1;
    }
    if (geteuid() == pw->pw_uid && getuid() == pw->pw_uid)
        return 0;
    if (initgroups(user, pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0)
        return -1;
    if (access(".", X_OK) != 0 && chdir("/") < 0)
        return -1;
    return 0;
}

static void plain_signals(void)
{
    sigset_t none;

    for (int i = 1; i < 32; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- the whole group ---- */

/* Ends as the tool has. */
static int end_like(int status)
{
    sigset_t own;

    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    sigemptyset(&own);
    sigaddset(&own, WTERMSIG(status));
    raise(WTERMSIG(status));
    sigprocmask(SIG_UNBLOCK, &own, NULL);
    return 128 + WTERMSIG(status);
}

/* Beside the tool, with none of its descriptors, until it ends or our parent dies. What is sent to the
 * group is for the tool alone, but for KILL. */
static int stay(pid_t tool, const sigset_t *awaited)
{
    int status;

    close_range(0, ~0u, 0);
    for (;;) {
        int sig = sigwaitinfo(awaited, NULL);
        if (sig == SIGUSR1)
            kill(0, SIGKILL);
        if (sig == SIGCHLD && waitpid(tool, &status, WNOHANG) == tool)
            return end_like(status);
    }
}

/* Returns in the tool's process: 0. In the other one: the status to exit with, behind the tool's end. */
static int part(const struct shim *s, int *ret_status)
{
    sigset_t awaited, none;
    pid_t tool;

    sigfillset(&awaited);
    sigprocmask(SIG_SETMASK, &awaited, NULL);
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGUSR1);
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    if (s->parent && getppid() != s->parent) {
        *ret_status = FAILED;
        return 1;
    }
    tool = fork();
    if (tool > 0) {
        *ret_status = stay(tool, &awaited);
        return 1;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return tool < 0 ? -1 : 0;
}

int child_shim(int argc, char **argv)
{
    int status;
    struct shim s = { .death = SIGKILL };

    if (argc < 5 || !shim_options(&s, argv[2])) {
        fprintf(stderr, "athena: --as-child takes options, a program and its arguments\n");
        return FAILED;
    }
    plain_signals();
    if (s.user && drop_to(s.user) < 0)
        return shim_fail("become user", s.user);
    if (s.whole) {
        int rc = part(&s, &status);
        if (rc)
            return rc > 0 ? status : shim_fail("start", argv[3]);
    } else if (!s.keep) { /* after the user: a change of credentials forgets it */
        prctl(PR_SET_PDEATHSIG, s.death);
        if (s.parent && getppid() != s.parent)
            return FAILED; /* it died before the line above */
    }
    close_range(FIRST_FREE_FD, ~0u, 0);
    execv(argv[3], argv + 4);
    return shim_fail("start", argv[3]);
}
