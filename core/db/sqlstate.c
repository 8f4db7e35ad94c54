/* SQLSTATE to the contract's code: one table, the longest prefix wins. What PostgreSQL says goes
 * into the error as its message; classes that only a caller's statement or value can cause are the
 * caller's, also where the published system has them as 500. The parts that a caller can act on
 * become details. The row values of DETAIL are the key "detail", which only administrators are
 * shown.
 */
#include "db/query.h"
#include "lib/buf.h"

/* clang-format off */
static const struct {
    const char *state;           /* a prefix: two characters are a class */
    const char *code, *category;
    bool again;                  /* worth another try soon: Retry-After */
    bool quotes;                 /* its words may hold values of rows, or SQL text */
} known[] = {
    { "23505", "unique_violation",           "database_constraint", false, false },
    { "23503", "foreign_key_violation",      "database_constraint", false, false },
    { "23502", "not_null_violation",         "validation",          false, false },
    { "23514", "check_constraint_violation", "database_constraint", false, false },
    { "23P01", "exclusion_violation",        "database_constraint", false, false },
    { "22021", "invalid_text_encoding",      "validation",          false, true  },
    { "22",    "data_exception",             "validation",          false, true  },
    { "42703", "undefined_column",           "query_syntax",        false, false },
    { "42P01", "undefined_table",            "query_syntax",        false, false },
    { "42601", "syntax_error",               "query_syntax",        false, true  },
    { "42501", "insufficient_privilege",     "authorization",       false, false },
    { "42883", "undefined_function",         "validation",          false, false },
    { "42",    "query_syntax",               "query_syntax",        false, false },
    { "08",    "connection_error",           "database_connection", true,  false },
    { "25006", "read_only",                  "authorization",       false, false },
    /* What a caller's own SQL may do wrong besides: where it stands, what it names, what hangs on
     * it. */
    { "0A",    "query_syntax",               "query_syntax",        false, false },
    { "21",    "query_syntax",               "query_syntax",        false, false },
    { "25",    "query_syntax",               "query_syntax",        false, false },
    { "2B",    "query_syntax",               "query_syntax",        false, false },
    { "2D",    "query_syntax",               "query_syntax",        false, false },
    { "34",    "query_syntax",               "query_syntax",        false, false },
    { "3B",    "query_syntax",               "query_syntax",        false, false },
    { "3F",    "query_syntax",               "query_syntax",        false, false },
    { "40001", "serialization_failure",      "internal",            false, false },
    { "40P01", "deadlock_detected",          "internal",            false, false },
    { "53",    "backend_unavailable",        "database_connection", true,  false },
    { "55P03", "backend_unavailable",        "database_connection", true,  false },
    { "57P01", "backend_unavailable",        "database_connection", true,  false },
    { "57P02", "backend_unavailable",        "database_connection", true,  false },
    { "57P03", "backend_unavailable",        "database_connection", true,  false },
    { "57014", "query_timeout",              "internal",            false, false },
    { "28",    "backend_unavailable",        "database_connection", true,  false },
    { "P0",    "raised_exception",           "validation",          false, true  },
    { "44",    "check_constraint_violation", "database_constraint", false, false },
    { "54",    "data_exception",             "validation",          false, false },
    { "58",    "database_error",             "internal",            false, false },
    { "XX",    "database_error",             "internal",            false, false },
    { "",      "database_error",             "internal",            false, true  },
};
/* clang-format on */

static size_t row_of(const char *state)
{
    size_t best = ATH_COUNT(known) - 1;

    for (size_t i = 0; i < ATH_COUNT(known); i++)
        if (strlen(known[i].state) > strlen(known[best].state) &&
            strncmp(state, known[i].state, strlen(known[i].state)) == 0)
            best = i;
    return best;
}

/* The text between the first pair of double quotes: `column "x" does not exist`. Messages may be
 * translated, quotes stay. */
static ath_str quoted(const char *message)
{
    const char *from = strchr(message, '"'), *to = from ? strchr(from + 1, '"') : NULL;

    return to ? str_from(from + 1, (size_t)(to - from - 1)) : str_from("", 0);
}

/* `column t.x does not exist` comes without quotes; the name is what stands before " does". */
static ath_str column_named(const char *message)
{
    ath_str name = quoted(message);
    const char *end = strstr(message, " does not exist");

    if (name.n || !end || strncmp(message, "column ", 7) != 0 || end < message + 7)
        return name;
    name = str_from(message + 7, (size_t)(end - message - 7));
    for (size_t i = name.n; i > 0; i--)
        if (name.p[i - 1] == '.')
            return str_after(name, i);
    return name;
}

struct types {
    ath_str left, sign, right;
};

/* 42883 is a function or an operator; of an operator the message ends in ": text = uuid". */
static bool operator_types(const char *message, struct types *ret)
{
    const char *p = strchr(message, ':');
    ath_str s = str_trim(str_of(p ? p + 1 : ""));

    for (size_t i = 1; i + 2 < s.n; i++) {
        size_t n = strspn(s.p + i + 1, "+-*/<>=~!@#%^&|`?");
        if (s.p[i] != ' ' || n == 0 || s.p[i + 1 + n] != ' ')
            continue;
        *ret =
            (struct types){ str_from(s.p, i), str_from(s.p + i + 1, n), str_after(s, i + n + 2) };
        return true;
    }
    return false;
}

static const char *operator_code(const struct types *t)
{
    bool pair = (str_is(t->left, "text") && str_is(t->right, "uuid")) ||
                (str_is(t->left, "uuid") && str_is(t->right, "text"));

    return pair ? "text_uuid_operator_mismatch" : "type_operator_mismatch";
}

static void detail(ath_err *e, const char *key, const char *text)
{
    if (text && *text)
        err_detail_str(e, key, str_of(text));
}

/* What is missing, by name: in the details, and in the title that callers are shown. */
static void name_missing(const struct db_failure *f, ath_err *e)
{
    bool column = strcmp(f->sqlstate, "42703") == 0;
    ath_str name = column ? column_named(f->message) : quoted(f->message);
    struct buf b = BUF_HEAP;

    if (name.n == 0)
        return;
    err_detail_str(e, column ? "column" : "table", name);
    if (column)
        buf_printf(&b, "The specified column '%.*s' does not exist", STR_ARG(name));
    else
        buf_printf(&b, "The table '%.*s' was not found.", STR_ARG(name));
    err_detail_str(e, "title", buf_view(&b));
    buf_free(&b);
}

bool db_state_quotes(const char *sqlstate)
{
    return known[row_of(sqlstate)].quotes;
}

static void say(const struct db_failure *f, size_t row, ath_err *e)
{
    struct types t;
    bool types = strcmp(f->sqlstate, "42883") == 0 && operator_types(f->message, &t);

    err_raise(e, types ? operator_code(&t) : known[row].code, "%s", f->message);
    (void)snprintf(e->sqlstate, sizeof(e->sqlstate), "%s", f->sqlstate);
    if (types) {
        err_detail_str(e, "lhs_type", t.left);
        err_detail_str(e, "rhs_type", t.right);
        err_detail_str(e, "operator", t.sign);
    }
    if (f->hint && *f->hint)
        err_hint(e, "%s", f->hint);
}

/* `COPY t, line 3, column a: "x"`, maybe behind other lines. The value is left out. */
static void name_line(const char *context, ath_err *e)
{
    const char *at =
        context && strncmp(context, "COPY ", 5) != 0 ? strstr(context, "\nCOPY ") : context;
    const char *line = at ? strstr(at, ", line ") : NULL;
    size_t n = line ? strspn(line + 7, "0123456789") : 0;

    if (n)
        err_detail(e, "line", str_from(line + 7, n));
}

int db_fail(const struct db_failure *f, ath_err *e)
{
    struct db_failure in = *f;
    size_t row;

    if (!in.sqlstate)
        in.sqlstate = "";
    if (!in.message)
        in.message = "the database gave no reason";
    if (strcmp(in.sqlstate, "08P01") == 0 && in.function &&
        strcmp(in.function, "exec_bind_message") == 0)
        in.sqlstate = "42P02"; /* fewer or more values than parameters: nothing is broken */
    row = row_of(in.sqlstate);
    say(&in, row, e);
    detail(e, "category", known[row].category);
    detail(e, "sql_state", in.sqlstate);
    detail(e, "constraint", in.constraint);
    detail(e, "schema", in.schema);
    detail(e, "position", in.position);
    if (strcmp(in.sqlstate, "42703") == 0 || strcmp(in.sqlstate, "42P01") == 0) {
        name_missing(&in, e);
    } else {
        detail(e, "table", in.table);
        detail(e, "column", in.column);
    }
    name_line(in.context, e);
    if (known[row].again)
        err_detail(e, "retry_after", str_of("1"));
    detail(e, "detail", in.detail);
    return e->rc;
}
