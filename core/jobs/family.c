/* Queues by their names, and their statements, made when somebody first needs them: by the runner
 * or by a route on any loop. Who comes second throws its own away.
 */
#include "base/err.h"
#include "jobs/jobs_priv.h"

struct family *family_find(ath_str name)
{
    for (size_t i = 0; i < jobs.family_count; i++)
        if (str_is(name, jobs.family[i].queue->cap.name))
            return &jobs.family[i];
    return NULL;
}

static int columns_read(ath_task *t, const ath_done *d, ath_err *e)
{
    struct family *f = d->arg;
    struct queue_sql *sql, *none = NULL;

    if (d->rc < 0)
        return d->rc;
    if (queue_make(f->queue, d->rows, &sql, e) < 0)
        return e->rc;
    if (!atomic_compare_exchange_strong(&f->sql, &none, sql))
        queue_free(sql);
    task_done(t, NULL);
    return 0;
}

static int read_columns(ath_task *t, void *arg, ath_err *e)
{
    struct family *f = arg;
    static const uint32_t type[] = { 25 };

    if (atomic_load(&f->sql)) {
        task_done(t, NULL);
        return 0;
    }
    return jobs_ask(t, queue_columns_sql, (ath_str[]){ str_of(f->queue->table) }, type, 1,
                    columns_read, f, e);
}

int family_ready(ath_task *t, struct family *f, ath_then *then, void *arg, ath_err *e)
{
    return task_fork(t, &(ath_fork){ .size = sizeof(ath_fork), .run = read_columns, .arg = f },
                     then, arg, e);
}
