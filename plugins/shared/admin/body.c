/* JSON bodies of operators' requests: an object, whose members have the types that are asked for.
 */
#include "admin/admin.h"

enum { BODY_VALUES = 100000 };

static bool is_json(ath_str type)
{
    ath_str word = str_trim(str_from(type.p, str_find(type, ';')));

    return str_ieq(word, ATH_S("application/json")) || str_ends(word, "+json");
}

int admin_body(ath_req *r, const struct json **ret, ath_err *e)
{
    ath_str type = ath_header(r, "content-type");
    struct json_error why;

    if (!is_json(type))
        return ath_raise(e, "malformed_json_payload",
                         "the body has content type \"%.*s\", expected application/json",
                         STR_ARG(type));
    *ret = json_read(ath_host_->req->body(r), JSON_ARENA(ath_arena_of(r)), BODY_VALUES, &why);
    if (!*ret)
        return ath_raise(e, "malformed_json_payload", "line %u, column %u of the body: %s",
                         why.line, why.column, why.why);
    if ((*ret)->type != JSON_OBJECT)
        return ath_raise(e, "malformed_json_payload", "the body is no JSON object");
    return 0;
}

int admin_text(const struct json *body, const char *name, ath_str *ret, ath_err *e)
{
    const struct json *v = json_given(body, name);

    *ret = (ath_str){ NULL, 0 };
    if (!v)
        return 0;
    if (v->type != JSON_STRING || v->nul)
        return ath_raise(e, "malformed_json_payload", "member \"%s\" is no text%s", name,
                         v->type == JSON_STRING ? " without NUL characters" : "");
    *ret = v->text;
    return 0;
}

int admin_bool(const struct json *body, const char *name, ath_str *ret, ath_err *e)
{
    const struct json *v = json_given(body, name);

    *ret = (ath_str){ NULL, 0 };
    if (!v)
        return 0;
    if (v->type != JSON_TRUE && v->type != JSON_FALSE)
        return ath_raise(e, "malformed_json_payload", "member \"%s\" is neither true nor false",
                         name);
    *ret = v->type == JSON_TRUE ? ATH_S("true") : ATH_S("false");
    return 0;
}
