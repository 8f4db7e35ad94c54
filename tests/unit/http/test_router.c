/* Routes: which one wins, what is decoded when, what is refused at load. */
#include "base/arena.h"
#include "http/router.h"
#include "lib/text.h"
#include "support/check_main.h"

static struct router *router;
static ath_arena arena;
static struct route_match m;
static struct ath_err e;

static int add_gated(const char *method, const char *path, const char *plugin, const void *gate)
{
    struct route r = { .def = { .method = method, .path = path }, .plugin = plugin, .gate = gate };

    err_reset(&e);
    return router_add(router, &r, &e);
}

static void add(const char *method, const char *path)
{
    ck_assert_msg(add_gated(method, path, "p", NULL) == 0, "%s", e.message);
}

static void open_router(void)
{
    router = router_new();
    arena_init(&arena);
}

static void close_router(void)
{
    router_free(router);
    arena_free(&arena);
}

/* The path of the route that answers, or "405 METHODS", or "404". */
static const char *found(const char *method, const char *path)
{
    static char text[128];

    router_find(router, str_of(method), str_of(path), &arena, &m);
    if (m.route)
        return m.route->def.path;
    snprintf(text, sizeof(text), m.allow[0] ? "405 %s" : "404", m.allow);
    return text;
}

START_TEST(the_most_literal_path_wins)
{
    open_router();
    add("GET", "/");
    add("GET", "/admin/backups/{key...}");
    add("GET", "/admin/backups/{key}");
    add("GET", "/admin/backups/config");
    add("POST", "/admin/backups/jobs/{id}/cancel");
    add("DELETE", "/admin/{what}/config");
    ck_assert_str_eq(found("GET", "/"), "/");
    ck_assert_str_eq(found("GET", "/admin/backups/config"), "/admin/backups/config");
    ck_assert_str_eq(found("GET", "/admin/backups/x"), "/admin/backups/{key}");
    ck_assert(str_is(m.param[0], "x"));
    ck_assert_str_eq(found("GET", "/admin/backups/x/y//z"), "/admin/backups/{key...}");
    ck_assert(str_is(m.param[0], "x/y//z"));
    ck_assert_str_eq(found("GET", "/admin/backups/jobs/7"), "/admin/backups/{key...}");
    ck_assert_str_eq(found("POST", "/admin/backups/jobs/7/cancel"),
                     "/admin/backups/jobs/{id}/cancel");
    ck_assert(str_is(m.param[0], "7"));
    ck_assert_str_eq(found("DELETE", "/admin/other/config"), "/admin/{what}/config");
    close_router();
}
END_TEST

START_TEST(matching_is_exact)
{
    open_router();
    add("GET", "/ping");
    add("GET", "/a/{x}/c");
    ck_assert_str_eq(found("GET", "/ping"), "/ping");
    ck_assert_str_eq(found("GET", "/ping/"), "404");
    ck_assert_str_eq(found("GET", "//ping"), "404");
    ck_assert_str_eq(found("GET", "/Ping"), "404");
    ck_assert_str_eq(found("GET", "/pin"), "404");
    ck_assert_str_eq(found("GET", ""), "404");
    ck_assert_str_eq(found("GET", "*"), "404");
    ck_assert_str_eq(found("GET", "/a//c"), "404");
    ck_assert_str_eq(found("GET", "/a/b"), "404");
    ck_assert_str_eq(found("get", "/ping"), "405 GET, HEAD");
    close_router();
}
END_TEST

START_TEST(a_literal_path_with_another_method_does_not_fall_through)
{
    open_router();
    add("GET", "/hooks/events");
    add("DELETE", "/hooks/{id}");
    add("PUT", "/hooks/{id}");
    ck_assert_str_eq(found("DELETE", "/hooks/events"), "405 GET, HEAD");
    ck_assert_str_eq(found("GET", "/hooks/9"), "405 DELETE, PUT");
    ck_assert_str_eq(found("HEAD", "/hooks/events"), "/hooks/events");
    close_router();
}
END_TEST

START_TEST(percent_encoding)
{
    open_router();
    add("GET", "/ping");
    add("GET", "/files/{name}");
    add("GET", "/rest/{path...}");
    ck_assert_str_eq(found("GET", "/p%69ng"), "/ping");
    ck_assert_str_eq(found("GET", "/%2Fping"), "404");
    ck_assert_str_eq(found("GET", "%2Fping"), "404");
    ck_assert_str_eq(found("GET", "/files/a%2Fb%20c"), "/files/{name}");
    ck_assert(str_is(m.param[0], "a/b c"));
    ck_assert_str_eq(found("GET", "/files/100%25%2525"), "/files/{name}");
    ck_assert(str_is(m.param[0], "100%%25"));
    ck_assert_str_eq(found("GET", "/files/a+b%2Bc"), "/files/{name}");
    ck_assert(str_is(m.param[0], "a+b+c"));
    ck_assert_str_eq(found("GET", "/rest/a/b%2fc%zz%2"), "/rest/{path...}");
    ck_assert(str_is(m.param[0], "a/b/c%zz%2"));
    ck_assert_str_eq(found("GET", "/files/a%00b"), "404");
    close_router();
}
END_TEST

START_TEST(a_literal_may_follow_the_rest)
{
    open_router();
    add("DELETE", "/files/{key...}");
    add("GET", "/files/{key...}/info");
    add("POST", "/files/{key...}/move");
    add("GET", "/files/jobs/{id}");
    ck_assert_str_eq(found("GET", "/files/a/b%2Fc/info"), "/files/{key...}/info");
    ck_assert(str_is(m.param[0], "a/b/c"));
    ck_assert_str_eq(found("GET", "/files/info/info"), "/files/{key...}/info");
    ck_assert(str_is(m.param[0], "info"));
    ck_assert_str_eq(found("GET", "/files//info"), "/files/{key...}/info");
    ck_assert(str_is(m.param[0], ""));
    ck_assert_str_eq(found("GET", "/files/jobs/1/info"), "/files/{key...}/info");
    ck_assert_str_eq(found("GET", "/files/jobs/1"), "/files/jobs/{id}");
    ck_assert_str_eq(found("POST", "/files/a/info"), "405 GET, HEAD");
    ck_assert_str_eq(found("GET", "/files/a/xinfo"), "405 DELETE");
    ck_assert_str_eq(found("DELETE", "/files/a/b"), "/files/{key...}");
    close_router();
}
END_TEST

START_TEST(a_closed_gate_is_like_no_route)
{
    int32_t gate = 0;

    open_router();
    ck_assert_int_eq(add_gated("GET", "/x/y", "p", &gate), 0);
    ck_assert_str_eq(found("GET", "/x/y"), "404");
    ck_assert_str_eq(found("POST", "/x/y"), "404");
    add("GET", "/x/{any}");
    ck_assert_str_eq(found("GET", "/x/y"), "/x/{any}");
    gate = 1;
    ck_assert_str_eq(found("GET", "/x/y"), "/x/y");
    ck_assert_str_eq(found("POST", "/x/y"), "405 GET, HEAD");
    close_router();
}
END_TEST

START_TEST(collisions_name_both_plugins)
{
    open_router();
    ck_assert_int_eq(add_gated("GET", "/a/{x}", "routes-one", NULL), 0);
    ck_assert_int_eq(add_gated("GET", "/a/{y}", "routes-two", NULL), ATH_E_CONFIG);
    ck_assert_str_eq(e.message, "route GET /a/{y} of plugin \"routes-two\" collides with /a/{x} of "
                                "plugin \"routes-one\"");
    ck_assert_int_eq(add_gated("PUT", "/a/{y}", "routes-two", NULL), 0);
    ck_assert_uint_eq(router_count(router), 2);
    ck_assert_uint_eq(router_at(router, 1)->id, 1);
    close_router();
}
END_TEST

START_TEST(bad_patterns_are_refused)
{
    static const struct {
        const char *path, *why;
    } bad[] = {
        { "ping", "it does not begin with \"/\"" },
        { "/a/{x", "\"{x\" is not a whole {name}" },
        { "/a/b{x}", "\"b{x}\" is not a whole {name}" },
        { "/a/{}", "\"{}\" is not a whole {name}" },
        { "/a/{...}", "\"{...}\" is not a whole {name}" },
        { "/{x...}/b/c", "behind \"{x...}\" is more than one literal segment" },
        { "/{x...}/{b}", "behind \"{x...}\" is more than one literal segment" },
        { "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", "it has 9 names, but at most 8 are possible" },
    };

    open_router();
    for (size_t i = 0; i < ATH_COUNT(bad); i++) {
        ck_assert_int_eq(add_gated("GET", bad[i].path, "p", NULL), ATH_E_CONFIG);
        ck_assert_msg(str_ends(str_of(e.message), bad[i].why), "%s", e.message);
    }
    ck_assert_uint_eq(router_count(router), 0);
    close_router();
}
END_TEST

/* The same of a path that a hook gave. */
static const char *led_to(const char *method, const char *path)
{
    router_find_led(router, str_of(method), str_of(path), &arena, &m);
    return m.route ? m.route->label : m.allow[0] ? m.allow : "404";
}

static void add_labelled(const char *method, const char *path, const char *label, uint32_t flags)
{
    struct route r = { .def = { .method = method, .path = path, .flags = flags },
                       .plugin = "p",
                       .label = label };

    err_reset(&e);
    ck_assert_msg(router_add(router, &r, &e) == 0, "%s", e.message);
}

START_TEST(inner_routes_are_for_paths_that_hooks_gave)
{
    open_router();
    add_labelled("GET", "/inner/{x}", "inner", ATH_RT_INNER);
    add_labelled("GET", "/both", "inner both", ATH_RT_INNER);
    add_labelled("GET", "/both", "both", 0);
    add_labelled("GET", "/own", "own", 0);
    ck_assert_str_eq(found("GET", "/inner/1"), "404");
    ck_assert_str_eq(found("POST", "/inner/1"), "404");
    ck_assert_str_eq(found("GET", "/%69nner/1"), "404");
    ck_assert_str_eq(found("GET", "/both"), "/both");
    ck_assert_str_eq(m.route->label, "both");
    ck_assert_str_eq(led_to("GET", "/inner/1"), "inner");
    ck_assert(str_is(m.param[0], "1"));
    ck_assert_str_eq(led_to("POST", "/inner/1"), "GET, HEAD");
    ck_assert_str_eq(led_to("GET", "/both"), "inner both");
    ck_assert_str_eq(led_to("GET", "/own"), "own");
    ck_assert(route_is_listed(router_at(router, 3)) && !route_is_listed(router_at(router, 0)));
    close_router();
}
END_TEST

START_TEST(groups)
{
    static const char *const want[][2] = {
        { "/gateway/fetch", "gateway" }, { "/rest/v1/t", "gateway" },     { "/", "health" },
        { "/health/cluster", "other" },  { "/metrics", "metrics" },       { "/schema", "other" },
        { "/schema/x", "schema" },       { "/openapi.yaml", "metadata" }, { "/rpc/f", "other" },
    };

    for (size_t i = 0; i < ATH_COUNT(want); i++)
        ck_assert_str_eq(route_group(str_of(want[i][0])), want[i][1]);
}
END_TEST

SUITE("router", the_most_literal_path_wins, matching_is_exact,
      a_literal_path_with_another_method_does_not_fall_through, percent_encoding,
      a_literal_may_follow_the_rest, a_closed_gate_is_like_no_route, collisions_name_both_plugins,
      bad_patterns_are_refused, inner_routes_are_for_paths_that_hooks_gave, groups)
