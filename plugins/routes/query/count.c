/* POST /query/count: how many rows a table has, or what a count says (contract 23, G-03).
 *
 *     table_name    a name of the catalogue, the right to read it, a fetch of the count alone; kept
 *                   by the cache like any read
 *     query         SELECT count(...) FROM ..., the right to run SQL, a transaction that may not
 *                   write; which tables it reads is not known, so it is never kept
 */
#include "query.h"

#include "driver.h"
#include "lib/json.h"

enum { DIGEST_TEXT = 64 };

struct count {
    struct dp_ask ask;
    struct dp dp;
    struct dp_fetch fetch;
    struct dp_query compiled;
    const struct json *table, *schema;
    ath_str sql, database;
    char key[sizeof("query_count:") + DIGEST_TEXT];
    uint64_t started_ms;
    ath_cache_found found;
    ath_relation_name relation;
};

/* ---- the answer ---- */

static bool is_hit(const struct count *x)
{
    return x->found.outcome == ATH_CACHE_HIT_LOCAL || x->found.outcome == ATH_CACHE_HIT_REDIS;
}

static int reply(ath_req *r, const struct count *x, ath_str body)
{
    static const struct {
        ath_str outcome, source;
    } said[] = {
        [0] = { ATH_S("miss_all_tiers"), ATH_S("database") }, /* it was not asked */
        [ATH_CACHE_OFF] = { ATH_S("miss_all_tiers"), ATH_S("database") },
        [ATH_CACHE_HIT_LOCAL] = { ATH_S("hit_local_raw"), ATH_S("local") },
        [ATH_CACHE_HIT_REDIS] = { ATH_S("hit_redis"), ATH_S("redis") },
        [ATH_CACHE_MISS] = { ATH_S("miss_all_tiers"), ATH_S("database") },
        [ATH_CACHE_MISS_REDIS_ERROR] = { ATH_S("miss_after_redis_get_error"), ATH_S("database") },
        [ATH_CACHE_MISS_REDIS_TIMEOUT] = { ATH_S("miss_after_redis_get_timeout"),
                                           ATH_S("database") },
        [ATH_CACHE_BYPASSED] = { ATH_S("bypass_no_cache_header"), ATH_S("database") },
    };
    uint32_t outcome = x->found.outcome < ATH_COUNT(said) ? x->found.outcome : 0;

    if (is_hit(x))
        ath_host_->req->set(r, "x-athena-cached", ATH_S("true"));
    ath_host_->req->set(r, "x-athena-cache-key", str_of(x->key));
    ath_host_->req->set(r, "x-athena-cache-outcome", said[outcome].outcome);
    ath_host_->req->set(r, "x-athena-cache-source", said[outcome].source);
    return ath_reply(r, 200, "application/json", body);
}

static int answer(ath_req *r, struct count *x, const ath_rows *rows, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    struct buf b = BUF_ARENA(ath_arena_of(r));
    uint64_t now = ath_host_->loop->now_ms(ath_host_->task->loop(r));
    int64_t n;

    if (!ath_host_->pg->count(rows))
        return ath_raise(e, "query_execution_failed", "Count query returned no rows");
    if (!str_i64(ath_cell(rows, 0, 0), &n))
        return ath_raise(e, "invalid_count_query", "Count query returned no number");
    buf_lit(&b, "{\"data\":{");
    buf_json_str(&b, "cache_key", str_of(x->key));
    buf_json_str(&b, "cache_lookup_outcome", ATH_S("miss_all_tiers"));
    buf_json_int(&b, "count", n);
    buf_json_str(&b, "db_name", x->database);
    buf_json_int(&b, "duration_ms", (int64_t)(now - x->started_ms));
    buf_char(&b, '}');
    buf_json_str(&b, "message", ATH_S("Successfully computed row count"));
    buf_json_str(&b, "status", ATH_S("success"));
    buf_char(&b, '}');
    if (x->found.ticket)
        s->cache->store(r, x->found.ticket, buf_view(&b));
    return reply(r, x, buf_view(&b));
}

/* ---- the key ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* A label of the question, as of fetches: not what anything is looked up by. */
static void make_key(ath_req *r, struct count *x, ath_str sql)
{
    uint64_t h = (uint64_t)str_hash(ath_host_->req->info(r, "client")) << 32 | str_hash(sql);
    char *at = str_put(x->key, ATH_S("query_count:"));

    h ^= (uint64_t)str_hash(x->database) << 16;
    for (size_t i = 0; i < sql.n; i++)
        h = mix(h ^ (unsigned char)sql.p[i]);
    for (unsigned i = 0; i < 4; i++)
        at = str_put_hex(at, mix(h + i));
    *at = 0;
}

/* ---- a table ---- */

static int read_table(ath_req *r, struct dp_ask *a, ath_err *e)
{
    struct count *x = (struct count *)a;

    x->dp = (struct dp){ .arena = ath_arena_of(r),
                         .e = e,
                         .catalog = a->catalog,
                         .code = "invalid_table_reference",
                         .select_code = "invalid_table_reference",
                         .table_code = "invalid_table_reference" };
    x->fetch = (struct dp_fetch){
        .root.limit = -1, .root.offset = -1, .head = true, .count = DP_COUNT_EXACT
    };
    return dp_read_selector(&x->dp, x->table, x->schema, &x->fetch.root);
}

static int found(ath_req *r, struct count *x, ath_err *e)
{
    return is_hit(x) ? reply(r, x, x->found.bytes) : dp_ask_send(r, &x->ask, e);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : found(t, d->arg, e);
}

/* All that the body depends on, the client apart. */
static ath_str question(ath_req *r, const struct count *x)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_lit(&b, "count");
    buf_char(&b, 0);
    buf_str(&b, x->database);
    buf_char(&b, 0);
    buf_str(&b, buf_view(&x->compiled.sql.text));
    return buf_view(&b);
}

static int look(ath_req *r, struct dp_ask *a, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    struct count *x = (struct count *)a;
    ath_str control = ath_header(r, "cache-control");
    bool fresh = control.n && memmem(control.p, control.n, "no-cache", 8);
    ath_cache_ask ask = { .size = sizeof(ask),
                          .flags = fresh ? ATH_CACHE_FRESH : 0,
                          .question = question(r, x),
                          .relation = &x->relation,
                          .relation_count = 1 };
    int rc;

    x->relation =
        (ath_relation_name){ x->fetch.root.relation->schema, x->fetch.root.relation->name };
    x->found.size = sizeof(x->found);
    x->found.outcome = fresh ? ATH_CACHE_BYPASSED : ATH_CACHE_MISS;
    rc = s->cache ? s->cache->look(r, &ask, &x->found, looked, x, e) : 1;
    return rc == 1 ? found(r, x, e) : rc;
}

static int bind_table(ath_req *r, struct dp_ask *a, ath_err *e)
{
    const struct query_config *cfg = ath_config_of(r);
    struct count *x = (struct count *)a;
    const ath_right *right;
    uint32_t rights;
    int rc, allowed;

    x->dp.e = e;
    x->dp.snapshot = a->snapshot;
    rc = dp_bind(&x->dp, &x->fetch.root);
    a->unknown = x->dp.unknown;
    rights = dp_rights(&x->dp, &x->fetch.root, "read", &right);
    if ((allowed = ath_host_->req->allow(r, right, rights, e)) < 0 || rc < 0)
        return allowed < 0 ? allowed : rc;
    if ((rc = dp_fetch_sql(&x->dp, &x->fetch, &x->compiled)) < 0)
        return rc;
    make_key(r, x, buf_view(&x->compiled.sql.text));
    a->query.flags = ATH_PG_READ;
    a->query.stmt = x->compiled.stmt;
    a->query.stmt_count = x->compiled.stmt_count;
    a->query.timeout_ms = (uint32_t)cfg->timeout_ms;
    return 0;
}

static int answer_table(ath_req *r, struct dp_ask *a, const ath_rows *rows, ath_err *e)
{
    return answer(r, (struct count *)a, rows, e);
}

/* ---- a query ---- */

#define refuse(e, ...) ath_raise(e, "invalid_count_query", __VA_ARGS__)

/* ( ... ), and what stands behind it. False: it never closes. */
static bool skip_brackets(struct sql_scan *s, struct sql_token *t)
{
    int depth = 0;

    do {
        depth += sql_sign(t, "(") - sql_sign(t, ")");
        if (!sql_next(s, t))
            return false;
    } while (depth > 0);
    return true;
}

/* SELECT count(...) [FILTER (...)] [::type] [AS name] FROM: no other function, no sub-select beside
 * it (G-03). */
static bool is_count(ath_str sql)
{
    struct sql_scan s = { .text = sql, .line = 1 };
    struct sql_token t = { 0 };

    sql_next(&s, &t);
    if (!sql_next(&s, &t) || !sql_is(&t, "COUNT") || !sql_next(&s, &t) || !sql_sign(&t, "(") ||
        !skip_brackets(&s, &t))
        return false;
    if (sql_is(&t, "FILTER") && (!sql_next(&s, &t) || !sql_sign(&t, "(") || !skip_brackets(&s, &t)))
        return false;
    if (sql_sign(&t, "::") && !(sql_next(&s, &t) && t.kind == SQL_WORD && sql_next(&s, &t)))
        return false;
    if (sql_is(&t, "AS") && !sql_next(&s, &t))
        return false;
    if ((t.kind == SQL_WORD || t.kind == SQL_NAME) && !sql_is(&t, "FROM"))
        sql_next(&s, &t);
    return sql_is(&t, "FROM");
}

static const char *forbidden(ath_str sql)
{
    static const char *const words[] = { "insert", "update",   "delete",  "drop",   "alter",
                                         "create", "truncate", "execute", "grant",  "revoke",
                                         "copy",   "into",     "union",   "having", "window" };
    struct sql_scan s = { .text = sql, .line = 1 };
    struct sql_token t, before = { 0 };

    for (; sql_next(&s, &t); before = t) {
        for (size_t i = 0; i < ATH_COUNT(words); i++)
            if (sql_is(&t, words[i]))
                return words[i];
        if (sql_is(&t, "BY") && sql_is(&before, "GROUP"))
            return "group by";
    }
    return NULL;
}

static int check_query(struct count *x, ath_err *e)
{
    struct sql_scan s = { .text = x->sql, .line = 1 };
    struct sql_statement st, more;
    const char *word;

    if (!sql_statement(&s, &st) ||
        !str_ieq(str_from(st.text.p, st.text.n < 6 ? st.text.n : 6), ATH_S("select")))
        return refuse(e, "Count query must start with SELECT");
    if (sql_statement(&s, &more))
        return refuse(e, "Count query must be one statement");
    if ((word = forbidden(st.text)))
        return refuse(e, "Query contains forbidden construct: %s", word);
    if (!is_count(st.text))
        return refuse(e, "Count query must select COUNT(...) alone, FROM something");
    x->sql = st.text;
    return 0;
}

static int counted(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : answer(t, d->arg, d->rows, e);
}

static int ask_query(ath_req *r, struct count *x, ath_err *e)
{
    const struct query_config *cfg = ath_config_of(r);
    char *sql = ath_new(ath_arena_of(r), x->sql.n + 1);
    ath_stmt stmt = { .sql = sql };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_RAW | ATH_PG_READ_ONLY,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1,
                    .timeout_ms = (uint32_t)cfg->timeout_ms };

    memcpy(sql, x->sql.p, x->sql.n);
    make_key(r, x, x->sql);
    return ath_host_->pg->query(r, &q, counted, x, e);
}

/* ---- the request ---- */

static int target(struct count *x, const struct json *body, ath_err *e)
{
    const struct json *query = json_given(body, "query");

    x->table = json_given(body, "table_name");
    x->schema = json_given(body, "table_schema");
    if (query && x->table)
        return ath_raise(e, "ambiguous_count_target",
                         "Specify either `query` or `table_name`, not both.");
    if (!query && !x->table)
        return ath_raise(e, "missing_count_target",
                         "Provide `query` (validated COUNT SQL) or `table_name` (with optional "
                         "`table_schema`).");
    if (!query)
        return 0;
    if (query->type != JSON_STRING || query->nul)
        return refuse(e, "query must be a text without U+0000");
    x->sql = query->text;
    return check_query(x, e);
}

int query_count(ath_req *r, ath_err *e)
{
    const struct query_state *s = ath_state_of(r);
    struct count *x = ath_new(ath_arena_of(r), sizeof(*x));
    const struct json *body;
    int rc;

    if ((rc = script_body(r, 0, &body, e)) < 0 ||
        (rc = driver_read(r, body, "Use athena/scylla, postgresql, or supabase.", &x->database,
                          e)) < 0 ||
        (rc = target(x, body, e)) < 0)
        return rc;
    x->started_ms = ath_host_->loop->now_ms(ath_host_->task->loop(r));
    x->ask = (struct dp_ask){ .catalog = s->catalog,
                              .read = read_table,
                              .bind = bind_table,
                              .send = look,
                              .answer = answer_table };
    if (x->table)
        return dp_ask(r, &x->ask, e);
    return (rc = query_allowed(r, e)) < 0 ? rc : ask_query(r, x, e);
}
