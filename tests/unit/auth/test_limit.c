/* core/auth: which limits a request has, by routes and callers that are only names here. */
#include "auth/limit.h"

#include "auth/auth.h"
#include "base/clock.h"
#include "log/metric.h"
#include "support/check_main.h"

#define SECOND UINT64_C(1000000000)

static uint64_t now;

static uint64_t fake(void)
{
    return now;
}

static ath_err e;
static struct gateway_config cfg;
static struct router *router;
static struct auth_key key[2] = { { .internal = 1 }, { .internal = 2 } };
static struct auth found[2] = { { .key = &key[0] }, { .key = &key[1] } };
static ath_loop loop;

static void add(const char *path, const char *limit, uint32_t flags)
{
    struct route r = { .def = { .method = "GET", .path = path, .limit = limit, .flags = flags },
                       .plugin = "routes-test",
                       .group = "test",
                       .label = path };

    ck_assert_int_eq(router_add(router, &r, &e), 0);
}

static void begin(void)
{
    err_reset(&e);
    cfg = (struct gateway_config){ .raw_sql = { 0, 1, 3 },
                                   .schema = { 0, 1, 3 },
                                   .per_key = { 0, 1, 2 },
                                   .storage = { 0, 1, 1 },
                                   .backup_admin = { 0, 1, 1 } };
    now = 1000 * SECOND;
    clock_fake(fake);
    router = router_new();
    add("/sql", "raw_sql", ATH_RT_CLIENT);
    add("/schema", "schema", 0);
    add("/free", NULL, 0);
    add("/odd", "no_such_group", 0);
}

static void end(void)
{
    limit_stop();
    router_free(router);
    clock_fake(NULL);
}

static struct req *request(const char *path, const char *address, struct auth *who)
{
    struct req *r = calloc(1, sizeof(*r));
    uint8_t bytes[16];

    arena_init(&r->task.arena);
    if (address_read(str_of(address), bytes))
        r->peer_address = memcpy(arena_raw(&r->task.arena, 16), bytes, 16);
    r->task.loop = &loop;
    r->task.type = &request_type;
    r->method = ATH_S("GET");
    r->path = str_of(path);
    r->peer = str_of(address);
    r->auth = who;
    router_find(router, r->method, r->path, &r->task.arena, &r->match);
    ck_assert_ptr_nonnull(r->match.route);
    return r;
}

static void done(struct req *r)
{
    arena_free(&r->task.arena);
    free(r);
}

static int ask(const char *path, const char *address, struct auth *who)
{
    struct req *r = request(path, address, who);
    int rc;

    err_reset(&e);
    rc = limit_check(r, &e);
    done(r);
    return rc;
}

static int burst(const char *path, const char *address, struct auth *who)
{
    int n = 0;

    while (n < 50 && ask(path, address, who) == PHASE_NEXT)
        n++;
    return n;
}

START_TEST(nothing_is_on_by_itself)
{
    begin();
    limit_configure(&cfg, router);
    ck_assert(!limit_on() && !limit_charges() && !limit_tells());
    end();
}
END_TEST

START_TEST(a_group_limits_its_routes_by_address)
{
    begin();
    cfg.raw_sql.enabled = 1;
    limit_configure(&cfg, router);
    ck_assert(limit_on());
    ck_assert_int_eq(burst("/sql", "10.0.0.1", NULL), 3);
    ck_assert_str_eq(err_entry(&e)->code, "rate_limited");
    ck_assert(str_is(err_get(&e, "retry_after"), "1"));
    ck_assert_int_eq(burst("/sql", "10.0.0.2", NULL), 3);
    ck_assert_int_eq(burst("/schema", "10.0.0.1", NULL), 50); /* its group is off */
    ck_assert_int_eq(burst("/free", "10.0.0.1", NULL), 50);
    ck_assert_int_eq(burst("/odd", "10.0.0.1", NULL), 50);
    now += 2 * SECOND;
    ck_assert_int_eq(burst("/sql", "10.0.0.1", NULL), 2);
    end();
}
END_TEST

/* D-22: a /64 is one caller; the same host over ::ffff: is the same caller. */
START_TEST(ipv6_is_keyed_by_its_network)
{
    begin();
    cfg.raw_sql.enabled = 1;
    limit_configure(&cfg, router);
    ck_assert_int_eq(burst("/sql", "2001:db8:1:2::1", NULL), 3);
    ck_assert_int_eq(burst("/sql", "2001:db8:1:2:ffff::9", NULL), 0);
    ck_assert_int_eq(burst("/sql", "2001:db8:1:3::1", NULL), 3);
    ck_assert_int_eq(burst("/sql", "::1", NULL), 3);
    ck_assert_int_eq(burst("/sql", "10.0.0.1", NULL), 3);
    ck_assert_int_eq(burst("/sql", "::ffff:10.0.0.1", NULL), 0);
    ck_assert_int_eq(burst("/sql", "", NULL), 3); /* without an address, apart from ::/64 */
    end();
}
END_TEST

/* D-22: the published answer is always 1. */
START_TEST(retry_after_is_the_time_that_is_left)
{
    begin();
    cfg.raw_sql = (struct rate_config){ 1, 1, 1 };
    limit_configure(&cfg, router);
    burst("/sql", "10.0.0.1", NULL);
    now += SECOND * 3 / 10;
    ck_assert_int_lt(ask("/sql", "10.0.0.1", NULL), 0);
    ck_assert(str_is(err_get(&e, "retry_after"), "1"));
    now += SECOND * 7 / 10;
    ck_assert_int_eq(ask("/sql", "10.0.0.1", NULL), PHASE_NEXT);
    end();
}
END_TEST

START_TEST(a_key_has_a_rate_over_all_routes)
{
    begin();
    cfg.per_key.enabled = 1;
    limit_configure(&cfg, router);
    ck_assert_int_eq(ask("/free", "10.0.0.1", &found[0]), PHASE_NEXT);
    ck_assert_int_eq(ask("/sql", "10.0.0.2", &found[0]), PHASE_NEXT);
    ck_assert_int_lt(ask("/schema", "10.0.0.3", &found[0]), 0);
    ck_assert_str_eq(err_entry(&e)->code, "api_key_rate_limited");
    ck_assert_int_eq(err_entry(&e)->status, 429);
    ck_assert(str_is(err_get(&e, "retry_after"), "1"));
    ck_assert_int_eq(burst("/free", "10.0.0.1", &found[1]), 2);
    ck_assert_int_eq(burst("/free", "10.0.0.1", NULL),
                     50); /* the administrator, or an open gateway */
    end();
}
END_TEST

static void spend(struct auth *who, uint64_t ms, struct call *call)
{
    struct req *r = request("/sql", "10.0.0.1", who);

    r->call = call;
    r->task.db_sent_ns = now;
    r->task.db_done_ns = now + ms * 1000000;
    limit_over(r);
    done(r);
}

START_TEST(a_key_has_a_budget_of_database_time)
{
    begin();
    cfg.budget_per_key_ms = 1000;
    limit_configure(&cfg, router);
    ck_assert(limit_on() && limit_charges());
    now = 60 * 1000 * SECOND; /* a minute begins */
    spend(&found[0], 600, NULL);
    ck_assert_int_eq(ask("/free", "10.0.0.1", &found[0]), PHASE_NEXT);
    spend(&found[0], 600, NULL);
    ck_assert_int_lt(ask("/free", "10.0.0.1", &found[0]), 0);
    ck_assert_str_eq(err_entry(&e)->code, "api_key_budget_exhausted");
    ck_assert_int_eq(err_entry(&e)->status, 429);
    ck_assert(str_is(err_get(&e, "retry_after"), "71")); /* a minute, and a sixth of the next */
    ck_assert_int_eq(ask("/free", "10.0.0.1", &found[1]), PHASE_NEXT);
    ck_assert_int_eq(ask("/free", "10.0.0.1", NULL), PHASE_NEXT);
    now += 71 * SECOND;
    ck_assert_int_eq(ask("/free", "10.0.0.1", &found[0]), PHASE_NEXT);
    end();
}
END_TEST

/* A called request's times are passed on to its caller, who pays for both. */
START_TEST(requests_of_our_own_are_not_charged_twice)
{
    begin();
    cfg.budget_per_key_ms = 1000;
    cfg.per_key.enabled = 1;
    limit_configure(&cfg, router);
    spend(&found[0], 5000, (struct call *)&loop);
    for (int i = 0; i < 10; i++) {
        struct req *r = request("/free", "10.0.0.1", &found[0]);
        r->call = (struct call *)&loop;
        ck_assert_int_eq(limit_check(r, &e), PHASE_NEXT);
        done(r);
    }
    ck_assert_int_eq(burst("/free", "10.0.0.1", &found[0]), 2);
    end();
}
END_TEST

/* D-26: a route that calls another of its group takes one token, not two. */
START_TEST(a_group_is_paid_once_for_a_request_and_what_it_calls)
{
    begin();
    cfg.raw_sql.enabled = cfg.schema.enabled = 1;
    limit_configure(&cfg, router);
    struct req *outer = request("/sql", "10.0.0.1", NULL);
    ck_assert_int_eq(limit_check(outer, &e), PHASE_NEXT);
    for (int i = 0; i < 10; i++) {
        struct req *inner = request("/sql", "10.0.0.1", NULL);
        inner->call = (struct call *)&loop;
        inner->task.parent = &outer->task;
        ck_assert_int_eq(limit_check(inner, &e), PHASE_NEXT);
        done(inner);
    }
    ck_assert_int_eq(burst("/sql", "10.0.0.1", NULL), 2);
    struct req *other = request("/schema", "10.0.0.1", NULL);
    other->call = (struct call *)&loop;
    other->task.parent = &outer->task;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(limit_check(other, &e), PHASE_NEXT);
    ck_assert_int_lt(limit_check(other, &e), 0); /* of another group: it pays */
    done(other);
    done(outer);
    end();
}
END_TEST

static void check_head(struct req *r, const char *want)
{
    struct buf b = BUF_HEAP;

    limit_head(r, &b);
    ck_assert_str_eq(b.n ? buf_view(&b).p : "", want);
    buf_free(&b);
    done(r);
}

START_TEST(answers_say_what_they_cost_and_what_is_left)
{
    struct req *r;

    begin();
    cfg.budget_per_key_ms = 1000;
    cfg.cost_header = 1;
    limit_configure(&cfg, router);
    now = 60 * 1000 * SECOND;
    spend(&found[0], 300, NULL);
    r = request("/sql", "10.0.0.1", &found[0]);
    r->task.db_sent_ns = now;
    r->task.db_done_ns = now + 1234567;
    check_head(r, "x-athena-cost: 1.234;remaining=698.766\r\n");
    r = request("/sql", "10.0.0.1", NULL);
    check_head(r, "x-athena-cost: 0.000\r\n");
    r = request("/free", "10.0.0.1", &found[0]);
    check_head(r, "");
    r = request("/sql", "10.0.0.1", &found[0]); /* rows still come while its head is written */
    r->task.db_sent_ns = now - 5000000;
    check_head(r, "x-athena-cost: 5.000;remaining=695.000\r\n");
    end();
}
END_TEST

SUITE("auth/limit", nothing_is_on_by_itself, a_group_limits_its_routes_by_address,
      ipv6_is_keyed_by_its_network, retry_after_is_the_time_that_is_left,
      a_key_has_a_rate_over_all_routes, a_key_has_a_budget_of_database_time,
      requests_of_our_own_are_not_charged_twice,
      a_group_is_paid_once_for_a_request_and_what_it_calls,
      answers_say_what_they_cost_and_what_is_left)
