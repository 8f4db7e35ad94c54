/* One statement for each table takes all lines that wait, as an array, with how long ago each was
 * said. */
#include "journal.h"

#include "backup/queue.h"
#include "lib/json.h"

void journal_begin(struct journal *j, ath_job *job)
{
    j->job = job;
}

ath_str journal_tail(ath_str text, size_t most)
{
    size_t from = text.n > most ? text.n - most : 0;

    while (from < text.n && from > 0 && ((unsigned char)text.p[from] & 0xc0) == 0x80)
        from++;
    return str_after(text, from);
}

/* What tools say may be in any encoding; the table's is UTF-8, without NUL. */
static ath_str as_text(ath_arena *a, ath_str raw)
{
    struct buf b = BUF_ARENA(a);

    raw = journal_tail(raw, JOURNAL_LINE_BYTES);
    buf_str(&b, raw);
    for (size_t i = 0; i < b.n; i++)
        if (b.p[i] == 0)
            b.p[i] = ' ';
    if (b.n)
        utf8_mend(b.p, b.n);
    return buf_view(&b);
}

static uint64_t now_ms(const struct journal *j)
{
    return ath_host_->loop->now_ms(ath_host_->task->loop(j->job));
}

void journal_say(struct journal *j, const char *level, const char *fmt, ...)
{
    struct buf b = BUF_HEAP;
    va_list ap;

    if (j->n == JOURNAL_WAITING || j->lines == JOURNAL_LINES) {
        j->dropped++;
        return;
    }
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    j->waiting[j->n++] =
        (struct journal_line){ level, as_text(ath_arena_of(j->job), buf_view(&b)), now_ms(j) };
    j->lines++;
    buf_free(&b);
}

/* ---- writing ---- */

static const char logs_sql[] =
    "insert into backup_job_logs (job_id, level, message, created_at)"
    " select $1::int8, l->>0, l->>1, clock_timestamp() - (l->>2)::int8 * interval '1 ms' from"
    " jsonb_array_elements($2::jsonb) with ordinality x(l, n) order by n";
static const char events_sql[] =
    "insert into public.athena_job_events (queue, job_key, level, message, at)"
    " select '" BACKUP_QUEUE "', $1, l->>0, l->>1,"
    " clock_timestamp() - (l->>2)::int8 * interval '1 ms' from"
    " jsonb_array_elements($2::jsonb) with ordinality x(l, n) order by n";

struct write {
    struct journal *journal;
    ath_str param[2];
    ath_then *then;
    void *arg;
};

static ath_str lines_of(ath_arena *a, struct journal *j)
{
    struct buf b = BUF_ARENA(a);

    buf_char(&b, '[');
    for (uint32_t i = 0; i < j->n; i++) {
        buf_z(&b, i ? ",[" : "[");
        buf_json(&b, str_of(j->waiting[i].level));
        buf_char(&b, ',');
        buf_json(&b, j->waiting[i].text);
        buf_char(&b, ',');
        buf_u64(&b, now_ms(j) - j->waiting[i].said_ms);
        buf_char(&b, ']');
    }
    buf_char(&b, ']');
    return buf_view(&b);
}

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    struct write *w = d->arg;
    struct journal *j = w->journal;
    ath_done mine = *d;

    if (d->rc == 0) {
        memmove(j->waiting, j->waiting + j->writing, (j->n - j->writing) * sizeof(*j->waiting));
        j->n -= j->writing;
    }
    j->writing = 0;
    mine.arg = w->arg;
    return w->then(t, &mine, e);
}

static int nothing(ath_task *t, const ath_done *d, ath_err *e)
{
    return written(t, d, e);
}

int journal_write(ath_task *t, struct journal *j, ath_then *then, void *arg, ath_err *e)
{
    struct write *w = ath_new(ath_arena_of(t), sizeof(*w));
    uint32_t dropped = j->dropped;
    ath_stmt stmt[] = { { .sql = logs_sql, .param = w->param, .param_count = 2 },
                        { .sql = events_sql, .param = w->param, .param_count = 2 } };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_FENCED,
                    .client = ATH_S("@control"),
                    .stmt = stmt,
                    .stmt_size = sizeof(stmt[0]),
                    .stmt_count = 2 };

    *w = (struct write){ .journal = j, .then = then, .arg = arg };
    if (dropped && j->n < JOURNAL_WAITING) {
        j->dropped = 0;
        j->lines -= j->lines == JOURNAL_LINES;
        journal_say(j, "warn", "%u more lines were not kept", dropped);
    }
    if (!j->n)
        return ath_host_->task->after(t, 0, nothing, w, e);
    j->writing = j->n;
    w->param[0] = ath_host_->job->key(j->job);
    w->param[1] = lines_of(ath_arena_of(t), j);
    return ath_host_->pg->query(t, &q, written, w, e);
}

/* ---- progress ---- */

int journal_stage(struct journal *j, const char *stage, int percent, uint64_t bytes)
{
    struct buf b = BUF_HEAP; /* it is said thousands of times */
    int rc;

    buf_char(&b, '{');
    buf_json_str(&b, "status", ATH_S("running"));
    buf_json_str(&b, "stage", str_of(stage));
    buf_json_int(&b, "progress_pct", percent);
    if (bytes)
        buf_json_int(&b, "bytes", (int64_t)bytes);
    buf_char(&b, '}');
    rc = ath_host_->job->progress(j->job, buf_view(&b));
    buf_free(&b);
    return rc;
}
