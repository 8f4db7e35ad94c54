/* The script becomes one trip: the lock, then each statement. Behind each CREATE TABLE stands an
 * ALTER TABLE that is made from it, so that a table which is there in another form gets what it
 * lacks; on a new one that finds nothing to do. It is asked first whether the database answers at
 * all, within its own, shorter time.
 */
#include "provision/provision.h"

#include "lib/buf.h"
#include "sqltext/sqltext.h"

enum { SHOWN = 120 };

static const char lock_sql[] = "select pg_advisory_xact_lock(7307493210115174757)";
static const char answers_sql[] = "select 1";

/* ---- reading the script ---- */

static ath_str copy(ath_arena *a, ath_str s)
{
    struct buf b = BUF_ARENA(a);

    buf_str(&b, s);
    return buf_view(&b);
}

uint32_t provision_statements(ath_arena *a, ath_str script, ath_str **ret)
{
    struct sql_scan s = { .text = script, .line = 1 };
    struct sql_statement st;
    uint32_t n = 0;

    while (sql_statement(&s, &st))
        n++;
    *ret = ath_new(a, (n + 1) * sizeof(**ret));
    s = (struct sql_scan){ .text = script, .line = 1 };
    for (uint32_t i = 0; i < n && sql_statement(&s, &st); i++)
        (*ret)[i] = copy(a, st.text);
    return n;
}

/* CREATE TABLE IF NOT EXISTS schema.name: the name, and the scan stands behind it. False: it is
 * something else. */
static bool table_of(struct sql_scan *s, ath_str *ret)
{
    static const char *const words[] = { "CREATE", "TABLE", "IF", "NOT", "EXISTS" };
    struct sql_token schema, dot, name;

    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (!sql_next(s, &name) || !sql_is(&name, words[i]))
            return false;
    if (!sql_next(s, &schema) || !sql_next(s, &dot) || !sql_next(s, &name) || !sql_sign(&dot, "."))
        return false;
    *ret = str_from(schema.text.p, (size_t)(name.text.p + name.text.n - schema.text.p));
    return true;
}

uint32_t provision_tables(ath_arena *a, ath_str script, ath_str **ret)
{
    ath_str *statement;
    uint32_t statements = provision_statements(a, script, &statement), n = 0;

    *ret = ath_new(a, (statements + 1) * sizeof(**ret));
    for (uint32_t i = 0; i < statements; i++) {
        struct sql_scan s = { .text = statement[i], .line = 1 };
        n += table_of(&s, &(*ret)[n]);
    }
    return n;
}

/* ---- what a table may lack ---- */

struct item { /* of the list in a CREATE TABLE */
    ath_str text;
    ath_str not_null; /* NOT NULL; empty: not said */
    bool column, keyed, defaults;
};

/* The next one; `s` stands behind the bracket or comma before it. False: there is none. */
static bool next_item(struct sql_scan *s, struct item *ret)
{
    struct sql_token t, before = { 0 };
    uint32_t depth = 0;

    *ret = (struct item){ .column = true };
    while (sql_next(s, &t)) {
        if (depth == 0 && (sql_sign(&t, ",") || sql_sign(&t, ")")))
            return ret->text.n > 0;
        depth += sql_sign(&t, "(");
        depth -= sql_sign(&t, ")");
        if (!ret->text.p) {
            ret->text = t.text;
            ret->column = !sql_is(&t, "UNIQUE") && !sql_is(&t, "PRIMARY");
        }
        if (sql_is(&t, "NULL") && sql_is(&before, "NOT"))
            ret->not_null = str_from(before.text.p, (size_t)(t.text.p + t.text.n - before.text.p));
        ret->keyed = ret->keyed || sql_is(&t, "PRIMARY");
        ret->defaults = ret->defaults || sql_is(&t, "DEFAULT");
        ret->text.n = (size_t)(t.text.p + t.text.n - ret->text.p);
        before = t;
    }
    return false;
}

static void put_column(struct buf *b, const struct item *i)
{
    size_t at = i->text.n;

    if (i->not_null.n && !i->defaults)
        at = (size_t)(i->not_null.p - i->text.p);
    buf_lit(b, " ADD COLUMN IF NOT EXISTS ");
    buf_str(b, str_from(i->text.p, at));
    if (at < i->text.n)
        buf_str(b, str_after(i->text, at + i->not_null.n));
}

ath_str provision_lacking(ath_arena *a, ath_str statement)
{
    struct sql_scan s = { .text = statement, .line = 1 };
    struct buf b = BUF_ARENA(a);
    struct sql_token open;
    struct item i;
    ath_str table;
    bool any = false;

    if (!table_of(&s, &table) || !sql_next(&s, &open))
        return (ath_str){ "", 0 };
    buf_lit(&b, "ALTER TABLE ");
    buf_str(&b, table);
    while (next_item(&s, &i)) {
        if (!i.column || i.keyed)
            continue;
        if (any)
            buf_char(&b, ',');
        put_column(&b, &i);
        any = true;
    }
    return any ? buf_view(&b) : (ath_str){ "", 0 };
}

/* ---- running it ---- */

struct provisioning { /* of one run, in the arena of its task */
    ath_str uri;
    uint32_t timeout_ms, statements, sent;
    ath_str *statement; /* of the script */
    ath_stmt *stmt;     /* of the trip */
    uint32_t *from;     /* the statement of the script that each of them is, from 0 */
};

static void add(struct provisioning *p, const char *sql, uint32_t from)
{
    p->stmt[p->sent] = (ath_stmt){ .sql = sql };
    p->from[p->sent++] = from;
}

static void prepare(ath_arena *a, struct provisioning *p)
{
    p->statements = provision_statements(a, str_of(tenant_sql), &p->statement);
    p->stmt = ath_new(a, (2 * p->statements + 1) * sizeof(*p->stmt));
    p->from = ath_new(a, (2 * p->statements + 1) * sizeof(*p->from));
    add(p, lock_sql, 0);
    for (uint32_t i = 0; i < p->statements; i++) {
        ath_str more = provision_lacking(a, p->statement[i]);
        add(p, p->statement[i].p, i);
        if (more.n)
            add(p, more.p, i);
    }
}

ath_str provision_failure(ath_arena *a, uint64_t i, uint32_t n, ath_str statement, ath_str why)
{
    size_t shown = statement.n < SHOWN ? statement.n : SHOWN;
    struct buf b = BUF_ARENA(a);

    while (shown < statement.n && shown > 0 && ((unsigned char)statement.p[shown] & 0xc0) == 0x80)
        shown--;
    buf_printf(&b, "statement %llu/%u failed: %.*s", (unsigned long long)i, n, (int)shown,
               statement.p);
    buf_z(&b, shown < statement.n ? "\xe2\x80\xa6 \xe2\x80\x94 " : " \xe2\x80\x94 ");
    buf_str(&b, why);
    return buf_view(&b);
}

static int ran(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct provisioning *p = d->arg;
    ath_done result = { .size = sizeof(result), .count = p->statements };
    ath_str why;
    uint32_t at;

    if (d->rc < 0 && ath_host_->err->get(e, "sqlstate").n) {
        at = p->from[d->count < p->sent ? d->count : p->sent - 1];
        why = copy(ath_arena_of(t), ath_host_->err->get(e, "message"));
        why = provision_failure(ath_arena_of(t), at + 1, p->statements, p->statement[at], why);
        return ath_fail(e, d->rc, "%.*s", STR_ARG(why));
    }
    if (d->rc < 0)
        return d->rc;
    ath_host_->task->done(t, &result);
    return 0;
}

static int unreachable(ath_task *t, ath_err *e)
{
    ath_str why = copy(ath_arena_of(t), ath_host_->err->get(e, "message"));

    return ath_fail(e, ATH_E_UPSTREAM, "failed to connect to Postgres: %.*s", STR_ARG(why));
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    static const ath_pair set[] = { { { "lock_timeout", 12 }, { "30s", 3 } } };
    struct provisioning *p = d->arg;
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_OPERATOR,
                    .uri = p->uri,
                    .timeout_ms = p->timeout_ms,
                    .set = set,
                    .set_count = ATH_COUNT(set) };

    if (d->rc < 0)
        return d->rc == ATH_E_CANCELED ? d->rc : unreachable(t, e);
    prepare(ath_arena_of(t), p);
    q.stmt = p->stmt;
    q.stmt_size = sizeof(*p->stmt);
    q.stmt_count = p->sent;
    return ath_host_->pg->query(t, &q, ran, p, e);
}

static int connect(ath_task *t, void *arg, ath_err *e)
{
    static const ath_stmt stmt = { .sql = answers_sql };
    struct provisioning *p = arg;
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_OPERATOR | ATH_PG_READ,
                    .uri = p->uri,
                    .timeout_ms = PROVISION_CONNECT_MS,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(t, &q, answered, p, e) < 0 ? unreachable(t, e) : 0;
}

int provision_run(ath_task *t, ath_str uri, uint32_t timeout_ms, ath_then *then, void *arg,
                  ath_err *e)
{
    struct provisioning *p = ath_new(ath_arena_of(t), sizeof(*p));
    ath_fork f = { .size = sizeof(f), .run = connect, .arg = p };

    p->uri = uri;
    p->timeout_ms = timeout_ms;
    return ath_host_->task->fork(t, &f, then, arg, e);
}
