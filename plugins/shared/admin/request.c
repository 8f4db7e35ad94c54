/* What requests bring, and the frame of the answers. */
#include "admin/admin.h"

static ath_str number_text(ath_req *r, int64_t v)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_i64(&b, v);
    return buf_view(&b);
}

static int number(ath_req *r, const char *name, int64_t otherwise, int64_t least, int64_t most,
                  int64_t *ret, ath_err *e)
{
    ath_str text = str_trim(ath_param(r, name));

    *ret = otherwise;
    if (text.n && !str_i64(text, ret))
        return ath_raise(e, "VALIDATION_FAILED",
                         "parameter \"%s\" must be a whole number, not \"%.*s\"", name,
                         STR_ARG(text));
    if (*ret < least)
        *ret = least;
    if (*ret > most)
        *ret = most;
    return 0;
}

int admin_page(ath_req *r, int64_t limit, int64_t most, struct admin_page *ret, ath_err *e)
{
    int rc = number(r, "limit", limit, 1, most, &ret->limit, e);

    if (rc == 0)
        rc = number(r, "offset", 0, 0, INT64_MAX, &ret->offset, e);
    if (rc < 0)
        return rc;
    ret->limit_text = number_text(r, ret->limit);
    ret->offset_text = number_text(r, ret->offset);
    return 0;
}

int admin_switch(ath_req *r, const char *name, bool *ret, ath_err *e)
{
    ath_str text = str_trim(ath_param(r, name));

    *ret = str_is(text, "true");
    if (!text.n || *ret || str_is(text, "false"))
        return 0;
    return ath_raise(e, "VALIDATION_FAILED", "parameter \"%s\" must be true or false, not \"%.*s\"",
                     name, STR_ARG(text));
}

int admin_client(ath_req *r, ath_str *ret, ath_err *e)
{
    *ret = str_trim(ath_param(r, "client_name"));
    if (ret->n)
        return 0;
    return admin_fail(e, "VALIDATION_FAILED", "Invalid client name",
                      "The client name must not be empty.");
}

void admin_changed(ath_req *r, const char *word, ath_str name)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_printf(&b, "%s %.*s", word, STR_ARG(name));
    ath_host_->req->note(r, &(ath_fact){ ATH_S("changed"), buf_view(&b), ATH_V_TEXT, 0 });
}

struct buf admin_answer(ath_req *r, const char *message)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_lit(&b, "{\"status\":\"success\"");
    buf_json_str(&b, "message", str_of(message));
    buf_lit(&b, ",\"data\":{");
    return b;
}

int admin_reply(ath_req *r, int status, struct buf *b)
{
    buf_lit(b, "}}");
    return ath_reply(r, status, "application/json", buf_view(b));
}
