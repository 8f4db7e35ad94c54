/* Bodies: JSON to statements, with all that is wrong said before anything runs. */
#include "query.h"

#include "dataplane/once.h"
#include "dataplane/refusal.h"
#include "lib/json.h"

int script_body(ath_req *r, uint64_t most, const struct json **ret, ath_err *e)
{
    ath_str path = ath_host_->req->info(r, "path"), text = ath_host_->req->body(r);
    struct json_error why;

    if (most && text.n > most)
        return ath_raise(e, "payload_too_large", "the body has %zu bytes, at most %llu are allowed",
                         text.n, (unsigned long long)most);
    if (!str_trim(text).n) {
        ath_raise(e, "missing_request_body", "request body is required for %.*s", STR_ARG(path));
        ath_host_->err->detail(e, "title", ATH_S("\"Invalid request body\""));
        return ATH_E_INPUT;
    }
    *ret = json_read(text, JSON_ARENA(ath_arena_of(r)), DP_VALUES, &why);
    if (!*ret)
        return ath_raise(e, "malformed_json_payload",
                         "malformed JSON payload for %.*s: %s at line %u, column %u", STR_ARG(path),
                         why.why, why.line, why.column);
    if ((*ret)->type != JSON_OBJECT)
        return ath_raise(e, "invalid_query_payload",
                         "invalid %.*s payload: the body must be an object", STR_ARG(path));
    return 0;
}

ATH_PRINTF(3, 4) static int refuse(ath_req *r, ath_err *e, const char *fmt, ...)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    return ath_raise(e, "invalid_query_payload", "invalid %.*s payload: %s",
                     STR_ARG(ath_host_->req->info(r, "path")), buf_view(&b).p);
}

static int text_of(ath_req *r, const struct json *v, ath_str *ret, ath_err *e)
{
    if (v->type != JSON_STRING)
        return refuse(r, e, "%.*s must be a text", STR_ARG(v->key));
    if (v->nul)
        return ath_raise(e, "invalid_text_encoding", "%.*s holds U+0000", STR_ARG(v->key));
    *ret = v->text;
    return 0;
}

static bool is_identifier(ath_str s)
{
    struct sql_scan scan = { .text = s, .line = 1 };
    struct sql_token t;

    if (!sql_next(&scan, &t) || t.kind != SQL_WORD || t.text.n != s.n || s.n > DP_NAME)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '$' || (s.p[i] & 0x80))
            return false;
    return true;
}

static int schema_of(ath_req *r, const struct json *body, ath_str *ret, ath_err *e)
{
    const struct json *v = json_given(body, "schema_name");
    int rc;

    if (!v)
        v = json_given(body, "schema");
    *ret = (ath_str){ "", 0 };
    if (!v)
        return 0;
    if ((rc = text_of(r, v, ret, e)) < 0)
        return rc;
    *ret = str_trim(*ret);
    if (!ret->n)
        return ath_raise(e, "invalid_schema_name", "schema_name must not be empty");
    if (!is_identifier(*ret))
        return ath_raise(e, "invalid_schema_name", "schema_name must be a valid SQL identifier");
    return 0;
}

static int mode_of(ath_req *r, const struct json *body, bool *ret_each, ath_err *e)
{
    const struct json *v = json_given(body, "execution_mode");
    ath_str mode = v ? json_text(v) : ATH_S("single_transaction");

    *ret_each = str_is(mode, "per_statement");
    if (*ret_each || str_is(mode, "single_transaction"))
        return 0;
    return refuse(r, e, "execution_mode must be single_transaction or per_statement, not %.*s",
                  STR_ARG(v->raw));
}

/* Its answer is kept in the transaction that it is of, so there must be one. */
static int key_of(ath_req *r, const struct json *body, struct script *s, ath_err *e)
{
    const struct json *v = json_given(body, "idempotency_key");
    int rc;

    if (v && (v->type != JSON_STRING || !v->text.n || v->nul))
        return ath_raise(e, "invalid_idempotency_key", "idempotency_key must be a text, not %.*s",
                         STR_ARG(v->raw));
    if ((rc = dp_once_key(r, v ? v->text : ATH_S(""), &s->key, e)) < 0 || !s->key.n || !s->each)
        return rc;
    rc = refuse(r, e,
                "execution_mode per_statement takes no Idempotency-Key: its statements are "
                "no transaction that could be done once");
    dp_hint(e, "Use single_transaction, or leave the key out.");
    return rc;
}

/* ---- statements ---- */

/* Only blanks and semicolons. */
static bool is_blank(ath_str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!memchr(" \t\r\n\f\v;", text.p[i], 7))
            return false;
    return true;
}

static int nothing_to_run(ath_err *e)
{
    static const char *const keys[] = { "statement_index", "total_statements", "line_start",
                                        "line_end" };

    ath_raise(e, "query_sql_execution_failed", "Query does not contain executable SQL statements.");
    for (size_t i = 0; i < ATH_COUNT(keys); i++)
        ath_host_->err->detail(e, keys[i], ATH_S("null"));
    return ATH_E_INPUT;
}

static const char *copy_text(ath_req *r, ath_str text)
{
    char *to = ath_new(ath_arena_of(r), text.n + 1);

    memcpy(to, text.p, text.n);
    return to;
}

static int split(ath_req *r, struct script *s, ath_err *e)
{
    struct sql_scan scan = { .text = s->text, .line = 1 };
    struct sql_statement st;

    while (sql_statement(&scan, &st))
        if (++s->count > SCRIPT_STATEMENTS)
            return refuse(r, e, "query has more than %d statements", SCRIPT_STATEMENTS);
    if (!s->count)
        return nothing_to_run(e);
    s->stmt = ath_new(ath_arena_of(r), s->count * sizeof(*s->stmt));
    scan = (struct sql_scan){ .text = s->text, .line = 1 };
    for (uint32_t i = 0; i < s->count; i++) {
        sql_statement(&scan, &s->stmt[i].of);
        s->stmt[i].sql = copy_text(r, s->stmt[i].of.text);
    }
    return 0;
}

static int refuse_at(ath_req *r, const struct script *s, uint32_t i, const char *why, ath_err *e)
{
    const struct sql_statement *st = &s->stmt[i].of;

    return refuse(r, e, "statement %u of %u (line %u), %.*s, %s", i + 1, s->count, st->line_start,
                  STR_ARG(st->verb.text), why);
}

/* In one transaction nothing may end it; statement by statement, a transaction that the script
 * begins must also end in it, or its work would be lost without a word. */
static int check(ath_req *r, const struct script *s, ath_err *e)
{
    uint32_t open = s->count;

    for (uint32_t i = 0; i < s->count; i++) {
        enum sql_control c = s->stmt[i].of.control;
        if (sql_is(&s->stmt[i].of.verb, "COPY"))
            return refuse_at(r, s, i, "cannot run here: use INSERT and SELECT", e);
        if (c != SQL_CONTROL_NONE && !s->each)
            return refuse_at(r, s, i, "controls the transaction, which single_transaction does", e);
        if (c == SQL_CONTROL_OPEN)
            open = i;
        else if (c == SQL_CONTROL_CLOSE)
            open = s->count;
    }
    if (open < s->count)
        return refuse_at(r, s, open, "begins a transaction that the script does not end", e);
    return 0;
}

/* ---- parameters ---- */

/* A list is PostgreSQL's array text, an object its JSON; what they become is for the server to say:
 * it infers the types. */
static int param_of(ath_req *r, const struct json *v, ath_str *ret, ath_err *e)
{
    struct dp dp = { .arena = ath_arena_of(r), .e = e };

    *ret = (ath_str){ NULL, 0 };
    return v->type == JSON_NULL ? 0 : dp_value(&dp, v, 0, v->type == JSON_ARRAY, ret);
}

static int params_of(ath_req *r, const struct json *body, struct script *s, ath_err *e)
{
    const struct json *list = json_given(body, "params");
    int rc = 0;

    if (!list)
        return 0;
    if (list->type != JSON_ARRAY)
        return refuse(r, e, "params must be an array");
    if (!list->count)
        return 0;
    if (s->count != 1)
        return refuse(r, e, "params need exactly one statement, query has %u", s->count);
    if (list->count > DP_PARAMS)
        return refuse(r, e, "params has %u values, at most %d are possible", list->count,
                      DP_PARAMS);
    s->param = ath_new(ath_arena_of(r), list->count * sizeof(*s->param));
    json_each(v, list) if ((rc = param_of(r, v, &s->param[s->param_count++], e)) < 0) break;
    return rc;
}

int script_read(ath_req *r, const struct json *body, struct script *s, ath_err *e)
{
    const struct json *query = json_get(body, "query");
    int rc;

    if (!query)
        return refuse(r, e, "missing field `query`");
    if ((rc = text_of(r, query, &s->text, e)) < 0 || (rc = schema_of(r, body, &s->schema, e)) < 0 ||
        (rc = mode_of(r, body, &s->each, e)) < 0 || (rc = key_of(r, body, s, e)) < 0)
        return rc;
    if (is_blank(s->text))
        return ath_raise(e, "empty_query", "Query cannot be empty or contain only semicolons.");
    if ((rc = split(r, s, e)) < 0 || (rc = check(r, s, e)) < 0)
        return rc;
    return params_of(r, body, s, e);
}
