/* core/server/openapi.c: a document from a table of routes and a plugin's fragment. */
#include "http/router.h"
#include "lib/buf.h"
#include "server/openapi.h"
#include "support/check_main.h"

static int handle(ath_req *r, ath_err *e)
{
    (void)r, (void)e;
    return 0;
}

static const char fragment[] = "# a comment\n"
                               "paths:\n"
                               "  /gateway/fetch:\n"
                               "    post:\n"
                               "      description: Rows of a table\n"
                               "      parameters:\n"
                               "      - name: X-Strip-Nulls\n"
                               "        in: header\n"
                               "      requestBody:\n"
                               "        required: true\n"
                               "      responses:\n"
                               "        '200':\n"
                               "          description: Rows\n"
                               "  /gateway/fetch/other:\n"
                               "    post:\n"
                               "      description: not this one\n"
                               "schemas:\n"
                               "  FetchRequest:\n"
                               "    type: object\n";

static struct router *table(const int32_t *gate)
{
    static const struct route route[] = {
        { .def = { .method = "POST",
                   .path = "/gateway/fetch",
                   .handle = handle,
                   .flags = ATH_RT_CLIENT,
                   .auth = ATH_AUTH_GATEWAY,
                   .summary = "Read \"rows\"" },
          .plugin = "routes-gateway",
          .openapi = fragment },
        { .def = { .method = "GET",
                   .path = "/files/{key...}",
                   .handle = handle,
                   .auth = ATH_AUTH_NONE },
          .plugin = "routes-files" },
        { .def = { .method = "DELETE",
                   .path = "/files/{key...}",
                   .handle = handle,
                   .auth = ATH_AUTH_ADMIN },
          .plugin = "routes-files" },
        { .def = { .method = "GET", .path = "/gated", .handle = handle, .auth = ATH_AUTH_NONE },
          .plugin = "routes-files" },
    };
    struct router *r = router_new();
    ath_err e;

    for (size_t i = 0; i < ATH_COUNT(route); i++) {
        struct route copy = route[i];
        if (strcmp(copy.def.path, "/gated") == 0)
            copy.gate = gate;
        ck_assert_int_eq(router_add(r, &copy, &e), 0);
    }
    return r;
}

static char *document(int32_t gate)
{
    static struct buf b;
    static int32_t value;
    struct router *r = table(&value);

    value = gate;
    buf_reset(&b);
    openapi_http(&b, r);
    router_free(r);
    return b.p;
}

static void has(const char *text, const char *piece)
{
    ck_assert_msg(strstr(text, piece), "\"%s\" is missing in:\n%s", piece, text);
}

START_TEST(an_operation_joins_the_table_and_the_fragment)
{
    has(document(1), "  /gateway/fetch:\n"
                     "    post:\n"
                     "      operationId: post_gateway_fetch\n"
                     "      tags:\n      - \"routes-gateway\"\n"
                     "      summary: \"Read \\\"rows\\\"\"\n"
                     "      security:\n      - AthenaKey: []\n      - ApiKey: []\n"
                     "      parameters:\n"
                     "      - $ref: '#/components/parameters/AthenaClient'\n"
                     "      - name: X-Strip-Nulls\n"
                     "        in: header\n"
                     "      description: Rows of a table\n"
                     "      requestBody:\n"
                     "        required: true\n"
                     "      responses:\n"
                     "        '200':\n"
                     "          description: Rows\n"
                     "        default:\n"
                     "          $ref: '#/components/responses/Failure'\n");
}
END_TEST

START_TEST(a_fragment_adds_schemas_but_no_routes)
{
    char *text = document(1);

    has(text, "    FetchRequest:\n      type: object\n");
    ck_assert_ptr_null(strstr(text, "not this one"));
}
END_TEST

START_TEST(methods_of_one_path_stand_together_with_its_parameters)
{
    char *text = document(1);

    has(text, "  /files/{key}:\n"
              "    parameters:\n"
              "    - name: key\n"
              "      in: path\n");
    has(strstr(text, "  /files/{key}:\n"), "    get:\n      operationId: get_files_key_\n");
    has(strstr(text, "    get:\n"), "    delete:\n");
    ck_assert_ptr_null(strstr(strstr(text, "/files/{key}:") + 1, "/files/{key}:"));
}
END_TEST

START_TEST(a_closed_gate_hides_its_routes)
{
    has(document(1), "  /gated:\n");
    ck_assert_ptr_null(strstr(document(0), "/gated"));
}
END_TEST

START_TEST(no_routes_and_no_websockets_are_said_as_such)
{
    struct buf b = BUF_HEAP;
    struct router *r = router_new();

    openapi_http(&b, r);
    has(b.p, "\npaths: {}\n");
    buf_reset(&b);
    openapi_wss(&b);
    has(b.p, "\npaths: {}\n");
    buf_free(&b);
    router_free(r);
}
END_TEST

SUITE("server/openapi", an_operation_joins_the_table_and_the_fragment,
      a_fragment_adds_schemas_but_no_routes, methods_of_one_path_stand_together_with_its_parameters,
      a_closed_gate_hides_its_routes, no_routes_and_no_websockets_are_said_as_such)
