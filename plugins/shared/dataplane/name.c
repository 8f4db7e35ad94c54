/* Names: of tables as requests write them, of columns in the catalogue, and of casts. */
#include "dataplane/dataplane.h"

#include "lib/json.h"

void *dp_new(const struct dp *dp, size_t n)
{
    return ath_host_->mem->alloc(dp->arena, n);
}

struct buf dp_buf(const struct dp *dp)
{
    return BUF_ARENA(dp->arena);
}

ath_str dp_copy(const struct dp *dp, ath_str s)
{
    char *p = dp_new(dp, s.n + 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    return (ath_str){ p, s.n };
}

static void detail(struct dp *dp, const char *key, ath_str text)
{
    struct buf b = dp_buf(dp);

    buf_json(&b, text);
    ath_host_->err->detail(dp->e, key, buf_view(&b));
}

const ath_attribute *dp_column_at(const ath_relation *r, uint32_t i)
{
    return (const void *)((const char *)r->column + (size_t)i * r->column_size);
}

/* The columns, for whoever may read the table: rights were asked before names are complained about.
 */
static void list_columns(struct dp *dp, const ath_relation *r, struct buf *title)
{
    struct buf list = dp_buf(dp);

    buf_lit(title, ". Available columns: ");
    buf_char(&list, '[');
    for (uint32_t i = 0; i < r->column_count && list.n < 700; i++) {
        if (i) {
            buf_lit(title, ", ");
            buf_char(&list, ',');
        }
        buf_str(title, dp_column_at(r, i)->name);
        buf_json(&list, dp_column_at(r, i)->name);
    }
    buf_char(&list, ']');
    ath_host_->err->detail(dp->e, "available_columns", buf_view(&list));
}

int dp_no_column(struct dp *dp, const ath_relation *r, ath_str name)
{
    struct buf title = dp_buf(dp);
    int rc = ath_raise(dp->e, "undefined_column", "column \"%.*s\" does not exist", STR_ARG(name));

    dp->unknown = true;
    detail(dp, "category", ATH_S("query_syntax"));
    detail(dp, "sql_state", ATH_S("42703"));
    buf_printf(&title, "The specified column '%.*s' does not exist", STR_ARG(name));
    detail(dp, "column", name);
    if (r) {
        detail(dp, "table", r->name);
        list_columns(dp, r, &title);
    }
    detail(dp, "title", buf_view(&title));
    return rc;
}

int dp_no_table(struct dp *dp, ath_str schema, ath_str table)
{
    struct buf name = dp_buf(dp), title = dp_buf(dp);
    int rc;

    dp->unknown = true;
    if (schema.n) {
        buf_str(&name, schema);
        buf_char(&name, '.');
    }
    buf_str(&name, table);
    if (dp->structured)
        return dp_refuse(dp, "table '%s%s' was not found for structured gateway fetch",
                         schema.n ? "" : "public.", buf_view(&name).p);
    rc = ath_raise(dp->e, "undefined_table", "relation \"%s\" does not exist", buf_view(&name).p);
    buf_printf(&title, "The table '%s' was not found.", buf_view(&name).p);
    detail(dp, "category", ATH_S("query_syntax"));
    detail(dp, "sql_state", ATH_S("42P01"));
    detail(dp, "table", buf_view(&name));
    detail(dp, "title", buf_view(&title));
    return rc;
}

/* One part of a dotted name; *at moves behind it and its dot. */
static bool part(const struct dp *dp, ath_str text, size_t *at, ath_str *ret)
{
    struct buf b;
    size_t from = *at, i = from;

    if (i < text.n && text.p[i] == '"') {
        b = dp_buf(dp);
        for (i++; i < text.n && (text.p[i] != '"' || (i + 1 < text.n && text.p[i + 1] == '"'));
             i++) {
            buf_char(&b, text.p[i]);
            i += text.p[i] == '"';
        }
        *ret = buf_view(&b);
        if (i++ == text.n)
            return false;
    } else {
        while (i < text.n && text.p[i] != '.')
            i++;
        *ret = str_trim(str_from(text.p + from, i - from));
    }
    if (i < text.n && text.p[i] != '.')
        return false;
    *at = i + 1;
    return ret->n > 0 && str_find(*ret, 0) == ret->n;
}

int dp_read_table(struct dp *dp, ath_str text, ath_str *ret_schema, ath_str *ret_table)
{
    ath_str p[2] = { { "", 0 }, { "", 0 } };
    size_t at = 0, n = 0;

    text = str_trim(text);
    if (!text.n)
        return ath_raise(dp->e, dp->table_code, "table_name is required");
    *ret_schema = (ath_str){ "", 0 };
    *ret_table = text;
    while (n < text.n && text.p[n] != '.' && text.p[n] != '"' && text.p[n])
        n++;
    if (n == text.n) /* one part, as it is */
        return 0;
    n = 0;
    while (at <= text.n) {
        if (n == 2 || !part(dp, text, &at, &p[n++]))
            return dp_no_table(dp, (ath_str){ "", 0 }, text);
    }
    *ret_schema = n == 2 ? p[0] : (ath_str){ "", 0 };
    *ret_table = p[n - 1];
    return 0;
}

int dp_read_selector(struct dp *dp, const struct json *table, const struct json *schema,
                     struct dp_node *node)
{
    ath_str given = str_trim(json_text(schema));
    int rc;

    if (table && table->type != JSON_STRING)
        return ath_raise(dp->e, dp->table_code, "table_name must be text");
    if (schema && schema->type != JSON_STRING)
        return ath_raise(dp->e, dp->table_code, "schema_name must be text");
    node->asked = json_text(table);
    if ((rc = dp_read_table(dp, node->asked, &node->schema, &node->table)) < 0)
        return rc;
    if (!given.n)
        return 0;
    if (node->schema.n)
        return ath_raise(
            dp->e, dp->table_code,
            "table_name must not include a schema prefix when schema_name is provided");
    node->schema = given;
    return 0;
}

static bool lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

ath_str dp_fold(const struct dp *dp, ath_str name)
{
    struct buf b;
    size_t i = 0;

    while (i < name.n && !upper(name.p[i]))
        i++;
    if (i == name.n)
        return name;
    b = dp_buf(dp);
    for (i = 0; i < name.n; i++) {
        char c = name.p[i], before = i ? name.p[i - 1] : 0;
        char after = i + 1 < name.n ? name.p[i + 1] : 0;
        if (upper(c) &&
            (lower(before) || (before >= '0' && before <= '9') || (upper(before) && lower(after))))
            buf_char(&b, '_');
        buf_char(&b, upper(c) ? (char)(c | 32) : c);
    }
    return buf_view(&b);
}

const ath_attribute *dp_column(const struct dp *dp, const ath_relation *r, ath_str name)
{
    const ath_attribute *a = dp->catalog->column(r, name), *found = NULL;
    ath_str folded;

    if (a)
        return a;
    for (uint32_t i = 0; i < r->column_count; i++) {
        if (!str_ieq(dp_column_at(r, i)->name, name))
            continue;
        if (found)
            return NULL; /* two that differ in case only: neither is meant for sure */
        found = dp_column_at(r, i);
    }
    if (found)
        return found;
    folded = dp_fold(dp, name);
    return folded.p == name.p ? NULL : dp->catalog->column(r, folded);
}

/* clang-format off */
static const struct dp_cast casts[] = {
    { "text", 25 }, { "uuid", 2950 }, { "int", 23 }, { "int2", 21 }, { "int4", 23 }, { "int8", 20 },
    { "smallint", 21 }, { "integer", 23 }, { "bigint", 20 }, { "boolean", 16 }, { "bool", 16 },
    { "numeric", 1700 }, { "decimal", 1700 }, { "float", 701 }, { "float4", 700 }, { "float8", 701 },
    { "real", 700 }, { "double precision", 701 }, { "json", 114 }, { "jsonb", 3802 },
    { "date", 1082 }, { "time", 1083 }, { "timetz", 1266 }, { "timestamp", 1114 },
    { "timestamptz", 1184 }, { "interval", 1186 }, { "bytea", 17 }, { "inet", 869 }, { "cidr", 650 },
    { "text[]", 1009 }, { "uuid[]", 2951 }, { "int[]", 1007 }, { "int2[]", 1005 }, { "int4[]", 1007 },
    { "int8[]", 1016 }, { "smallint[]", 1005 }, { "integer[]", 1007 }, { "bigint[]", 1016 },
    { "boolean[]", 1000 }, { "bool[]", 1000 }, { "numeric[]", 1231 }, { "decimal[]", 1231 },
    { "float[]", 1022 }, { "float4[]", 1021 }, { "float8[]", 1022 }, { "real[]", 1021 },
    { "double precision[]", 1022 }, { "json[]", 199 }, { "jsonb[]", 3807 }, { "date[]", 1182 },
    { "time[]", 1183 }, { "timetz[]", 1270 }, { "timestamp[]", 1115 }, { "timestamptz[]", 1185 },
    { "interval[]", 1187 }, { "bytea[]", 1001 }, { "inet[]", 1041 }, { "cidr[]", 651 },
};
/* clang-format on */

const struct dp_cast *dp_cast_find(ath_str name)
{
    name = str_trim(name);
    if (str_ieq(name, ATH_S("double")))
        name = ATH_S("double precision");
    if (str_ieq(name, ATH_S("double[]")))
        name = ATH_S("double precision[]");
    for (size_t i = 0; i < ATH_COUNT(casts); i++)
        if (str_ieq(name, str_of(casts[i].name)))
            return &casts[i];
    return NULL;
}
