/* POST, PATCH and DELETE of /rest/v1/{table}: query string and body -> names -> catalogue -> right
 * -> one trip, which is one transaction -> caches are told -> the rows, or nothing where nothing is
 * wanted.
 *
 * A PATCH or DELETE writes the rows that its filters mean, all of them in one tree with those of
 * `or` and `and`; without any it is refused.
 */
#include "rest.h"

#include "dataplane/once.h"
#include "dataplane/write.h"
#include "lib/json.h"

struct write {
    struct dp_ask ask;
    enum dp_kind kind;
    struct dp dp; /* between reading and binding */
    struct dp_prefer prefer;
    struct dp_write w;
    struct dp_change change;
    ath_relation_name relation; /* that is written, as the database has it */
    struct dp_once once;        /* with an idempotency key */
    ath_str reply;
};

/* ---- the answer ---- */

static int reply(ath_req *r, const struct write *x)
{
    if (x->w.head)
        return ath_reply(r, 204, NULL, ATH_S(""));
    return ath_reply(r, 200, "application/json", x->reply);
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : reply(t, d->arg);
}

static void count_of(ath_req *r, const struct write *x, uint64_t affected)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    rest_note(r, "rows_affected", affected);
    if (!x->prefer.count)
        return;
    dp_content_range(&b, 0, 0, (int64_t)affected);
    ath_host_->req->set(r, "content-range", buf_view(&b));
}

static void body_of(ath_req *r, struct write *x, const ath_rows *rows, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    struct dp_changed done;

    x->dp.e = e;
    count_of(r, x, dp_change_affected(&x->change, rows));
    if (!x->w.head) {
        buf_lit(&b, "{\"data\":");
        dp_change_rows(&x->dp, &x->w, &x->change, rows, &done, &b);
        buf_char(&b, '}');
        rest_note(r, "returned_row_count", done.returned);
    }
    x->reply = buf_view(&b);
}

/* It is committed; nobody is told before the caches know. */
static int committed(ath_req *r, struct write *x, ath_err *e)
{
    const struct rest_state *s = ath_state_of(r);
    int rc = s->cache ? s->cache->changed(r, &x->relation, 1, told, x, e) : 1;

    return rc == 1 ? reply(r, x) : rc;
}

static int answer(ath_req *r, struct dp_ask *ask, const ath_rows *rows, ath_err *e)
{
    struct write *x = (struct write *)ask;

    body_of(r, x, rows, e);
    return committed(r, x, e);
}

static int failed(ath_task *t, struct dp_ask *ask, int rc, ath_err *e)
{
    struct write *x = (struct write *)ask;

    (void)t;
    x->dp.e = e;
    return dp_write_failed(&x->dp, &x->w, rc);
}

/* ---- with an idempotency key ---- */

static int once_answer(ath_req *r, struct dp_once *o, const ath_rows *rows, ath_err *e)
{
    struct write *x = o->arg;

    body_of(r, x, rows, e);
    o->status = x->w.head ? 204 : 200;
    o->body = x->reply;
    return 0;
}

static int once_failed(ath_req *r, struct dp_once *o, int rc, ath_err *e)
{
    return dp_ask_failed(r, &((struct write *)o->arg)->ask, rc, e);
}

static int once_committed(ath_req *r, struct dp_once *o, ath_err *e)
{
    return committed(r, o->arg, e);
}

/* What must be the same when the key comes again: which rows are meant stands in the query string.
 */
static int send_once(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct write *x = (struct write *)ask;
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_str(&b, ath_host_->req->info(r, "method"));
    buf_char(&b, ' ');
    buf_str(&b, ath_host_->req->info(r, "target"));
    buf_printf(&b, "\n%d %d %d\n", x->prefer.minimal, x->prefer.resolution, x->prefer.nulls);
    buf_str(&b, ath_host_->req->body(r));
    x->once.request = buf_view(&b);
    x->once.begin = "BEGIN";
    x->once.effect = ask->query;
    x->once.answer = once_answer;
    x->once.failed = once_failed;
    x->once.committed = once_committed;
    x->once.arg = x;
    return dp_once(r, &x->once, e);
}

/* ---- the way there ---- */

static int read_json(ath_req *r, const struct json **ret, ath_err *e)
{
    struct json_error why;

    *ret = json_read(ath_host_->req->body(r), JSON_ARENA(ath_arena_of(r)), DP_VALUES, &why);
    if (*ret)
        return 0;
    return ath_raise(e, "malformed_json_payload",
                     "malformed JSON payload for %.*s: %s at line %u, column %u",
                     STR_ARG(ath_host_->req->info(r, "path")), why.why, why.line, why.column);
}

/* What happens to a row that is there already takes both: how it is resolved, and by which columns.
 */
static int conflict(struct write *x, ath_str target)
{
    struct dp *dp = &x->dp;

    x->w.conflict = x->prefer.resolution == DP_RESOLVE_MERGE    ? DP_CONFLICT_MERGES
                    : x->prefer.resolution == DP_RESOLVE_IGNORE ? DP_CONFLICT_SKIPS
                                                                : DP_CONFLICT_FAILS;
    if (!target.n)
        return 0;
    if (x->w.conflict == DP_CONFLICT_FAILS)
        return dp_refuse(dp, "on_conflict needs Prefer: resolution=merge-duplicates or "
                             "resolution=ignore-duplicates");
    return dp_write_target(dp, target, &x->w);
}

static int read_insert(ath_req *r, struct write *x, ath_str target, ath_err *e)
{
    const struct json *body;
    int rc;

    if ((rc = read_json(r, &body, e)) < 0 || (rc = dp_write_rows(&x->dp, body, &x->w)) < 0)
        return rc;
    x->w.one = false; /* the answer has an array in any case */
    x->w.nulls = x->prefer.nulls;
    return conflict(x, target);
}

static int read_update(ath_req *r, struct write *x, ath_err *e)
{
    const struct json *body;
    int rc;

    if ((rc = read_json(r, &body, e)) < 0)
        return rc;
    if (body->type != JSON_OBJECT)
        return ath_raise(e, "missing_update_payload", "patch body must be an object");
    if (!body->count)
        return ath_raise(e, "missing_update_payload", "no columns provided for update");
    return dp_write_set(&x->dp, body, &x->w);
}

static int options(ath_req *r, struct write *x, ath_err *e)
{
    if (x->kind != DP_INSERT && !x->w.root.where)
        return ath_raise(e, "missing_conditions", "filters are required for %s",
                         x->kind == DP_UPDATE ? "update" : "delete");
    if (x->kind != DP_INSERT && x->prefer.resolution)
        return ath_raise(e, "bad_request", "Prefer: resolution has a meaning for POST only");
    if (ath_header(r, "range").n)
        return ath_raise(e, "bad_request", "a range of rows can be read, not written");
    x->w.head = x->prefer.minimal;
    return dp_write_whole(&x->dp, &x->w);
}

static int read_request(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct write *x = (struct write *)ask;
    struct dp_node *root = &x->w.root;
    const ath_pair *pair;
    ath_str target;
    uint32_t n = ath_host_->req->pairs(r, "query", &pair);
    unsigned takes = x->kind == DP_INSERT ? DP_REST_TARGET : DP_REST_ROWS;
    int rc = 0;

    x->dp = rest_dp(r, e);
    dp_write_begin(&x->dp, x->kind, &x->w);
    root->asked = ath_param(r, "table");
    if ((rc = dp_once_key(r, ATH_S(""), &x->once.key, e)) < 0 ||
        (rc = rest_prefer(r, &x->dp, &x->prefer)) < 0 ||
        (rc = dp_read_table(&x->dp, root->asked, &root->schema, &root->table)) < 0 ||
        (rc = dp_read_rest_query(&x->dp, pair, n, takes, root, &target)) < 0)
        return rc;
    if (x->kind == DP_INSERT)
        rc = read_insert(r, x, target, e);
    else if (x->kind == DP_UPDATE)
        rc = read_update(r, x, e);
    if (rc < 0 || (rc = options(r, x, e)) < 0)
        return rc;
    rest_named(r, root->asked);
    return 0;
}

static int bind(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct rest_config *cfg = ath_config_of(r);
    struct write *x = (struct write *)ask;
    const ath_right *right;
    uint32_t rights;
    int rc, allowed;

    x->dp.e = e;
    x->dp.snapshot = ask->snapshot;
    rc = dp_bind_write(&x->dp, &x->w);
    rights = dp_write_rights(&x->dp, &x->w, &right);
    if ((allowed = ath_host_->req->allow(r, right, rights, e)) < 0)
        return allowed;
    ask->unknown = x->dp.unknown;
    if (rc == 0 && x->once.key.n)
        rc = dp_once_installed(ask->catalog, ask->snapshot, &ask->unknown, e);
    if (rc < 0 || (rc = dp_write_sql(&x->dp, &x->w, &x->change)) < 0)
        return rc;
    ask->send = x->once.key.n ? send_once : NULL;
    x->relation = (ath_relation_name){ x->w.root.relation->schema, x->w.root.relation->name };
    ask->query.stmt = x->change.stmt;
    ask->query.stmt_count = x->change.stmt_count;
    ask->query.timeout_ms = (uint32_t)cfg->query_timeout_ms;
    return 0;
}

static int begin(ath_req *r, enum dp_kind kind, ath_err *e)
{
    const struct rest_state *s = ath_state_of(r);
    struct write *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->kind = kind;
    x->ask.catalog = s->catalog;
    x->ask.read = read_request;
    x->ask.bind = bind;
    x->ask.answer = answer;
    x->ask.failed = failed;
    return dp_ask(r, &x->ask, e);
}

int rest_post(ath_req *r, ath_err *e)
{
    return begin(r, DP_INSERT, e);
}

int rest_patch(ath_req *r, ath_err *e)
{
    return begin(r, DP_UPDATE, e);
}

int rest_delete(ath_req *r, ath_err *e)
{
    return begin(r, DP_DELETE, e);
}
