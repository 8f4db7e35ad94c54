/* A description's words become a SELECT whose columns are always the same. */
#include "jobs/list.h"

#include <string.h>

#include "base/err.h"
#include "db/query.h"
#include "jobs/jobs_priv.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "lib/sqlname.h"

enum { LIMIT_DEFAULT = 50, LIMIT_MOST = 1000 };

/* What an operator calls a state, and the words of a queue that mean it. */
struct state {
    const char *name;
    const char *const word[3];
};

enum { STATES = 5 };

static void states_of(const ath_queue *q, struct state ret[STATES])
{
    const struct state list[STATES] = {
        { "waiting", { q->waiting, q->again } },
        { "running", { q->claimed, q->active, q->canceling } },
        { "done", { q->done } },
        { "dead", { q->dead } },
        { "canceled", { q->canceled } },
    };

    memcpy(ret, list, sizeof(list));
}

/* q.status IN (...); false: the queue has no such word. */
static bool in_words(struct buf *b, const ath_queue *q, const struct state *s)
{
    size_t said = 0;

    for (size_t i = 0; i < ATH_COUNT(s->word); i++) {
        if (!s->word[i])
            continue;
        buf_z(b, said++ ? ", " : "q.");
        if (said == 1) {
            buf_ident(b, str_of(q->status));
            buf_lit(b, " IN (");
        }
        buf_literal(b, str_of(s->word[i]));
    }
    if (said)
        buf_char(b, ')');
    return said > 0;
}

static void state_column(struct buf *b, const ath_queue *q)
{
    struct state list[STATES];

    states_of(q, list);
    buf_lit(b, "CASE");
    for (size_t i = 0; i < STATES; i++) {
        struct buf test = BUF_HEAP;
        if (in_words(&test, q, &list[i]))
            buf_printf(b, " WHEN %.*s THEN '%s'", (int)test.n, test.p, list[i].name);
        buf_free(&test);
    }
    buf_lit(b, " ELSE q.");
    buf_ident(b, str_of(q->status));
    buf_lit(b, " END");
}

/* ---- columns ---- */

static void text_column(struct buf *b, const char *name)
{
    buf_lit(b, ", ");
    if (!name) {
        buf_lit(b, "NULL::text");
        return;
    }
    buf_lit(b, "q.");
    buf_ident(b, str_of(name));
    buf_lit(b, "::text");
}

static void time_column(struct buf *b, const char *name)
{
    buf_lit(b, ", ");
    if (!name) {
        buf_lit(b, "NULL::text");
        return;
    }
    buf_lit(b, "(q.");
    buf_ident(b, str_of(name));
    buf_lit(b, " AT TIME ZONE 'UTC')::text");
}

/* In the order that job.h tells. What one job ended with may be long: of a single job alone. */
static void columns(struct buf *b, const ath_queue *q, bool one)
{
    const char *const text[] = { q->status, q->client, q->priority, q->attempts, q->max_attempts };
    const char *const times[] = { q->created, q->due, q->started, q->finished, q->until };
    const char *const rest[] = { q->owner, q->cancel, q->progress, q->error };

    buf_lit(b, "SELECT q.");
    buf_ident(b, str_of(q->key));
    buf_lit(b, "::text, ");
    state_column(b, q);
    for (size_t i = 0; i < ATH_COUNT(text); i++)
        text_column(b, text[i]);
    for (size_t i = 0; i < ATH_COUNT(times); i++)
        time_column(b, times[i]);
    for (size_t i = 0; i < ATH_COUNT(rest); i++)
        text_column(b, rest[i]);
    text_column(b, one ? q->result : NULL);
}

/* ---- conditions ---- */

static uint32_t value(struct list_sql *l, ath_str text)
{
    l->param[l->params++] = text;
    return l->params;
}

static void equals(struct buf *b, struct list_sql *l, const char *column, ath_str text)
{
    buf_lit(b, " AND q.");
    buf_ident(b, str_of(column));
    buf_printf(b, " = $%u", value(l, text));
}

static int of_state(struct buf *b, const ath_queue *q, const ath_job_page *p, ath_err *e)
{
    struct state list[STATES];

    states_of(q, list);
    for (size_t i = 0; i < STATES; i++) {
        if (!str_is(p->state, list[i].name))
            continue;
        buf_lit(b, " AND ");
        if (!in_words(b, q, &list[i]))
            buf_lit(b, "false");
        return 0;
    }
    return err_fail(e, ATH_E_INPUT,
                    "\"%.*s\" is no state of a job: waiting, running, done, dead, canceled",
                    STR_ARG(p->state));
}

/* What jobs are shown by, the newest first. */
static const char *place_of(const ath_queue *q)
{
    return q->created ? q->created : q->due;
}

/* Behind the job that the last page ended with. */
static void behind(struct buf *b, const ath_queue *q, struct list_sql *l, ath_str after)
{
    struct buf key = BUF_HEAP, place = BUF_HEAP, table = BUF_HEAP;

    buf_ident(&key, str_of(q->key));
    buf_ident(&place, str_of(place_of(q) ? place_of(q) : q->key));
    buf_ident(&table, str_of(q->table));
    buf_printf(b, " AND (q.%.*s, q.%.*s) < (SELECT a.%.*s, a.%.*s FROM %.*s a WHERE a.%.*s = $%u)",
               (int)place.n, place.p, (int)key.n, key.p, (int)place.n, place.p, (int)key.n, key.p,
               (int)table.n, table.p, (int)key.n, key.p, value(l, after));
    buf_free(&key);
    buf_free(&place);
    buf_free(&table);
}

static void order(struct buf *b, const ath_queue *q, uint32_t limit)
{
    buf_lit(b, " ORDER BY ");
    if (place_of(q)) {
        buf_lit(b, "q.");
        buf_ident(b, str_of(place_of(q)));
        buf_lit(b, " DESC, ");
    }
    buf_lit(b, "q.");
    buf_ident(b, str_of(q->key));
    buf_printf(b, " DESC LIMIT %u", limit);
}

int list_make(struct buf *b, const ath_queue *q, const ath_job_page *p, struct list_sql *ret,
              ath_err *e)
{
    uint32_t limit = p->limit ? p->limit : LIMIT_DEFAULT;
    int rc = 0;

    ret->params = 0;
    columns(b, q, p->key.n > 0);
    buf_lit(b, " FROM ");
    buf_ident(b, str_of(q->table));
    buf_lit(b, " q WHERE true");
    if (p->key.n)
        equals(b, ret, q->key, p->key);
    if (p->state.n && (rc = of_state(b, q, p, e)) < 0)
        return rc;
    if (p->client.n && !q->client)
        return err_fail(e, ATH_E_INPUT, "jobs of \"%s\" are of no client", q->cap.name);
    if (p->client.n)
        equals(b, ret, q->client, p->client);
    if (p->after.n)
        behind(b, q, ret, p->after);
    order(b, q, limit < LIMIT_MOST ? limit : LIMIT_MOST);
    return 0;
}

/* ---- how many ---- */

/* , count(*) FILTER (WHERE ... ) of one state, and of the ready ones of it. */
static void count_of(struct buf *b, const ath_queue *q, const struct state *s, const char *due)
{
    buf_lit(b, "count(*) FILTER (WHERE ");
    if (!in_words(b, q, s))
        buf_lit(b, "false");
    if (due) {
        buf_lit(b, " AND coalesce(q.");
        buf_ident(b, str_of(due));
        buf_lit(b, " <= statement_timestamp(), true)");
    }
    buf_lit(b, "), ");
}

/* What is done is not counted: it may be millions of rows, and says nothing of today. */
void depth_make(struct buf *b, const ath_queue *q)
{
    struct state list[STATES];

    states_of(q, list);
    buf_lit(b, "SELECT ");
    count_of(b, q, &list[0], NULL);
    count_of(b, q, &list[0], q->due);
    count_of(b, q, &list[1], NULL);
    count_of(b, q, &list[3], NULL);
    count_of(b, q, &list[4], NULL);
    if (q->created) {
        buf_lit(b, "extract(epoch FROM statement_timestamp() - min(q.");
        buf_ident(b, str_of(q->created));
        buf_lit(b, ") FILTER (WHERE ");
        in_words(b, q, &list[0]);
        buf_lit(b, "))::float8");
    } else {
        buf_lit(b, "NULL::float8");
    }
    buf_lit(b, " FROM ");
    buf_ident(b, str_of(q->table));
    buf_lit(b, " q WHERE q.");
    buf_ident(b, str_of(q->status));
    buf_lit(b, " <> ");
    buf_literal(b, str_of(q->done));
}

/* ---- asking ---- */

static int find(const char *name, const ath_queue **ret, ath_err *e)
{
    struct family *f = name ? family_find(str_of(name)) : NULL;

    if (!f)
        return err_fail(e, ATH_E_MISSING, "there is no queue \"%s\" here", name ? name : "");
    *ret = f->queue;
    return 0;
}

static int ask(ath_task *t, const struct buf *sql, const struct list_sql *l, ath_then *then,
               void *arg, ath_err *e)
{
    const ath_stmt s = { .sql = buf_view(sql).p, .param = l->param, .param_count = l->params };

    return db_query(t,
                    &(ath_query){ .size = sizeof(ath_query),
                                  .flags = ATH_PG_READ,
                                  .client = ATH_S("@control"),
                                  .stmt = &s,
                                  .stmt_size = sizeof(s),
                                  .stmt_count = 1 },
                    then, arg, e);
}

int jobs_list(ath_task *t, const ath_job_page *p, ath_then *then, void *arg, ath_err *e)
{
    struct buf sql = ARENA_BUF(&t->arena);
    struct list_sql *l = ARENA_NEW(&t->arena, struct list_sql);
    const ath_queue *q;

    if (find(p->queue, &q, e) < 0 || list_make(&sql, q, p, l, e) < 0)
        return e->rc;
    return ask(t, &sql, l, then, arg, e);
}

int jobs_depth(ath_task *t, const char *queue, ath_then *then, void *arg, ath_err *e)
{
    static const struct list_sql none;
    struct buf sql = ARENA_BUF(&t->arena);
    const ath_queue *q;

    if (find(queue, &q, e) < 0)
        return e->rc;
    depth_make(&sql, q);
    return ask(t, &sql, &none, then, arg, e);
}

void jobs_queues_json(struct buf *b)
{
    buf_char(b, '[');
    for (size_t i = 0; i < jobs.family_count; i++) {
        const ath_queue *q = jobs.family[i].queue;
        buf_z(b, i ? ",{" : "{");
        buf_json_str(b, "queue", str_of(q->cap.name));
        buf_json_str(b, "table", str_of(q->table));
        buf_char(b, '}');
    }
    buf_char(b, ']');
}
