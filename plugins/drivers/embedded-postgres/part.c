/* A supervised child is a fork of the command's task: so each can be stopped alone, and the command
 * learns of its end only when nothing of it is left. */
#include <fcntl.h>
#include <stdio.h>

#include "dev.h"

static void on_line(ath_task *t, void *arg, int fd, ath_str text)
{
    struct part *p = arg;

    (void)t, (void)fd;
    if (text.n && !strstr(p->said, "FATAL")) /* what follows that is no reason */
        snprintf(p->said, sizeof(p->said), "%.*s", STR_ARG(text));
    if (p->file) {
        fprintf(p->file, "%.*s\n", STR_ARG(text));
        fflush(p->file);
    }
    if (p->echo) {
        printf("%.*s\n", STR_ARG(text));
        fflush(stdout);
    }
}

static int on_exited(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done how = { .size = sizeof(how), .status = d->status, .signal = d->signal };

    (void)e;
    if (d->rc == 0)
        ath_host_->task->done(t, &how);
    return d->rc;
}

static int run(ath_task *t, void *arg, ath_err *e)
{
    struct part *p = arg;
    ath_child c = { .size = sizeof(c),
                    .flags = p->flags,
                    .argv = p->argv,
                    .env = p->env,
                    .kill_after_ms = p->kill_after_ms,
                    .line = p->log[0] ? on_line : NULL };

    p->task = t;
    return ath_host_->task->spawn(t, &c, on_exited, p, e);
}

static int on_over(ath_task *t, const ath_done *d, ath_err *e)
{
    struct part *p = d->arg;
    ath_str words = ath_host_->err->get(e, "message");

    p->task = NULL;
    p->running = false;
    p->status = d->rc < 0 ? 127 : d->status;
    p->signal = d->signal;
    if (d->rc < 0 && d->rc != ATH_E_CANCELED)
        snprintf(p->said, sizeof(p->said), "%.*s", STR_ARG(words));
    if (p->file)
        fclose(p->file);
    p->file = NULL;
    return p->over(t, d, e);
}

/* Begun anew each time, for our own eyes. */
static FILE *open_log(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    return fd < 0 ? NULL : fdopen(fd, "w");
}

int part_start(ath_task *t, struct part *p, ath_err *e)
{
    ath_fork f = { .size = sizeof(f), .run = run, .arg = p };
    int rc;

    if (p->log[0] && !(p->file = open_log(p->log)))
        return ath_fail(e, ATH_E_CONFIG, "could not open file \"%s\": %m", p->log);
    rc = ath_host_->task->fork(t, &f, on_over, p, e);
    p->said[0] = 0;
    p->running = rc == 0;
    return rc;
}

void part_stop(struct part *p)
{
    if (p->running && p->task)
        ath_host_->task->cancel(p->task);
}

void part_how(const struct part *p, char *ret, size_t size)
{
    int n;

    if (p->signal)
        n = snprintf(ret, size, "%s was ended by signal %d", p->name, p->signal);
    else
        n = snprintf(ret, size, "%s ended with status %d", p->name, p->status);
    if (p->said[0] && n > 0 && (size_t)n < size)
        snprintf(ret + n, size - (size_t)n, ": %s", p->said);
}
