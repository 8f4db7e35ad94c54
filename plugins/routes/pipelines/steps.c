/* The log of steps: a row of pipeline_step_log for each that was begun, written by a task of its
 * own beside the request. A control plane that is slow or away loses rows, which is counted and
 * said once, but never holds up a run. */
#include "pipelines.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { WAITING_MOST = 256, WRITE_MS = 10000 };

static const char steps_sql[] =
    "insert into pipeline_step_log (pipeline_run_id, request_id, pipeline_name, step, "
    "athena_client, table_name, status_code, duration_ms, error_message, details) "
    "select $1::uuid, $2, nullif($3, ''), x.step, x.client, x.relation, x.status, x.ms, x.error, "
    "x.details from jsonb_to_recordset($4::jsonb) as x(step text, client text, relation text, "
    "status integer, ms bigint, error text, details jsonb)";

static atomic_uint waiting;
static atomic_bool said;

const char *step_word(enum step step)
{
    static const char *const words[] = { "source", "transform", "sink" };

    return words[step];
}

static uint64_t now_ms(ath_req *r)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(r));
}

void step_begin(ath_req *r, struct steps *s, enum step step)
{
    s->row[step].done = true;
    s->row[step].began_ms = now_ms(r);
}

void step_end(ath_req *r, struct steps *s, enum step step, uint32_t status, ath_str error)
{
    struct step_row *row = &s->row[step];

    row->ms = now_ms(r) - row->began_ms;
    row->status = status;
    row->error = error;
}

/* ---- the rows ---- */

static void put_or_null(struct buf *b, const char *key, ath_str text)
{
    buf_json_key(b, key);
    if (text.n)
        buf_json(b, text);
    else
        buf_lit(b, "null");
}

static void put_row(struct buf *b, const struct steps *s, enum step step)
{
    const struct step_row *row = &s->row[step];

    buf_char(b, '{');
    buf_json_str(b, "step", str_of(step_word(step)));
    put_or_null(b, "client", row->client);
    put_or_null(b, "relation", row->table);
    buf_json_key(b, "status");
    if (row->status)
        buf_u64(b, row->status);
    else
        buf_lit(b, "null");
    buf_json_int(b, "ms", (int64_t)row->ms);
    put_or_null(b, "error", row->error);
    buf_lit(b, ",\"details\":{");
    buf_json_int(b, "rows", row->rows);
    buf_json_bool(b, "dry_run", s->dry_run);
    buf_lit(b, "}}");
}

static void put_rows(struct buf *b, const struct steps *s)
{
    buf_char(b, '[');
    for (enum step i = STEP_SOURCE; i < STEPS; i++) {
        if (!s->row[i].done)
            continue;
        if (b->p[b->n - 1] != '[')
            buf_char(b, ',');
        put_row(b, s, i);
    }
    buf_char(b, ']');
}

/* ---- writing them ---- */

struct parcel { /* on the heap: it outlives the request */
    struct buf text[4];
    ath_str param[4];
    ath_stmt stmt;
    ath_query query;
};

static void parcel_free(void *arg)
{
    struct parcel *p = arg;

    for (size_t i = 0; i < ATH_COUNT(p->text); i++)
        buf_free(&p->text[i]);
    free(p);
    atomic_fetch_sub(&waiting, 1);
}

static void say(int level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ath_host_->log->write(ath_self_, NULL, level, fmt, ap);
    va_end(ap);
}

static void lost(const char *why)
{
    ath_host_->log->put(ath_self_, METRIC_LOST, NULL, 1);
    if (!atomic_exchange(&said, true))
        say(ATH_WARN, "steps of pipelines cannot be written: %s", why);
}

/* Its end is the task's in any case: what cannot be written is no failure of anybody's. */
static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc == ATH_E_CANCELED)
        return d->rc;
    if (d->rc < 0)
        lost(ath_host_->err->get(e, "message").p);
    else
        atomic_store(&said, false);
    ath_host_->task->done(t, NULL);
    return 0;
}

static int write_run(ath_task *t, void *arg, ath_err *e)
{
    struct parcel *p = arg;

    ath_host_->mem->own(ath_arena_of(t), p, parcel_free);
    if (ath_host_->pg->query(t, &p->query, written, p, e) == 0)
        return 0;
    lost(ath_host_->err->get(e, "message").p);
    ath_host_->task->done(t, NULL);
    return 0;
}

static struct parcel *parcel_new(const struct steps *s)
{
    const ath_str text[] = { s->run, s->request, s->name };
    struct parcel *p = calloc(1, sizeof(*p));

    if (!p)
        abort(); /* as everywhere */
    for (size_t i = 0; i < ATH_COUNT(text); i++)
        buf_str(&p->text[i], text[i]);
    put_rows(&p->text[3], s);
    for (size_t i = 0; i < ATH_COUNT(p->text); i++)
        p->param[i] = buf_view(&p->text[i]);
    p->stmt = (ath_stmt){ .sql = steps_sql, .param = p->param, .param_count = ATH_COUNT(p->param) };
    p->query = (ath_query){ .size = sizeof(p->query),
                            .client = ATH_S("@control"),
                            .timeout_ms = WRITE_MS,
                            .stmt = &p->stmt,
                            .stmt_size = sizeof(p->stmt),
                            .stmt_count = 1 };
    return p;
}

void steps_write(ath_req *r, const struct steps *s)
{
    ath_fork f = { .size = sizeof(f), .run = write_run };

    if (!ath_host_->inspect(r, "logging_client").n)
        return;
    if (atomic_fetch_add(&waiting, 1) >= WAITING_MOST) {
        atomic_fetch_sub(&waiting, 1);
        lost("too many of them wait");
        return;
    }
    f.arg = parcel_new(s);
    ath_host_->task->begin(ath_self_, &f);
}
