/* POST /gateway/fetch: body -> names -> catalogue -> rights -> one statement -> rows as JSON.
 *
 *     read     the body, by names; all that is wrong with it is said before anything else
 *     bind     names to the snapshot of the client's catalogue
 *     allow    every relation that was named, known or not
 *     look     into the cache, if there is one: who has the answer replies
 *     query    one trip
 *     reply    and keep the answer
 *
 * What may be long is asked for in pieces, which dataplane/sender.h passes on as they come; a
 * result of one piece is answered as any other.
 *
 * A body that differs from earlier ones in its values only finds a plan, and goes to `allow` at
 * once.
 *
 * dataplane/ask.h has the way between these and what happens when the catalogue is outdated.
 */
#include <stdlib.h>

#include "buffer.h"
#include "gateway.h"

struct fetch {
    struct dp_ask ask;
    ath_str text;            /* the body; empty: it was not sent as one */
    const struct json *body; /* NULL: not read yet */
    struct dp *reading;      /* between reading and binding; a plan needs neither */
    struct dp_fetch f;
    struct dp_query q;
    char key[CACHE_KEY_TEXT + 1];
    ath_str client, outcome, source; /* what the cache said; where the rows come from */
    ath_cache_ask look;
    ath_cache_found found;
    ath_relation_name relation; /* of a plan, which has only one */
    struct dp_sender *sender;   /* of what may be long; made when it is sent */
    enum dp_format format;
    bool strip;
};

/* What is kept of an answer: a head for its account, then its body. */
struct kept {
    uint32_t rows;
};

int gateway_init(ath_self *s, const void *config, void **ret_state, ath_err *e)
{
    static struct gateway_state state;
    const struct gateway_config *c = config;

    *ret_state = &state;
    state.deferred = ath_host_->service(s, "athena.deferred", 1);
    state.writes = c->deferred ? &gateway_writes : NULL;
    if (deferred_init(c, e) < 0)
        return ATH_E_CONFIG;
    return dp_services(s, &state.catalog, &state.cache, e);
}

void gateway_drain(void *state)
{
    (void)state;
    deferred_drain();
}

void gateway_fini(void *state)
{
    (void)state;
    deferred_fini();
}

void gateway_loop_fini(ath_loop *l, void *state, void *local)
{
    struct gateway_local *mine = local;

    (void)l;
    (void)state;
    if (mine->plans)
        dp_plans_free(mine->plans);
    window_free(mine->window);
    free(mine);
}

int gateway_loop_init(ath_loop *l, void *state, void **ret_local, ath_err *e)
{
    struct gateway_local *mine = calloc(1, sizeof(*mine));

    if (!mine)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    mine->plans = dp_plans_new();
    mine->window = window_new();
    *ret_local = mine;
    if (mine->plans && mine->window)
        return 0;
    gateway_loop_fini(l, state, mine);
    return ath_fail(e, ATH_E_MEMORY, "out of memory");
}

static void header_set(ath_req *r, const char *name, ath_str value)
{
    ath_host_->req->set(r, name, value);
}

/* ---- the answer ---- */

static bool wants_fresh(ath_req *r)
{
    ath_str control = ath_header(r, "cache-control");

    return control.n && memmem(control.p, control.n, "no-cache", 8);
}

/* What the cache says when it is not asked. */
static ath_str outcome_unasked(ath_req *r, const struct fetch *x)
{
    return x->f.head || x->f.count || wants_fresh(r) ? ATH_S("bypass_no_cache_header")
                                                     : ATH_S("miss_all_tiers");
}

static void describe(ath_req *r, struct fetch *x, ath_str outcome, ath_str source)
{
    bool cached = source.p[0] != 'd';

    x->outcome = outcome;
    x->source = source;
    dp_note(r, "cache_key", str_from(x->key, CACHE_KEY_TEXT), ATH_V_TEXT);
    dp_note(r, "cached", cached ? ATH_S("true") : ATH_S("false"), ATH_V_BOOL);
    dp_note(r, "cache_source", source, ATH_V_PLAIN);
    dp_note(r, "cache_lookup_outcome", outcome, ATH_V_PLAIN);
}

static void headers(ath_req *r, const struct fetch *x)
{
    /* The host writes x-athena-cache-id beside it. */
    header_set(r, "x-athena-cache-key", str_from(x->key, CACHE_KEY_TEXT));
    header_set(r, "x-athena-cache-outcome", x->outcome);
    header_set(r, "x-athena-cache-source", x->source);
}

bool gateway_bare_rows(ath_req *r)
{
    const struct gateway_config *cfg = ath_config_of(r);

    return cfg->bare_rows && ath_header(r, "apikey").n && ath_header(r, "x-api-key").n &&
           !ath_header(r, "x-athena-sdk").n;
}

static bool wants_bare_rows(ath_req *r, const struct fetch *x)
{
    return x->format == DP_JSON && gateway_bare_rows(r);
}

static void keep(ath_task *t, struct fetch *x, uint32_t rows, ath_str body)
{
    const struct gateway_state *s = ath_state_of(t);
    struct kept head = { .rows = rows };
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_mem(&b, (const char *)&head, sizeof(head));
    buf_str(&b, body);
    s->cache->store(t, x->found.ticket, buf_view(&b));
}

static int too_many_to_group(const struct gateway_config *cfg, ath_err *e)
{
    return ath_raise(e, "invalid_post_processing_configuration",
                     "group_by takes %lld rows at most: set a lower limit",
                     (long long)cfg->group_rows_max);
}

/* A count, which only JSON has a place for in the body. */
static void show_count(ath_req *r, const struct fetch *x, int64_t count)
{
    char room[STR_U64_ROOM];
    ath_str text = str_from_u64((uint64_t)count, room);

    dp_note(r, "count", text, ATH_V_NUMBER);
    if (x->format != DP_JSON)
        header_set(r, "x-athena-count", text);
}

static int answer(ath_task *t, struct dp_ask *ask, const ath_rows *rows, ath_err *e)
{
    struct fetch *x = (struct fetch *)ask;
    struct dp dp = { .arena = ath_arena_of(t), .e = e };
    const struct gateway_config *cfg = ath_config_of(t);
    struct dp_answer a = { .cache_key = str_from(x->key, CACHE_KEY_TEXT),
                           .strip_nulls = x->strip,
                           .format = x->format,
                           .planned = x->sender ? x->sender->a.planned : 0 };
    struct buf b = BUF_ARENA(dp.arena);
    ath_str body;
    int rc;

    dp.fold = cfg->fold_names;
    if (x->f.group.by.n && ath_host_->pg->count(rows) > cfg->group_rows_max)
        return too_many_to_group(cfg, e);
    if ((rc = dp_fetch_rows(&dp, &x->f, &x->q, rows, &a, &b)) < 0)
        return rc;
    dp_note_number(t, "row_count", a.row_count);
    if (a.count >= 0)
        show_count(t, x, a.count);
    headers(t, x);
    body = buf_view(&b);
    if (wants_bare_rows(t, x))
        body = str_from(b.p + a.data_from, a.data_to - a.data_from);
    if (x->found.ticket)
        keep(t, x, a.row_count, body);
    return ath_reply(t, 200, dp_format_type(x->format), body);
}

/* ---- long answers ---- */

static int whole(ath_req *r, void *arg, const ath_rows *rows, ath_err *e)
{
    return answer(r, arg, rows, e);
}

/* It is not kept, and who waits for the same need not wait on. */
static void head(ath_req *r, void *arg, const struct dp_answer *a)
{
    const struct gateway_state *s = ath_state_of(r);
    struct fetch *x = arg;

    if (a->count >= 0)
        show_count(r, x, a->count);
    headers(r, x);
    if (x->found.ticket)
        s->cache->store(r, x->found.ticket, (ath_str){ NULL, 0 });
}

static int answer_pieces(ath_task *t, struct dp_ask *ask, const ath_rows *rows, ath_err *e)
{
    return dp_sender_start(t, ((struct fetch *)ask)->sender, rows, e);
}

static void in_pieces(ath_task *t, struct fetch *x)
{
    const struct gateway_config *cfg = ath_config_of(t);

    x->sender = ath_new(ath_arena_of(t), sizeof(*x->sender));
    *x->sender = (struct dp_sender){ .arg = x,
                                     .whole = whole,
                                     .head = head,
                                     .f = &x->f,
                                     .q = &x->q,
                                     .a = { .cache_key = str_from(x->key, CACHE_KEY_TEXT),
                                            .strip_nulls = x->strip,
                                            .bare = wants_bare_rows(t, x),
                                            .format = x->format },
                                     .fold = cfg->fold_names };
    x->ask.answer = answer_pieces;
    dp_sender_ask(x->sender, &x->ask.query);
}

/* ---- the cache ---- */

static int reply_kept(ath_task *t, struct fetch *x, ath_err *e)
{
    ath_str bytes = x->found.bytes;
    struct kept head;

    (void)e;
    memcpy(&head, bytes.p, sizeof(head));
    dp_note_number(t, "row_count", head.rows);
    header_set(t, "x-athena-cached", ATH_S("true"));
    headers(t, x);
    return ath_reply(t, 200, dp_format_type(x->format), str_after(bytes, sizeof(head)));
}

static int found(ath_task *t, struct fetch *x, ath_err *e)
{
    static const struct {
        ath_str outcome, source;
    } said[] = {
        [ATH_CACHE_OFF] = { ATH_S("miss_all_tiers"), ATH_S("database") },
        [ATH_CACHE_HIT_LOCAL] = { ATH_S("hit_local_raw"), ATH_S("local") },
        [ATH_CACHE_HIT_REDIS] = { ATH_S("hit_redis"), ATH_S("redis") },
        [ATH_CACHE_MISS] = { ATH_S("miss_all_tiers"), ATH_S("database") },
        [ATH_CACHE_MISS_REDIS_ERROR] = { ATH_S("miss_after_redis_get_error"), ATH_S("database") },
        [ATH_CACHE_MISS_REDIS_TIMEOUT] = { ATH_S("miss_after_redis_get_timeout"),
                                           ATH_S("database") },
        [ATH_CACHE_BYPASSED] = { ATH_S("bypass_no_cache_header"), ATH_S("database") },
    };
    uint32_t outcome = x->found.outcome < ATH_COUNT(said) ? x->found.outcome : ATH_CACHE_MISS;

    describe(t, x, said[outcome].outcome, said[outcome].source);
    if (x->found.bytes.n >= sizeof(struct kept))
        return reply_kept(t, x, e);
    return dp_ask_send(t, &x->ask, e);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : found(t, d->arg, e);
}

static int look(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct gateway_state *s = ath_state_of(r);
    struct fetch *x = (struct fetch *)ask;
    uint8_t form = (uint8_t)(x->strip | wants_bare_rows(r, x) << 1 | (unsigned)x->format << 2);
    int rc;

    x->look.size = sizeof(x->look);
    x->look.flags = wants_fresh(r) ? ATH_CACHE_FRESH : 0;
    x->look.question =
        dp_question(ath_arena_of(r), str_from(x->key, CACHE_KEY_TEXT), &x->f, &x->q, form);
    x->found.size = sizeof(x->found);
    rc = s->cache->look(r, &x->look, &x->found, looked, x, e);
    return rc == 1 ? found(r, x, e) : rc;
}

/* ---- the way there ---- */

static bool strips_nulls(ath_req *r, const struct fetch *x)
{
    const struct gateway_config *cfg = ath_config_of(r);

    if (!str_is(cfg->strip_nulls_scope, "keys"))
        return false; /* rows are objects here, never null */
    if (x->f.strip_nulls >= 0)
        return x->f.strip_nulls;
    return str_ieq(ath_header(r, "x-strip-nulls"), ATH_S("true"));
}

static enum dp_format format_of(ath_req *r)
{
    ath_str accept = ath_header(r, "accept");

    return accept.n ? dp_format_of(accept) : DP_JSON;
}

/* Everything is known: its key, its account, the trip; and whether the cache is asked first. */
static void prepare(ath_task *t, struct fetch *x, struct gateway_question *what)
{
    const struct gateway_config *cfg = ath_config_of(t);
    const struct gateway_state *s = ath_state_of(t);

    x->ask.query = (ath_query){ .size = sizeof(ath_query),
                                .flags = ATH_PG_READ,
                                .stmt = x->q.stmt,
                                .stmt_size = sizeof(x->q.stmt[0]),
                                .stmt_count = x->q.stmt_count,
                                .timeout_ms = (uint32_t)cfg->query_timeout_ms };
    dp_digest_values(&x->q, what->digest);
    what->client = x->client;
    what->strip = x->strip = strips_nulls(t, x);
    what->format = x->format = format_of(t);
    gateway_cache_key(what, x->key);
    if (s->cache && !x->f.head && !x->f.count && !dp_asks_for_now(&x->q))
        x->ask.send = look;
    else
        describe(t, x, outcome_unasked(t, x), ATH_S("database"));
    if (x->f.in_pieces)
        in_pieces(t, x);
}

static struct dp_plan_key plan_key(ath_task *t, const struct fetch *x, const ath_snapshot *snapshot)
{
    const struct gateway_config *cfg = ath_config_of(t);
    const struct gateway_state *s = ath_state_of(t);

    return (struct dp_plan_key){ .client = x->client,
                                 .snapshot = snapshot,
                                 .version = s->catalog->version(snapshot),
                                 .max_rows = cfg->max_rows,
                                 .fold = cfg->fold_names };
}

static int build(ath_task *t, struct dp *dp, struct fetch *x)
{
    const struct gateway_config *cfg = ath_config_of(t);
    struct dp_plans *plans = ((const struct gateway_local *)ath_local_of(t))->plans;
    struct gateway_question what = { .schema = x->f.root.relation->schema,
                                     .table = x->f.root.relation->name };
    struct dp_plan_key key = plan_key(t, x, dp->snapshot);
    int rc = dp_fetch_sql(dp, &x->f, &x->q);

    if (rc < 0)
        return rc;
    x->f.in_pieces = x->q.rows && dp_may_exceed(&x->f, cfg->pieces_above);
    if (x->text.n)
        dp_plan_keep(plans, &key, dp, x->text, &x->f, &x->q);
    dp_digest_shape(&x->q, &x->f, what.digest);
    x->ask.send = NULL;
    x->ask.answer = answer;
    prepare(t, x, &what);
    if (x->ask.send)
        x->look.relation_count =
            dp_relations_read(dp->arena, &x->f.root, (ath_relation_name **)&x->look.relation);
    return 0;
}

/* 1: no plan for this body. */
static int ask_planned(ath_task *t, struct fetch *x, ath_err *e)
{
    const struct gateway_state *s = ath_state_of(t);
    struct dp_plans *plans = ((const struct gateway_local *)ath_local_of(t))->plans;
    const ath_snapshot *snapshot = s->catalog->get(t);
    struct gateway_question what;
    struct dp_plan_key key;
    struct dp_plan *plan;
    ath_str hole[DP_FEW];
    int rc;

    if (!snapshot)
        return 1;
    key = plan_key(t, x, snapshot);
    if (!(plan = dp_plan_find(plans, &key, x->text, hole)))
        return 1;
    ath_host_->mem->own(ath_arena_of(t), plan, dp_plan_drop);
    dp_note(t, "table_name", plan->asked, ATH_V_TEXT);
    if ((rc = ath_host_->req->allow(t, &(ath_right){ plan->schema, plan->table, ATH_S("read") }, 1,
                                    e)) < 0)
        return rc;
    dp_plan_use(plan, hole, &x->f, &x->q);
    what = (struct gateway_question){ .schema = plan->schema,
                                      .table = plan->table,
                                      .digest = { plan->digest[0], plan->digest[1] } };
    prepare(t, x, &what);
    if (!x->ask.send)
        return dp_ask_send(t, &x->ask, e);
    x->relation = (ath_relation_name){ plan->schema, plan->table };
    x->look.relation = &x->relation;
    x->look.relation_count = 1;
    return look(t, &x->ask, e);
}

static int read_text(ath_task *t, struct fetch *x, ath_err *e)
{
    return x->body ? 0 : dp_body(t, "malformed_json_payload", &x->body, e);
}

static struct dp dp_of(ath_req *r, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    const struct gateway_state *s = ath_state_of(r);

    return (struct dp){
        .arena = ath_arena_of(r), .e = e, .catalog = s->catalog, .fold = cfg->fold_names
    };
}

/* Grouping works on all rows at once, and only JSON has a place for what it makes of them. */
static int check_group(ath_req *r, struct fetch *x, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);

    if (!x->f.group.by.n)
        return 0;
    if (format_of(r) != DP_JSON)
        return ath_raise(e, "not_acceptable", "group_by is answered as application/json only");
    if (x->f.root.limit > cfg->group_rows_max)
        return too_many_to_group(cfg, e);
    if (x->f.root.limit < 0)
        x->f.root.limit = cfg->group_rows_max + 1; /* one more tells that there are more */
    return 0;
}

static int read_body(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    struct fetch *x = (struct fetch *)ask;
    struct dp_limits limits = { .max_rows = cfg->max_rows };
    struct dp dp = dp_of(r, e);
    int rc;

    if ((rc = read_text(r, x, e)) < 0 || (rc = dp_read_fetch(&dp, x->body, &limits, &x->f)) < 0 ||
        (rc = check_group(r, x, e)) < 0)
        return rc;
    x->reading = ath_new(dp.arena, sizeof(dp));
    *x->reading = dp;
    dp_note(r, "table_name", x->f.root.asked, ATH_V_TEXT);
    return 0;
}

static int bind(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct fetch *x = (struct fetch *)ask;
    struct dp *dp = x->reading;
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
    return rc < 0 ? rc : build(r, dp, x);
}

static int no_body(ath_err *e)
{
    return ath_raise(e, "missing_request_body", "table_name is required");
}

static struct fetch *fetch_new(ath_req *r)
{
    const struct gateway_state *s = ath_state_of(r);
    struct fetch *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->ask.catalog = s->catalog;
    x->ask.read = read_body;
    x->ask.bind = bind;
    x->ask.answer = answer;
    x->client = ath_host_->req->info(r, "client");
    return x;
}

int gateway_fetch_check(ath_req *r, ath_err *e)
{
    struct fetch *x = fetch_new(r);

    x->text = ath_host_->req->body(r);
    if (!str_trim(x->text).n)
        return no_body(e);
    return read_body(r, &x->ask, e);
}

int gateway_fetch_body(ath_req *r, const struct json *body, ath_err *e)
{
    struct fetch *x = fetch_new(r);

    x->body = body;
    return dp_ask(r, &x->ask, e);
}

int gateway_fetch(ath_req *r, ath_err *e)
{
    struct fetch *x = fetch_new(r);
    int rc;

    x->text = ath_host_->req->body(r);
    if (!str_trim(x->text).n)
        return no_body(e);
    rc = ask_planned(r, x, e);
    return rc == 1 ? dp_ask(r, &x->ask, e) : rc;
}
