/* GET /data?view=V&eq_column=C&eq_value=X: a fetch by query string (contract 16).
 *
 * The parameters become the body of a flat fetch, and that is run; numbers that cannot be read are
 * ignored, as this route always did.
 */
#include "gateway.h"

#include "lib/json.h"

static const struct {
    const char *name, *key;
} texts[] = { { "columns", "columns" },
              { "group_by", "group_by" },
              { "time_granularity", "time_granularity" },
              { "aggregation_column", "aggregation_column" },
              { "aggregation_strategy", "aggregation_strategy" } };

static const char *const numbers[] = { "limit", "current_page", "page_size", "offset" };
static const char *const switches[] = { "strip_nulls", "aggregation_dedup" };

/* The three that must be there, in the order in which they are missed. */
static int missing(ath_req *r, ath_err *e)
{
    static const struct {
        const char *name, *code;
    } needed[] = { { "view", "missing_view_parameter" },
                   { "eq_column", "missing_eq_column_parameter" },
                   { "eq_value", "missing_eq_value_parameter" } };

    for (size_t i = 0; i < ATH_COUNT(needed); i++)
        if (!ath_param(r, needed[i].name).n)
            return ath_raise(e, needed[i].code, "%s", needed[i].name);
    return 0;
}

static void sorting(ath_req *r, struct buf *b)
{
    ath_str by = ath_param(r, "sort_by"), direction = ath_param(r, "sort_direction");
    bool desc = str_ieq(direction, ATH_S("desc")) || str_ieq(direction, ATH_S("descending"));

    if (!by.n)
        return;
    buf_json_key(b, "sort_by");
    buf_char(b, '{');
    buf_json_str(b, "field", by);
    buf_json_str(b, "direction", desc ? ATH_S("desc") : ATH_S("asc"));
    buf_char(b, '}');
}

static void options(ath_req *r, struct buf *b)
{
    int64_t v;
    bool on;

    for (size_t i = 0; i < ATH_COUNT(texts); i++)
        if (ath_param(r, texts[i].name).n)
            buf_json_str(b, texts[i].key, ath_param(r, texts[i].name));
    for (size_t i = 0; i < ATH_COUNT(numbers); i++)
        if (str_i64(ath_param(r, numbers[i]), &v))
            buf_json_int(b, numbers[i], v);
    for (size_t i = 0; i < ATH_COUNT(switches); i++)
        if (str_bool(ath_param(r, switches[i]), &on))
            buf_json_bool(b, switches[i], on);
}

int gateway_get(ath_req *r, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    struct json_error why;
    const struct json *body;
    int rc = missing(r, e);

    if (rc < 0)
        return rc;
    buf_char(&b, '{');
    buf_json_str(&b, "table_name", ath_param(r, "view"));
    buf_lit(&b, ",\"conditions\":[{");
    buf_json_str(&b, "eq_column", ath_param(r, "eq_column"));
    buf_json_str(&b, "eq_value", ath_param(r, "eq_value"));
    buf_lit(&b, "}]");
    options(r, &b);
    sorting(r, &b);
    buf_char(&b, '}');
    ath_host_->req->set(r, "vary", ATH_S("Accept"));
    body = json_read(buf_view(&b), JSON_ARENA(ath_arena_of(r)), DP_VALUES, &why);
    if (!body) /* only text that is no UTF-8 gets here */
        return ath_raise(e, "invalid_text_encoding", "the query string is not UTF-8");
    return gateway_fetch_body(r, body, e);
}
