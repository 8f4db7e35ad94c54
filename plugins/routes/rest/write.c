/* POST, PATCH and DELETE of /rest/v1/{table}: query string and body -> names -> catalogue -> right
 * -> one trip, which is one transaction -> caches are told -> the rows, or nothing where nothing is
 * wanted.
 *
 * A PATCH or DELETE writes the rows that its filters mean, all of them in one tree with those of
 * `or` and `and`; without any it is refused.
 */
#include "rest.h"

#include "dataplane/effect.h"
#include "dataplane/write.h"
#include "lib/json.h"

struct write {
    struct dp_effect effect; /* first */
    enum dp_kind kind;
    struct dp dp; /* between reading and binding */
    struct dp_prefer prefer;
    struct dp_write w;
    struct dp_change change;
    ath_relation_name relation; /* that is written, as the database has it */
};

/* ---- the answer ---- */

static void count_of(ath_req *r, const struct write *x, uint64_t affected)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    dp_note_number(r, "rows_affected", affected);
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
        dp_note_number(r, "returned_row_count", done.returned);
    }
    x->effect.reply = buf_view(&b);
    x->effect.status = x->w.head ? 204 : 200;
}

static int say(ath_req *r, struct dp_effect *effect, const ath_rows *rows, ath_err *e)
{
    body_of(r, (struct write *)effect, rows, e);
    return 0;
}

static int failed(ath_task *t, struct dp_ask *ask, int rc, ath_err *e)
{
    struct write *x = (struct write *)ask;

    (void)t;
    x->dp.e = e;
    return dp_write_failed(&x->dp, &x->w, rc);
}

/* ---- the way there ---- */

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

    if ((rc = dp_body(r, "malformed_json_payload", &body, e)) < 0 ||
        (rc = dp_write_rows(&x->dp, body, &x->w)) < 0)
        return rc;
    x->w.one = false; /* the answer has an array in any case */
    x->w.nulls = x->prefer.nulls;
    return conflict(x, target);
}

static int read_update(ath_req *r, struct write *x, ath_err *e)
{
    const struct json *body;
    int rc;

    if ((rc = dp_body(r, "malformed_json_payload", &body, e)) < 0)
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
    if ((rc = dp_once_key(r, ATH_S(""), &x->effect.once.key, e)) < 0 ||
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

/* What must be the same when an idempotency key comes again, besides the body: which rows are meant
 * stands in the query string. */
static ath_str same(ath_req *r, const struct write *x)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    if (!x->effect.once.key.n)
        return ATH_S("");
    buf_str(&b, ath_host_->req->info(r, "method"));
    buf_char(&b, ' ');
    buf_str(&b, ath_host_->req->info(r, "target"));
    buf_printf(&b, "\n%d %d %d", x->prefer.minimal, x->prefer.resolution, x->prefer.nulls);
    return buf_view(&b);
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
    if (rc < 0 || (rc = dp_effect_bound(r, &x->effect, e)) < 0 ||
        (rc = dp_write_sql(&x->dp, &x->w, &x->change)) < 0)
        return rc;
    x->effect.also = same(r, x);
    x->effect.changed = &x->relation;
    x->effect.changes = 1;
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
    x->effect = (struct dp_effect){
        .ask = { .catalog = s->catalog, .read = read_request, .bind = bind, .failed = failed },
        .cache = s->cache,
        .writes = s->writes,
        .say = say,
    };
    return dp_ask(r, &x->effect.ask, e);
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
