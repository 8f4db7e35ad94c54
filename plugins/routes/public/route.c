/* POST /public/{route_key}/{op}: the operation's own route, on the client that the alias names; reads
 * of one that has a target go there (proxy.c).
 *
 * The key was checked already, for that client (before.c), so nobody without one learns which
 * aliases exist; what it may do is decided by the operation's route, which is called with the same
 * body. Its answer goes back as it is.
 */
#include "public.h"

#include "lib/json.h"
#include "lib/jsonread.h"

enum { VALUES_MOST = 1 << 20 };

static const struct {
    const char *method, *path;
} targets[] = {
    [OP_QUERY] = { "POST", "/gateway/query" },     [OP_FETCH] = { "POST", "/gateway/fetch" },
    [OP_INSERT] = { "PUT", "/gateway/insert" },    [OP_UPDATE] = { "POST", "/gateway/update" },
    [OP_DELETE] = { "DELETE", "/gateway/delete" },
};

/* ---- what the alias allows ---- */

static int find_row(ath_req *r, ath_str key, const struct route_row **ret, ath_err *e)
{
    const struct table *table;
    enum registry known = public_registry(r, &table);

    if (known == REGISTRY_ABSENT)
        return ath_raise(e, "route_registry_unavailable",
                         "no logging client with the table public_gateway_routes is configured");
    if (known == REGISTRY_DOWN)
        return ath_raise(e, "route_registry_unavailable", "the routes cannot be read right now");
    if (!(*ret = table_route(table, key)))
        return ath_raise(e, "public_route_not_found", "No active public route '%.*s'.",
                         STR_ARG(key));
    return 0;
}

static int row_check(const struct route_row *row, enum op op, ath_err *e)
{
    if (!row->active)
        return ath_raise(e, "route_inactive", "Route '%.*s' is disabled.", STR_ARG(row->key));
    if (!(row->ops & 1u << op))
        return ath_raise(e, "op_not_allowed", "Route '%.*s' does not allow '%s'.",
                         STR_ARG(row->key), op_word(op));
    return 0;
}

/* The two operations whose shape is checked here, in words of its own. A body that is no JSON is
 * for the operation's route to refuse. */
static int shape_check(ath_req *r, enum op op, ath_err *e)
{
    struct json_error why;
    const struct json *body;

    if (op != OP_QUERY && op != OP_DELETE)
        return 0;
    body = json_read(ath_host_->req->body(r), JSON_ARENA(ath_arena_of(r)), VALUES_MOST, &why);
    if (!body)
        return 0;
    if (op == OP_QUERY && !json_get(body, "query")) {
        int rc =
            ath_raise(e, "invalid_query_payload", "Expected body shape: { \"query\": \"...\" }");
        ath_host_->err->detail(e, "title", ATH_S("\"Invalid query payload\""));
        return rc;
    }
    if (op == OP_DELETE && (!json_get(body, "table_name") ||
                            !(json_get(body, "resource_id") || json_get(body, "conditions") ||
                              json_get(body, "where"))))
        return ath_raise(
            e, "invalid_delete_payload",
            "Expected body shape: { \"table_name\": \"...\", \"resource_id\": \"...\", "
            "\"column_name\": \"id\" }");
    return 0;
}

/* ---- the call ---- */

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    const char *type = NULL;

    (void)e;
    if (d->rc < 0)
        return d->rc;
    for (uint32_t i = 0; i < d->header_count; i++)
        if (str_is(d->header[i].name, "content-type"))
            type = d->header[i].value.p;
        else
            ath_host_->req->set(t, d->header[i].name.p, d->header[i].value);
    if (d->stream)
        return ath_host_->req->send(t, d->status, type, d->stream);
    return ath_reply(t, d->status, type, d->bytes);
}

static bool is_ours(ath_str name)
{
    for (size_t i = 0; i < ATH_COUNT(direct_uri_headers); i++)
        if (str_is(name, direct_uri_headers[i]))
            return true;
    return str_is(name, "x-athena-client");
}

/* All that the caller sent, but what chooses the database: the alias does. */
static uint32_t headers(ath_req *r, ath_str client, const ath_pair **ret)
{
    const ath_pair *sent;
    uint32_t n = ath_host_->req->pairs(r, "header", &sent), kept = 0;
    ath_pair *pair = ath_new(ath_arena_of(r), (n + 1) * sizeof(*pair));

    for (uint32_t i = 0; i < n; i++)
        if (!is_ours(sent[i].name))
            pair[kept++] = sent[i];
    pair[kept++] = (ath_pair){ ATH_S("x-athena-client"), client };
    *ret = pair;
    return kept;
}

static ath_str target_of(ath_req *r, enum op op)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    ath_str query = ath_host_->req->info(r, "query");

    buf_z(&b, targets[op].path);
    if (query.n)
        buf_char(&b, '?');
    buf_str(&b, query);
    return buf_view(&b);
}

static int call(ath_req *r, const struct route_row *row, enum op op, ath_err *e)
{
    struct buf client = BUF_ARENA(ath_arena_of(r));
    ath_fetch f = { .size = sizeof(f), .flags = ATH_HTTP_STREAM, .method = targets[op].method };

    buf_str(&client, row->client); /* the rows may change meanwhile */
    f.url = target_of(r, op);
    f.body = ath_host_->req->body(r);
    f.header_count = headers(r, buf_view(&client), &f.header);
    return ath_host_->req->call(r, &f, answered, NULL, e);
}

/* ---- what the log of routes shows ---- */

static void note_metadata(ath_req *r, const struct route_row *row, enum op op)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    const char *comma = "";

    if (!row)
        return;
    buf_lit(&b, "{\"allowed_ops\":[");
    for (enum op i = OP_QUERY; i <= OP_DELETE; i++) {
        if (!(row->ops & 1u << i))
            continue;
        buf_printf(&b, "%s\"%s\"", comma, op_word(i));
        comma = ",";
    }
    buf_char(&b, ']');
    if (op)
        buf_json_str(&b, "public_op", str_of(op_word(op)));
    buf_char(&b, '}');
    public_note(r, "route_metadata", buf_view(&b));
}

/* The published word for a refusal. */
static ath_str outcome_of(ath_req *r, const ath_err *e)
{
    static const char *const words[][2] = {
        { "invalid_public_route_operation", "invalid_op" },
        { "public_route_not_found", "route_not_found" },
    };
    ath_str code = ath_host_->err->get(e, "code");
    const struct table *table;

    if (str_is(code, "route_registry_unavailable"))
        return public_registry(r, &table) == REGISTRY_ABSENT ? ATH_S("catalog_unavailable")
                                                             : ATH_S("catalog_pool_unavailable");
    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (str_is(code, words[i][0]))
            return str_of(words[i][1]);
    return code;
}

static int find(ath_req *r, ath_str key, enum op op, const struct route_row **row, ath_err *e)
{
    int rc = find_row(r, key, row, e);

    if (rc < 0)
        return rc;
    public_note(r, "route_key", (*row)->key);
    public_note(r, "route_client", (*row)->client);
    if ((rc = row_check(*row, op, e)) == 0)
        rc = shape_check(r, op, e);
    note_metadata(r, *row, rc == 0 ? op : 0);
    return rc;
}

/* ---- together ---- */

static int run(ath_req *r, ath_err *e)
{
    ath_str key = str_trim(lowered(ath_param(r, "route_key"), ath_arena_of(r)));
    ath_str word = ath_param(r, "op");
    const struct route_row *row;
    enum op op = op_of(word);
    int rc;

    public_note(r, "route_key", key);
    public_note(r, "route_op", lowered(word, ath_arena_of(r)));
    if (key.n == 0)
        return ath_raise(e, "invalid_route_key", "the route key is empty");
    if (op == 0)
        return ath_raise(e, "invalid_public_route_operation",
                         "Unsupported operation '%.*s'. Use one of: query, fetch, insert, update, "
                         "delete.",
                         STR_ARG(lowered(word, ath_arena_of(r))));
    if ((rc = find(r, key, op, &row, e)) < 0)
        return rc;
    public_note(r, "route_outcome", ATH_S("forwarded_ok"));
    if (op == OP_FETCH && row->target_url.n)
        return public_fetch_elsewhere(r, row, ATH_S("fetch"), e);
    return call(r, row, op, e);
}

int public_run(ath_req *r, ath_err *e)
{
    int rc;

    public_note(r, "route_source", ATH_S("public_route"));
    rc = run(r, e);
    if (rc < 0)
        public_note(r, "route_outcome", outcome_of(r, e));
    return rc;
}
