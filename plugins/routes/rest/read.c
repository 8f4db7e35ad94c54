/* GET /rest/v1/{table}: query string -> names -> catalogue -> rights -> cache -> one statement ->
 * rows.
 *
 * The answer says in Content-Range which rows it holds and, when it was asked for, how many there
 * are. That stands before the body: where rows come in pieces they are counted by the same
 * statement, so there every count is exact.
 */
#include "rest.h"

#include "dataplane/question.h"
#include "dataplane/sender.h"

enum { PAGE = 100 };

struct read {
    struct dp_ask ask;
    struct dp reading; /* between reading and binding */
    struct dp_prefer prefer;
    struct dp_fetch f;
    struct dp_query q;
    struct dp_sender sender;
    ath_cache_ask look;
    ath_cache_found found;
};

/* What is kept of an answer: a head for its account, then its body. */
struct kept {
    uint64_t rows;
};

/* ---- the answer ---- */

static void content_range(ath_req *r, const struct read *x, uint64_t rows, int64_t count)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    int64_t offset = x->f.root.offset > 0 ? x->f.root.offset : 0;

    dp_content_range(&b, offset, rows, x->prefer.count ? count : -1);
    ath_host_->req->set(r, "content-range", buf_view(&b));
    if (x->prefer.count && count >= 0)
        dp_note_number(r, "count", (uint64_t)count);
}

static void keep(ath_req *r, const struct read *x, uint64_t rows, ath_str body)
{
    const struct rest_state *s = ath_state_of(r);
    struct kept head = { .rows = rows };
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_mem(&b, (const char *)&head, sizeof(head));
    buf_str(&b, body);
    s->cache->store(r, x->found.ticket, buf_view(&b));
}

/* A guess is never less than what was seen. */
static int64_t counted(const struct read *x, const struct dp_writer *w, const ath_rows *rows)
{
    int64_t offset = x->f.root.offset > 0 ? x->f.root.offset : 0, seen, planned;

    if (x->f.count == DP_COUNT_EXACT || x->f.count == DP_COUNT_NONE)
        return x->sender.a.count;
    seen = offset + (int64_t)w->rows;
    planned = dp_planned_rows(ath_host_->pg->next(rows));
    if (x->f.count == DP_COUNT_ESTIMATED && (int64_t)w->rows < x->f.root.limit &&
        (w->rows || !offset))
        return seen; /* the last page was read: no need to guess */
    return planned > seen ? planned : seen;
}

static int answer(ath_task *t, struct dp_ask *ask, const ath_rows *rows, ath_err *e)
{
    struct read *x = (struct read *)ask;
    struct dp dp = rest_dp(t, e);
    struct buf b = BUF_ARENA(dp.arena);
    struct dp_writer w;

    dp_writer_begin(&w, &dp, &x->f, &x->q, rows, &x->sender.a, &b);
    if (x->q.rows)
        dp_writer_rows(&w, rows, &b);
    dp_writer_end(&w, &b);
    content_range(t, x, w.rows, counted(x, &w, rows));
    dp_note_number(t, "row_count", w.rows);
    if (x->found.ticket)
        keep(t, x, w.rows, buf_view(&b));
    return ath_reply(t, 200, dp_format_type(x->sender.a.format), buf_view(&b));
}

/* ---- long answers ---- */

static int whole(ath_req *r, void *arg, const ath_rows *rows, ath_err *e)
{
    return answer(r, arg, rows, e);
}

static void head(ath_req *r, void *arg, const struct dp_answer *a)
{
    const struct rest_state *s = ath_state_of(r);
    const struct read *x = arg;
    int64_t offset = x->f.root.offset > 0 ? x->f.root.offset : 0;
    int64_t rows = a->count > offset ? a->count - offset : 0;

    if (x->f.root.limit >= 0 && rows > x->f.root.limit)
        rows = x->f.root.limit;
    content_range(r, x, (uint64_t)rows, a->count);
    if (x->found.ticket) /* it is not kept, and who waits for the same need not wait on */
        s->cache->store(r, x->found.ticket, (ath_str){ NULL, 0 });
}

static int answer_pieces(ath_task *t, struct dp_ask *ask, const ath_rows *rows, ath_err *e)
{
    return dp_sender_start(t, &((struct read *)ask)->sender, rows, e);
}

/* ---- the cache ---- */

static void say(ath_req *r, bool cached, const char *source)
{
    ath_host_->req->note(
        r, &(ath_fact){ ATH_S("cached"), cached ? ATH_S("true") : ATH_S("false"), ATH_V_BOOL, 0 });
    ath_host_->req->note(r, &(ath_fact){ ATH_S("cache_source"), str_of(source), ATH_V_PLAIN, 0 });
}

static int found(ath_task *t, struct read *x, ath_err *e)
{
    ath_str bytes = x->found.bytes;
    struct kept kept;

    if (bytes.n < sizeof(kept)) {
        say(t, false, "database");
        return dp_ask_send(t, &x->ask, e);
    }
    memcpy(&kept, bytes.p, sizeof(kept));
    say(t, true, x->found.outcome == ATH_CACHE_HIT_REDIS ? "redis" : "local");
    dp_note_number(t, "row_count", kept.rows);
    content_range(t, x, kept.rows, -1);
    ath_host_->req->set(t, "x-athena-cached", ATH_S("true"));
    return ath_reply(t, 200, dp_format_type(x->sender.a.format), str_after(bytes, sizeof(kept)));
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : found(t, d->arg, e);
}

static int look(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct rest_state *s = ath_state_of(r);
    struct read *x = (struct read *)ask;
    ath_str control = ath_header(r, "cache-control");
    bool fresh = control.n && memmem(control.p, control.n, "no-cache", 8);
    ath_arena *a = ath_arena_of(r);
    int rc;

    x->look = (ath_cache_ask){ .size = sizeof(x->look), .flags = fresh ? ATH_CACHE_FRESH : 0 };
    x->look.question = dp_question(a, ATH_S("rest"), &x->f, &x->q, (uint8_t)x->sender.a.format);
    x->look.relation_count =
        dp_relations_read(a, &x->f.root, (ath_relation_name **)&x->look.relation);
    x->found = (ath_cache_found){ .size = sizeof(x->found) };
    rc = s->cache->look(r, &x->look, &x->found, looked, x, e);
    return rc == 1 ? found(r, x, e) : rc;
}

/* ---- the way there ---- */

static int page(struct dp *dp, ath_str range, int64_t max_rows, struct dp_node *root)
{
    int rc = dp_read_range(dp, range, &root->limit, &root->offset);

    if (rc < 0)
        return rc;
    if (max_rows && root->limit > max_rows)
        return dp_refuse(dp, "limit %lld is over the %lld rows allowed", (long long)root->limit,
                         (long long)max_rows);
    if (root->limit < 0)
        root->limit = max_rows && max_rows < PAGE ? max_rows : PAGE;
    return 0;
}

static int read_request(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct rest_config *cfg = ath_config_of(r);
    struct read *x = (struct read *)ask;
    struct dp_node *root = &x->f.root;
    struct dp *dp = &x->reading;
    const ath_pair *pair;
    ath_str target;
    uint32_t n = ath_host_->req->pairs(r, "query", &pair);
    int rc;

    *dp = rest_dp(r, e);
    x->f = (struct dp_fetch){ .root = { .limit = -1, .offset = -1 }, .strip_nulls = -1 };
    root->asked = ath_param(r, "table");
    if ((rc = rest_prefer(r, dp, &x->prefer)) < 0 ||
        (rc = dp_read_table(dp, root->asked, &root->schema, &root->table)) < 0 ||
        (rc = dp_read_rest_query(dp, pair, n, DP_REST_ROWS, root, &target)) < 0 ||
        (rc = page(dp, ath_header(r, "range"), cfg->max_rows, root)) < 0)
        return rc;
    x->f.count = x->prefer.count;
    if (!root->item) {
        if (!dp_item_add(dp, root))
            return ATH_E_INPUT;
        root->item->star = true;
    }
    rest_named(r, root->asked);
    return 0;
}

static int build(ath_req *r, struct read *x)
{
    const struct rest_config *cfg = ath_config_of(r);
    const struct rest_state *s = ath_state_of(r);
    ath_str accept = ath_header(r, "accept");
    bool pieces = dp_may_exceed(&x->f, cfg->pieces_above);
    int rc;

    if (pieces)
        x->f.count = DP_COUNT_EXACT;
    if ((rc = dp_fetch_sql(&x->reading, &x->f, &x->q)) < 0)
        return rc;
    x->sender = (struct dp_sender){ .arg = x,
                                    .whole = whole,
                                    .head = head,
                                    .f = &x->f,
                                    .q = &x->q,
                                    .a = { .format = accept.n ? dp_format_of(accept) : DP_JSON,
                                           .body = DP_BODY_DATA },
                                    .fold = cfg->fold_names };
    x->ask.answer = pieces ? answer_pieces : answer;
    x->ask.query.flags = ATH_PG_READ;
    x->ask.query.stmt = x->q.stmt;
    x->ask.query.stmt_count = x->q.stmt_count;
    x->ask.query.timeout_ms = (uint32_t)cfg->query_timeout_ms;
    if (pieces)
        dp_sender_ask(&x->sender, &x->ask.query);
    x->ask.send = s->cache && !x->prefer.count && !dp_asks_for_now(&x->q) ? look : NULL;
    return 0;
}

static int bind(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct read *x = (struct read *)ask;
    struct dp *dp = &x->reading;
    const ath_right *right;
    uint32_t rights;
    int rc, allowed;

    dp->e = e;
    dp->snapshot = ask->snapshot;
    rc = dp_bind(dp, &x->f.root);
    rights = dp_rights(dp, &x->f.root, "read", &right);
    if ((allowed = ath_host_->req->allow(r, right, rights, e)) < 0)
        return allowed;
    ask->unknown = dp->unknown;
    return rc < 0 ? rc : build(r, x);
}

int rest_get(ath_req *r, ath_err *e)
{
    const struct rest_state *s = ath_state_of(r);
    struct read *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->ask.catalog = s->catalog;
    x->ask.read = read_request;
    x->ask.bind = bind;
    ath_host_->req->set(r, "vary", ATH_S("Accept"));
    return dp_ask(r, &x->ask, e);
}
