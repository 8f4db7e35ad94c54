/* core/auth/audit: the log of key checks, and the audit log of administrators' routes. */
#include "auth/audit.h"

#include "auth/auth.h"
#include "base/mem.h"
#include "log/log.h"
#include "support/check_main.h"
#include "support/eventtext.h"

static struct buf text;          /* what the sinks got */

static int keep(void *state, const ath_event *const *batch, size_t n, ath_err *e)
{
    (void)state, (void)e;
    events_text(&text, batch, n);
    return 0;
}

static const ath_sink rows = { ATH_CAP(ath_sink, ATH_CAP_SINK, "rows"), .write = keep,
                               .events = "api_key_auth athena_audit" };
static const ath_sink lines = { ATH_CAP(ath_sink, ATH_CAP_SINK, "lines"), .write = keep, .events = "*" };

static const struct route fetch = { .def = { .method = "POST", .path = "/gateway/fetch",
                                             .operation = "fetch", .auth = ATH_AUTH_GATEWAY } };
static const struct route clients = { .def = { .method = "POST", .path = "/admin/clients/{name}",
                                               .auth = ATH_AUTH_ADMIN } };
static const struct route sql = { .def = { .method = "POST", .path = "/query/sql",
                                           .operation = "sql", .auth = ATH_AUTH_EITHER } };

static void request(struct req *r, const struct route *route)
{
    *r = (struct req){ .method = ATH_S("POST"), .path = str_of(route->def.path),
                       .peer = ATH_S("10.0.0.7"), .id = "24d26ac3-64e9-416b-afd9-4db3a9520ba1",
                       .client_name = ATH_S("shop") };
    err_reset(&r->err);
    r->match.route = route;
    arena_init(&r->task.arena);
}

static const char *written(const ath_sink *sink, struct req *r, int status, uint32_t times)
{
    struct log_sink *s = NULL;
    ath_err e;

    buf_reset(&text);
    ck_assert_int_eq(log_sink_start("keep", sink, NULL, NULL, &s, &e), 0);
    for (uint32_t i = 0; i < times; i++) {
        audit_key(r);
        audit_change(r, status, 12000000);
    }
    log_sink_stop(s);
    return text.n ? buf_view(&text).p : "";
}

static size_t count(const char *in, const char *what)
{
    size_t n = 0;

    for (; (in = strstr(in, what)); in++)
        n++;
    return n;
}

static void carry(struct req *r, ath_pair *header, const char *key)
{
    *header = (ath_pair){ ATH_S("x-athena-key"), str_of(key) };
    r->header = header;
    r->header_count = 1;
    r->header_bits = ~(uint64_t)0;
}

/* 21.31: the published facts, in their order. */
START_TEST(a_key_that_fits_has_its_row)
{
    static const ath_str names[] = { { "orders.read", 11 }, { "users.*", 7 } };
    static const ath_str asked[] = { { "orders.read", 11 } };
    struct auth_key key = { .public_id = ATH_S("0123456789abcdef"), .internal = 7,
                            .id = ATH_S("9c2b1f1e-1111-4222-8333-444455556666") };
    struct auth a = { .key = &key, .public_id = key.public_id, .reason = "api_key_authenticated",
                      .presented = true, .authenticated = true, .authorized = true,
                      .enforced = true, .required = asked, .required_count = 1 };
    ath_pair header;
    struct req r;

    key.rights = right_set_new(names, 2);
    request(&r, &fetch);
    r.auth = &a;
    carry(&r, &header, "ath_0123456789abcdef.s3cret");
    ck_assert_ptr_nonnull(strstr(written(&rows, &r, 200, 1),
        "api_key_auth request_id=24d26ac3-64e9-416b-afd9-4db3a9520ba1 "
        "api_key_id=9c2b1f1e-1111-4222-8333-444455556666 internal_api_key_id=7 "
        "api_key_public_id=0123456789abcdef client_name=shop method=POST path=/gateway/fetch "
        "presented_key_hash="));
    ck_assert_ptr_nonnull(strstr(buf_view(&text).p,
        " required_rights=[\"orders.read\"] granted_rights=[\"orders.read\",\"users.*\"] "
        "authenticated=true authorized=true enforced=true failure_reason=api_key_authenticated "
        "remote_addr=10.0.0.7 ipv4_address=10.0.0.7 user_agent=null\n"));
    ck_assert_ptr_null(strstr(buf_view(&text).p, "s3cret"));
    right_set_free(key.rights);
    arena_free(&r.task.arena);
}
END_TEST

/* D-33: what is no key is somebody's password, and leaves nothing to guess it by. */
START_TEST(D_33_only_what_has_the_form_of_a_key_leaves_a_fingerprint)
{
    static const char *const values[] = { "ath_0123456789abcdef.s3cret", "my password", "ath_nodot" };
    struct auth a = { .presented = true, .reason = "invalid_api_key_format", .enforced = true };
    ath_pair header;
    struct req r;

    for (size_t i = 0; i < ATH_COUNT(values); i++) {
        request(&r, &fetch);
        r.auth = &a;
        carry(&r, &header, values[i]);
        written(&rows, &r, 401, 1);
        ck_assert_int_eq(i > 0, strstr(buf_view(&text).p, "presented_key_hash=null "
                                                          "presented_key_salt=null") != NULL);
        ck_assert_int_eq(count(buf_view(&text).p, "api_key_auth"), 1);
        arena_free(&r.task.arena);
    }
}
END_TEST

/* auth.md 4: lines 0 to 2 and 5a could not look at anything. */
START_TEST(what_nobody_could_check_has_no_row)
{
    static const struct {
        const char *reason;
        size_t rows;
    } cases[] = {
        { "direct_pg_uri_requires_api_key", 0 },   { "api_key_store_not_configured", 0 },
        { "api_key_store_unavailable", 0 },        { "api_key_store_unavailable_fail_open", 0 },
        { "api_key_policy_lookup_failed", 0 },     { "api_key_lookup_failed", 0 },
        { "api_key_lookup_failed_fail_open", 1 },  { "missing_api_key", 1 },
        { "unknown_api_key_unenforced", 1 },       { "api_key_client_mismatch", 1 },
    };
    struct req r;

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct auth a = { .reason = cases[i].reason };
        request(&r, &fetch);
        r.auth = &a;
        ck_assert_uint_eq(count(written(&rows, &r, 200, 1), "api_key_auth"), cases[i].rows);
        arena_free(&r.task.arena);
    }
}
END_TEST

/* As published: their row in the log of requests says static_admin_key. */
START_TEST(the_admin_key_has_no_row)
{
    struct auth a = { .reason = "static_admin_key", .authenticated = true, .authorized = true };
    struct req r;

    request(&r, &fetch);
    r.auth = &a;
    r.who.flags = ATH_WHO_ADMIN;
    ck_assert_uint_eq(count(written(&rows, &r, 200, 1), "api_key_auth"), 0);
    arena_free(&r.task.arena);
}
END_TEST

/* D-17: gateway.auth_log_unenforced. */
START_TEST(D_17_requests_that_need_no_key_are_logged_as_often_as_wanted)
{
    static const struct {
        const char *word;
        size_t rows;
    } cases[] = { { "full", 300 }, { "sampled", 3 }, { "off", 0 } };
    struct auth a = { .reason = "api_key_not_enforced", .authorized = true };
    struct req r;

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        request(&r, &fetch);
        r.auth = &a;
        audit_configure(str_of(cases[i].word));
        ck_assert_uint_eq(count(written(&rows, &r, 200, 300), "api_key_auth"), cases[i].rows);
        a.enforced = true; /* a refusal is always worth its row */
        ck_assert_uint_eq(count(written(&rows, &r, 401, 3), "api_key_auth"), 3);
        a.enforced = false;
        arena_free(&r.task.arena);
    }
    audit_configure(ATH_S("full"));
}
END_TEST

/* D-26: what a request asked another one of ours for stands in its one row. */
START_TEST(D_26_a_called_request_is_part_of_its_caller)
{
    static const ath_str top_asked[] = { { "gateway.read", 12 } };
    static const ath_str called_asked[] = { { "gateway.read", 12 }, { "users.read", 10 } };
    struct auth top_auth = { .reason = "api_key_authenticated", .authenticated = true,
                             .authorized = true, .enforced = true, .presented = true,
                             .required = top_asked, .required_count = 1 };
    struct auth called_auth = { .reason = "missing_api_key_rights", .authenticated = true,
                                .enforced = true, .presented = true, .required = called_asked,
                                .required_count = 2 };
    struct req top, called;

    request(&top, &fetch);
    request(&called, &fetch);
    top.task.type = called.task.type = &request_type;
    top.auth = &top_auth;
    called.auth = &called_auth;
    called.task.parent = &top.task;
    audit_called(&called);
    arena_free(&called.task.arena);
    written(&rows, &top, 403, 1);
    ck_assert_ptr_nonnull(strstr(buf_view(&text).p, "required_rights=[\"gateway.read\",\"users.read\"]"));
    ck_assert_ptr_nonnull(strstr(buf_view(&text).p, "authorized=false enforced=true "
                                                    "failure_reason=missing_api_key_rights"));
    arena_free(&top.task.arena);
}
END_TEST

/* D-30: who did what, and the names of what was sent. */
START_TEST(D_30_a_change_by_the_administrator_has_its_row)
{
    struct req r;

    request(&r, &clients);
    r.who.flags = ATH_WHO_ADMIN;
    r.body = ATH_S("{\"pg_uri\":\"postgres://u:s3cret@h/d\",\"description\":\"s3cret\"}");
    ck_assert_str_eq(written(&rows, &r, 201, 1),
                     "athena_audit request_id=24d26ac3-64e9-416b-afd9-4db3a9520ba1 "
                     "actor_kind=admin_key actor=null remote_addr=10.0.0.7 user_agent=null "
                     "client_name=shop method=POST route=/admin/clients/{name} "
                     "path=/admin/clients/{name} status_code=201 error_code=null duration_ms=12 "
                     "changed=pg_uri, description left_out=0\n");
    ck_assert_str_eq(written(&lines, &r, 201, 1),
                     "audit actor_kind=admin_key actor= remote_addr=10.0.0.7 http_method=POST "
                     "http_route=/admin/clients/{name} client=shop http_status_code=201 "
                     "error_code= changed=pg_uri, description\n");
    r.method = ATH_S("GET");
    ck_assert_str_eq(written(&rows, &r, 200, 1), "");
    arena_free(&r.task.arena);
}
END_TEST

START_TEST(sql_of_the_administrator_is_audited_that_of_keys_is_in_the_operation_log)
{
    struct auth_key key = { .public_id = ATH_S("0123456789abcdef") };
    struct auth a = { .key = &key, .authenticated = true, .authorized = true };
    struct req r;

    request(&r, &sql);
    r.who.flags = ATH_WHO_ADMIN;
    ck_assert_uint_eq(count(written(&rows, &r, 200, 1), "athena_audit"), 1);
    r.who.flags = ATH_WHO_KEY;
    r.auth = &a;
    ck_assert_uint_eq(count(written(&rows, &r, 200, 1), "athena_audit"), 0);
    arena_free(&r.task.arena);
}
END_TEST

/* Who has no key cannot push the administrators' rows out of the queue; how many there were is said. */
START_TEST(refusals_do_not_flood_the_log)
{
    struct req r;
    size_t n;

    request(&r, &clients);
    err_raise(&r.err, "admin_key_invalid", "no");
    n = count(written(&rows, &r, 401, 1000), "athena_audit");
    ck_assert_uint_ge(n, 10);
    ck_assert_uint_le(n, 40); /* the second may have changed */
    err_reset(&r.err);
    r.who.flags = ATH_WHO_ADMIN;
    written(&rows, &r, 200, 1);
    ck_assert_ptr_null(strstr(buf_view(&text).p, "left_out=0"));
    ck_assert_ptr_nonnull(strstr(buf_view(&text).p, "left_out="));
    written(&rows, &r, 200, 1);
    ck_assert_ptr_nonnull(strstr(buf_view(&text).p, "left_out=0"));
    audit_loop_fini();
    arena_free(&r.task.arena);
}
END_TEST

SUITE("audit", a_key_that_fits_has_its_row,
      D_33_only_what_has_the_form_of_a_key_leaves_a_fingerprint,
      what_nobody_could_check_has_no_row,
      D_17_requests_that_need_no_key_are_logged_as_often_as_wanted,
      D_26_a_called_request_is_part_of_its_caller,
      the_admin_key_has_no_row,
      D_30_a_change_by_the_administrator_has_its_row,
      sql_of_the_administrator_is_audited_that_of_keys_is_in_the_operation_log,
      refusals_do_not_flood_the_log)
