/* POST /gateway/transaction (contract 27): operations as the single routes know them, all of them
 * or none.
 *
 * Everything is read, bound and allowed before the first statement leaves, so what can be known to
 * fail changes nothing; then all statements go in one trip:
 *
 *     BEGIN ...; the statements of each operation; COMMIT
 *
 * With an idempotency key dataplane/once.h brings its own BEGIN and COMMIT. The first operation
 * that fails undoes all and gives the answer its status, code and words, with its index and id.
 */
#include "change.h"

#include "dataplane/effect.h"
#include "lib/json.h"

enum { OPERATIONS = 100, STATEMENTS = 990, IDS = 255 };

struct operation {
    ath_str id;
    uint32_t index;
    bool reads;
    const struct json *payload;
    struct change c; /* of one that writes */
    struct dp dp;    /* of one that reads */
    struct dp_fetch f;
    struct dp_query q;
    const ath_stmt *stmt;
    uint32_t first, count; /* its statements, from 0 */
};

struct transaction {
    struct dp_effect effect; /* first */
    const struct json *body; /* NULL: not read yet */
    struct operation *op;
    uint32_t count, statements;
    bool read_only;
    ath_relation_name *changed; /* one per operation that writes */
};

#define refuse(e, ...) ath_raise((e), "invalid_transaction", __VA_ARGS__)

/* ---- whose failure it is ---- */

static int blame(ath_req *r, const struct operation *op, int rc, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r)), index = BUF_ARENA(ath_arena_of(r));

    buf_u64(&index, op->index);
    ath_host_->err->detail(e, "failed_index", buf_view(&index));
    if (op->id.n) {
        buf_json(&b, op->id);
        ath_host_->err->detail(e, "failed_id", buf_view(&b));
    }
    ath_host_->err->detail(e, "committed", ATH_S("false"));
    return rc;
}

/* Behind the last one the commit itself failed: a constraint that is checked there, a conflict. */
static int failed(ath_task *t, struct dp_ask *ask, int rc, ath_err *e)
{
    struct transaction *x = (struct transaction *)ask;
    uint64_t at = ask->answered ? ask->answered - 1 : 0; /* without BEGIN */

    for (uint32_t i = 0; i < x->count; i++) {
        struct operation *op = &x->op[i];
        if (at < op->first || at >= op->first + op->count)
            continue;
        if (!op->reads)
            rc = change_failed(&op->c, rc, e);
        return blame(t, op, rc, e);
    }
    ath_host_->err->detail(e, "committed", ATH_S("false"));
    return rc;
}

/* ---- the answer ---- */

static void id_member(struct buf *b, const char *key, ath_str text)
{
    buf_json_key(b, key);
    if (text.p)
        buf_json(b, text);
    else
        buf_lit(b, "null");
}

static void end(const struct operation *op, struct buf *b)
{
    buf_lit(b, ",\"error\":null,\"id\":");
    if (op->id.n)
        buf_json(b, op->id);
    else
        buf_lit(b, "null");
    buf_lit(b, ",\"ok\":true");
}

static const ath_rows *write_result(struct operation *op, const ath_rows *rows, ath_err *e,
                                    struct buf *b)
{
    struct change *c = &op->c;
    uint64_t affected = dp_change_affected(&c->sql, rows);
    struct dp_changed done;

    c->dp.e = e;
    buf_lit(b, "{\"affected_rows\":");
    buf_u64(b, affected);
    buf_lit(b, ",\"count\":");
    if (c->w.counted)
        buf_u64(b, affected);
    else
        buf_lit(b, "null");
    buf_lit(b, ",\"data\":");
    rows = dp_change_rows(&c->dp, &c->w, &c->sql, rows, &done, b);
    end(op, b);
    if (c->kind == DP_INSERT)
        id_member(b, "resource_id", done.id);
    buf_lit(b, ",\"status\":200}");
    return rows;
}

/* The whole answer of a fetch is made, and its rows are taken out of it. */
static int read_result(struct operation *op, const ath_rows **rows, ath_err *e, struct buf *b)
{
    struct dp_answer a = { .cache_key = ATH_S(""), .strip_nulls = op->f.strip_nulls > 0 };
    struct buf whole = dp_buf(&op->dp);
    int rc;

    op->dp.e = e;
    if ((rc = dp_fetch_rows(&op->dp, &op->f, &op->q, *rows, &a, &whole)) < 0)
        return rc;
    buf_lit(b, "{\"count\":");
    if (a.count >= 0)
        buf_i64(b, a.count);
    else
        buf_lit(b, "null");
    buf_lit(b, ",\"data\":");
    buf_mem(b, whole.p + a.data_from, a.data_to - a.data_from);
    end(op, b);
    buf_lit(b, ",\"status\":200}");
    for (uint32_t i = 0; i < op->q.stmt_count; i++)
        *rows = ath_host_->pg->next(*rows);
    return 0;
}

static int body_of(ath_task *t, struct transaction *x, const ath_rows *rows, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    int rc = 0;

    buf_lit(&b,
            "{\"data\":{\"committed\":true},\"message\":\"Transaction committed\",\"results\":[");
    for (uint32_t i = 0; i < x->count && rc == 0; i++) {
        if (i)
            buf_char(&b, ',');
        if (x->op[i].reads)
            rc = read_result(&x->op[i], &rows, e, &b);
        else
            rows = write_result(&x->op[i], rows, e, &b);
    }
    buf_lit(&b, "],\"status\":\"success\"}");
    x->effect.reply = buf_view(&b);
    return rc;
}

static int say(ath_req *r, struct dp_effect *effect, const ath_rows *rows, ath_err *e)
{
    return body_of(r, (struct transaction *)effect, rows, e);
}

/* ---- reading ---- */

static int truth(const struct json *v, bool *ret, ath_err *e)
{
    if (v->type != JSON_TRUE && v->type != JSON_FALSE)
        return refuse(e, "%.*s must be true or false, not %.*s", STR_ARG(v->key), STR_ARG(v->raw));
    *ret = v->type == JSON_TRUE;
    return 0;
}

enum { ANY, COMMITTED, REPEATABLE, SERIALIZABLE };

static int isolation(const struct json *v, int *ret, ath_err *e)
{
    static const char *const words[] = { [COMMITTED] = "read_committed",
                                         [REPEATABLE] = "repeatable_read",
                                         [SERIALIZABLE] = "serializable" };

    for (int i = COMMITTED; i <= SERIALIZABLE; i++)
        if (str_is(json_text(v), words[i])) {
            *ret = i;
            return 0;
        }
    return refuse(e,
                  "isolation_level must be read_committed, repeatable_read or serializable, not "
                  "%.*s",
                  STR_ARG(v->raw));
}

static int options(struct transaction *x, const struct json *o, ath_err *e)
{
    static const char *const begin[][2] = {
        [ANY] = { "BEGIN", "BEGIN READ ONLY" },
        [COMMITTED] = { "BEGIN ISOLATION LEVEL READ COMMITTED",
                        "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY" },
        [REPEATABLE] = { "BEGIN ISOLATION LEVEL REPEATABLE READ",
                         "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" },
        [SERIALIZABLE] = { "BEGIN ISOLATION LEVEL SERIALIZABLE",
                           "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY" },
    };
    bool deferrable = false;
    int level = ANY, rc = 0;

    if (o && o->type != JSON_OBJECT)
        return refuse(e, "options must be an object, not %.*s", STR_ARG(o->raw));
    for (const struct json *v = o ? o->first : NULL; v && rc == 0; v = v->next) {
        if (v->type == JSON_NULL)
            continue;
        if (str_is(v->key, "isolation_level"))
            rc = isolation(v, &level, e);
        else if (str_is(v->key, "read_only"))
            rc = truth(v, &x->read_only, e);
        else if (str_is(v->key, "deferrable"))
            rc = truth(v, &deferrable, e);
        else
            rc = refuse(e, "unknown option \"%.*s\"", STR_ARG(v->key));
    }
    if (rc < 0)
        return rc;
    if (deferrable && (level != SERIALIZABLE || !x->read_only))
        return refuse(e, "deferrable needs read_only and the isolation_level serializable");
    x->effect.once.begin = deferrable ? "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"
                                      : begin[level][x->read_only];
    return 0;
}

static int read_fetch(ath_req *r, struct operation *op, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    const struct gateway_state *s = ath_state_of(r);
    struct dp_limits limits = { .max_rows = cfg->max_rows };
    int rc;

    op->dp = (struct dp){
        .arena = ath_arena_of(r), .e = e, .catalog = s->catalog, .fold = cfg->fold_names
    };
    if ((rc = dp_read_fetch(&op->dp, op->payload, &limits, &op->f)) < 0)
        return rc;
    return op->f.group.by.n ? refuse(e, "rows are not grouped in a transaction") : 0;
}

static int read_operation(ath_req *r, const struct json *v, struct operation *op, ath_err *e)
{
    static const struct {
        const char *word;
        enum dp_kind kind;
    } kinds[] = {
        { "fetch", 0 }, { "insert", DP_INSERT }, { "update", DP_UPDATE }, { "delete", DP_DELETE }
    };
    const struct json *kind = json_given(v, "kind");
    size_t i = 0;
    int rc;

    if (v->type != JSON_OBJECT)
        return refuse(e, "an operation must be an object, not %.*s", STR_ARG(v->raw));
    op->id = json_text(json_given(v, "id"));
    op->payload = json_given(v, "payload");
    if (op->id.n > IDS)
        return refuse(e, "the id of an operation has at most %d bytes", IDS);
    while (i < ATH_COUNT(kinds) && !str_is(json_text(kind), kinds[i].word))
        i++;
    if (i == ATH_COUNT(kinds))
        return refuse(e,
                      "the kind of an operation must be fetch, insert, update or delete, not "
                      "%.*s",
                      STR_ARG(kind ? kind->raw : ATH_S("null")));
    if (!op->payload || op->payload->type != JSON_OBJECT)
        return refuse(e, "an operation needs a payload");
    op->reads = i == 0;
    if (op->reads)
        return read_fetch(r, op, e);
    rc = change_read(r, &op->c, kinds[i].kind, op->payload, e);
    op->c.w.one = false; /* results are lists here */
    return rc;
}

static int read_operations(ath_req *r, struct transaction *x, ath_err *e)
{
    const struct json *list = json_given(x->body, "operations");
    int rc = 0;

    if (!list || list->type != JSON_ARRAY || !list->count)
        return refuse(e, "operations must be a list of at least one");
    if (list->count > OPERATIONS)
        return refuse(e, "%u operations are more than %d", list->count, OPERATIONS);
    x->op = ath_new(ath_arena_of(r), list->count * sizeof(*x->op));
    x->count = 0;
    for (const struct json *v = list->first; v && rc == 0; v = v->next) {
        struct operation *op = &x->op[x->count];
        op->index = x->count++;
        if ((rc = read_operation(r, v, op, e)) < 0)
            return blame(r, op, rc, e);
    }
    return 0;
}

static int read_key(ath_req *r, struct transaction *x, ath_err *e)
{
    const struct json *key = json_given(x->body, "idempotency_key");
    int rc;

    if (key && (key->type != JSON_STRING || !key->text.n))
        return ath_raise(e, "invalid_idempotency_key", "idempotency_key must be a text, not %.*s",
                         STR_ARG(key->raw));
    if ((rc = dp_once_key(r, json_text(key), &x->effect.once.key, e)) < 0)
        return rc;
    if (x->effect.once.key.n && x->read_only)
        return refuse(e, "a transaction that only reads takes no idempotency key");
    return 0;
}

static int read_body(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct transaction *x = (struct transaction *)ask;
    int rc;

    if ((rc = dp_body(r, "malformed_json_payload", &x->body, e)) < 0 ||
        (rc = options(x, json_given(x->body, "options"), e)) < 0 || (rc = read_key(r, x, e)) < 0)
        return rc;
    return read_operations(r, x, e);
}

/* ---- binding ---- */

static int bind_fetch(ath_req *r, struct operation *op, struct dp_ask *ask, ath_err *e)
{
    const ath_right *right;
    uint32_t rights;
    int rc, allowed;

    op->dp.e = e;
    op->dp.snapshot = ask->snapshot;
    rc = dp_bind(&op->dp, &op->f.root);
    rights = dp_rights(&op->dp, &op->f.root, "read", &right);
    if ((allowed = ath_host_->req->allow(r, right, rights, e)) < 0)
        return allowed;
    ask->unknown = op->dp.unknown;
    if (rc < 0 || (rc = dp_fetch_sql(&op->dp, &op->f, &op->q)) < 0)
        return rc;
    op->stmt = op->q.stmt;
    op->count = op->q.stmt_count;
    return 0;
}

static int bind_operation(ath_req *r, struct transaction *x, struct operation *op, ath_err *e)
{
    int rc = op->reads ? bind_fetch(r, op, &x->effect.ask, e)
                       : change_bind(r, &op->c, x->effect.ask.snapshot, &x->effect.ask.unknown, e);

    if (rc < 0)
        return rc;
    if (!op->reads) {
        op->stmt = op->c.sql.stmt;
        op->count = op->c.sql.stmt_count;
        x->changed[x->effect.changes++] = op->c.relation;
    }
    op->first = x->statements;
    x->statements += op->count;
    return x->statements > STATEMENTS
               ? refuse(e, "the operations make more than %d statements", STATEMENTS)
               : 0;
}

static void gather(ath_req *r, struct transaction *x)
{
    ath_stmt *stmt = ath_new(ath_arena_of(r), (x->statements + 2) * sizeof(*stmt)), *at = stmt;

    *at++ = (ath_stmt){ .sql = x->effect.once.begin };
    for (uint32_t i = 0; i < x->count; i++)
        for (uint32_t j = 0; j < x->op[i].count; j++) {
            *at = x->op[i].stmt[j];
            at++->flags = 0; /* reads among writes are not repeated alone */
        }
    *at++ = (ath_stmt){ .sql = "COMMIT" };
    x->effect.ask.query.stmt = stmt;
    x->effect.ask.query.stmt_count = x->statements + 2;
}

static int bind(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    struct transaction *x = (struct transaction *)ask;
    int rc;

    x->statements = x->effect.changes = 0;
    x->changed = ath_new(ath_arena_of(r), x->count * sizeof(*x->changed));
    for (uint32_t i = 0; i < x->count; i++)
        if ((rc = bind_operation(r, x, &x->op[i], e)) < 0)
            return blame(r, &x->op[i], rc, e);
    if ((rc = dp_effect_bound(r, &x->effect, e)) < 0)
        return rc;
    gather(r, x);
    dp_note(r, "table_name", x->op[0].reads ? x->op[0].f.root.asked : x->op[0].c.w.root.asked,
            ATH_V_TEXT);
    dp_note_number(r, "statement_count", x->statements);
    ask->query.timeout_ms = (uint32_t)cfg->query_timeout_ms;
    x->effect.changed = x->changed;
    x->effect.harmless = x->effect.changes == 0;
    return 0;
}

int gateway_transaction(ath_req *r, ath_err *e)
{
    const struct gateway_state *s = ath_state_of(r);
    struct transaction *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->effect = (struct dp_effect){
        .ask = { .catalog = s->catalog, .read = read_body, .bind = bind, .failed = failed },
        .cache = s->cache,
        .writes = s->writes,
        .say = say,
        .framed = true,
    };
    return dp_ask(r, &x->effect.ask, e);
}
