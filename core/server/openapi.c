/* Routes are printed path by path in the order of the table; a fragment is cut into blocks of lines
 * by their indentation, and a block is copied as it stands. */
#include "server/openapi.h"

#include "base/version.h"
#include "lib/json.h"

/* Blanks before the first other byte; a line of blanks only belongs to any block. */
static size_t indent_of(ath_str line)
{
    size_t n = 0;

    while (n < line.n && line.p[n] == ' ')
        n++;
    return n == line.n ? SIZE_MAX : n;
}

/* Whether a block below a key at `indent` goes on: YAML lets list items stand as far left as their
 * key. */
static bool line_inside(ath_str line, size_t indent)
{
    size_t at = indent_of(line);

    return at > indent || (at == indent && line.p[at] == '-');
}

static bool line_is(ath_str line, size_t indent, ath_str key)
{
    return line.n == indent + key.n + 1 && indent_of(line) == indent &&
           str_eq(str_from(line.p + indent, key.n), key) && line.p[line.n - 1] == ':';
}

static ath_str line_at(const char *p, const char *end)
{
    const char *nl = memchr(p, '\n', (size_t)(end - p));

    return str_from(p, (size_t)((nl ? nl : end) - p));
}

static const char *line_after(ath_str line, const char *end)
{
    return line.p + line.n < end ? line.p + line.n + 1 : end;
}

/* The lines below `key:` that are indented deeper than it; empty: there is no such key. */
static ath_str block(ath_str text, size_t indent, ath_str key)
{
    const char *end = text.p + text.n, *begin = NULL, *p = text.p;

    while (p < end) {
        ath_str line = line_at(p, end);
        if (begin && !line_inside(line, indent))
            break;
        p = line_after(line, end);
        if (!begin && line_is(line, indent, key))
            begin = p;
    }
    return begin ? str_from(begin, (size_t)(p - begin)) : (ath_str){ 0 };
}

static void put_lines(struct buf *b, ath_str lines)
{
    buf_str(b, lines);
    if (lines.n && lines.p[lines.n - 1] != '\n')
        buf_lit(b, "\n");
}

/* Everything of an operation but the two members that are completed. */
static void put_other_members(struct buf *b, ath_str operation)
{
    ath_str line;
    bool skip = false;

    while (str_next(&operation, '\n', &line)) {
        if (!line_inside(line, 6))
            skip = line_is(line, 6, ATH_S("parameters")) || line_is(line, 6, ATH_S("responses"));
        if (!skip && line.n) {
            buf_str(b, line);
            buf_lit(b, "\n");
        }
    }
}

static void put_lower(struct buf *b, ath_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        buf_char(b, c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c);
    }
}

/* "/rpc/{function}" stays; "{key...}" takes slashes here, which OpenAPI has no word for. */
static void put_path(struct buf *b, const char *path)
{
    for (const char *p = path; *p; p++) {
        if (strncmp(p, "...}", 4) == 0)
            p += 3;
        buf_char(b, *p);
    }
}

/* "get_gateway_fetch": unique because method and path are. */
static void put_operation_id(struct buf *b, const struct route *r)
{
    put_lower(b, str_of(r->def.method));
    for (const char *p = r->def.path; *p; p++) {
        bool word =
            (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (word)
            buf_char(b, *p);
        else if (b->p[b->n - 1] != '_')
            buf_char(b, '_');
    }
}

static void put_path_parameters(struct buf *b, const char *path)
{
    ath_str rest = str_of(path), piece;
    bool first = true;

    while (str_next(&rest, '/', &piece)) {
        if (piece.n < 3 || piece.p[0] != '{')
            continue;
        piece = str_from(piece.p + 1, piece.n - 2);
        if (str_ends(piece, "..."))
            piece.n -= 3;
        if (first)
            buf_lit(b, "    parameters:\n");
        first = false;
        buf_printf(b,
                   "    - name: %.*s\n      in: path\n      required: true\n"
                   "      schema:\n        type: string\n",
                   STR_ARG(piece));
    }
}

static void put_security(struct buf *b, const struct route *r)
{
    if (r->def.auth == ATH_AUTH_NONE || r->def.auth == ATH_AUTH_OWN)
        buf_lit(b, "      security: []\n");
    else
        buf_lit(b, "      security:\n      - AthenaKey: []\n      - ApiKey: []\n");
}

static void put_parameters(struct buf *b, const struct route *r, ath_str operation)
{
    ath_str more = block(operation, 6, ATH_S("parameters"));
    bool client = r->def.flags & ATH_RT_CLIENT;

    if (!client && !more.n)
        return;
    buf_lit(b, "      parameters:\n");
    if (client)
        buf_lit(b, "      - $ref: '#/components/parameters/AthenaClient'\n");
    put_lines(b, more);
}

static void put_responses(struct buf *b, ath_str operation)
{
    ath_str more = block(operation, 6, ATH_S("responses"));

    buf_lit(b, "      responses:\n");
    if (more.n)
        put_lines(b, more);
    else
        buf_lit(b, "        '200':\n          description: Done\n");
    if (!block(more, 8, ATH_S("default")).n)
        buf_lit(b, "        default:\n          $ref: '#/components/responses/Failure'\n");
}

static void put_operation(struct buf *b, const struct route *r)
{
    struct buf method = BUF_HEAP;
    ath_str fragment = str_of(r->openapi);
    ath_str operation;

    put_lower(&method, str_of(r->def.method));
    operation = block(block(block(fragment, 0, ATH_S("paths")), 2, str_of(r->def.path)), 4,
                      buf_view(&method));
    buf_printf(b, "    %s:\n      operationId: ", method.p);
    put_operation_id(b, r);
    buf_lit(b, "\n      tags:\n      - ");
    buf_json(b, str_of(r->plugin));
    if (r->def.summary) {
        buf_lit(b, "\n      summary: "); /* a JSON text is a YAML text */
        buf_json(b, str_of(r->def.summary));
    }
    buf_lit(b, "\n");
    put_security(b, r);
    put_parameters(b, r, operation);
    put_other_members(b, operation);
    put_responses(b, operation);
    buf_free(&method);
}

static bool seen_before(const struct router *r, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        const struct route *other = router_at(r, j);
        if (route_is_listed(other) && strcmp(other->def.path, router_at(r, i)->def.path) == 0)
            return true;
    }
    return false;
}

static void put_paths(struct buf *b, const struct router *r)
{
    size_t n = router_count(r);
    bool none = true;

    for (size_t i = 0; i < n; i++) {
        const struct route *first = router_at(r, i);
        if (!route_is_listed(first) || seen_before(r, i))
            continue;
        buf_z(b, none ? "paths:\n  " : "  ");
        none = false;
        put_path(b, first->def.path);
        buf_lit(b, ":\n");
        put_path_parameters(b, first->def.path);
        for (size_t j = i; j < n; j++) {
            if (route_is_listed(router_at(r, j)) &&
                strcmp(router_at(r, j)->def.path, first->def.path) == 0)
                put_operation(b, router_at(r, j));
        }
    }
    if (none)
        buf_lit(b, "paths: {}\n");
}

/* The schemas of each capability once; its routes share the text. */
static void put_schemas(struct buf *b, const struct router *r)
{
    for (size_t i = 0; i < router_count(r); i++) {
        const char *fragment = router_at(r, i)->openapi;
        bool seen = !fragment;
        for (size_t j = 0; j < i && !seen; j++)
            seen = router_at(r, j)->openapi == fragment;
        if (seen)
            continue;
        ath_str lines = block(str_of(fragment), 0, ATH_S("schemas"));
        ath_str line;
        while (str_next(&lines, '\n', &line)) {
            if (line.n)
                buf_printf(b, "  %.*s\n", STR_ARG(line));
        }
    }
}

static const char components[] = "components:\n"
                                 "  securitySchemes:\n"
                                 "    AthenaKey:\n"
                                 "      type: apiKey\n"
                                 "      in: header\n"
                                 "      name: X-Athena-Key\n"
                                 "    ApiKey:\n"
                                 "      type: apiKey\n"
                                 "      in: header\n"
                                 "      name: X-Api-Key\n"
                                 "  parameters:\n"
                                 "    AthenaClient:\n"
                                 "      name: X-Athena-Client\n"
                                 "      in: header\n"
                                 "      required: true\n"
                                 "      description: Name of the client whose database is meant\n"
                                 "      schema:\n"
                                 "        type: string\n"
                                 "  responses:\n"
                                 "    Failure:\n"
                                 "      description: The request was refused or failed\n"
                                 "      content:\n"
                                 "        application/json:\n"
                                 "          schema:\n"
                                 "            $ref: '#/components/schemas/Failure'\n"
                                 "  schemas:\n"
                                 "    Failure:\n"
                                 "      type: object\n"
                                 "      required: [error]\n"
                                 "      properties:\n"
                                 "        status: { type: string, enum: [error] }\n"
                                 "        code: { type: string }\n"
                                 "        error_number: { type: integer }\n"
                                 "        docs_url: { type: string }\n"
                                 "        message: { type: string }\n"
                                 "        error: { type: string }\n"
                                 "        hint: { type: string }\n"
                                 "        data: {}\n";

void openapi_http(struct buf *b, const struct router *r)
{
    buf_lit(b, "openapi: 3.0.3\ninfo:\n  title: Athena\n"
               "  description: The routes that this server serves\n  version: ");
    buf_json(b, str_of(athena_version));
    buf_lit(b, "\n");
    put_paths(b, r);
    buf_mem(b, components, sizeof(components) - 1);
    put_schemas(b, r);
}

void openapi_wss(struct buf *b)
{
    buf_lit(b, "openapi: 3.1.0\ninfo:\n  title: Athena over websockets\n"
               "  description: This server accepts no websocket connections\n  version: ");
    buf_json(b, str_of(athena_version));
    buf_lit(b, "\npaths: {}\n");
}
