/* Two passes: the text into statements, by quotes, comments and brackets; a statement into words.
 *
 * The words of a statement are looked at only as far as they decide what it is; the rest is kept as
 * text. So whatever PostgreSQL accepts may stand in a column's definition.
 */
#include "control/want.h"

#include "base/err.h"
#include "lib/buf.h"

/* ---- pieces of SQL ---- */

/* The end of the quote, comment or other single thing that begins at `i`; s.n + 1: it has none. */
static size_t past_quote(ath_str s, size_t i, char quote)
{
    for (i++; i < s.n; i++) {
        if (s.p[i] != quote)
            continue;
        if (i + 1 == s.n || s.p[i + 1] != quote)
            return i + 1;
        i++;
    }
    return s.n + 1;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* $tag$ ... $tag$ */
static size_t past_dollar(ath_str s, size_t i)
{
    size_t tag = i + 1;

    while (tag < s.n && is_word(s.p[tag]))
        tag++;
    if (tag == s.n || s.p[tag] != '$')
        return i + 1; /* a parameter, or part of a name */
    tag = tag + 1 - i;
    for (size_t at = i + tag; at + tag <= s.n; at++)
        if (memcmp(s.p + at, s.p + i, tag) == 0)
            return at + tag;
    return s.n + 1;
}

static size_t past_comment(ath_str s, size_t i)
{
    if (s.p[i] == '-') {
        while (i < s.n && s.p[i] != '\n')
            i++;
        return i;
    }
    for (i += 2; i + 2 <= s.n; i++)
        if (s.p[i] == '*' && s.p[i + 1] == '/')
            return i + 2;
    return s.n + 1;
}

static bool is_comment(ath_str s, size_t i)
{
    return i + 1 < s.n &&
           ((s.p[i] == '-' && s.p[i + 1] == '-') || (s.p[i] == '/' && s.p[i + 1] == '*'));
}

static size_t past(ath_str s, size_t i)
{
    if (s.p[i] == '\'' || s.p[i] == '"')
        return past_quote(s, i, s.p[i]);
    if (s.p[i] == '$')
        return past_dollar(s, i);
    return is_comment(s, i) ? past_comment(s, i) : i + 1;
}

/* Where the next `end` stands that is in no quote and no bracket, or s.n; s.n + 1: what was opened
 * is not closed. */
static size_t find_top(ath_str s, size_t i, char end)
{
    size_t depth = 0;

    while (i < s.n) {
        if (depth == 0 && s.p[i] == end)
            return i;
        if (s.p[i] == '(')
            depth++;
        if (s.p[i] == ')')
            depth -= depth > 0;
        i = past(s, i);
    }
    return depth ? s.n + 1 : i;
}

/* Without the blanks and comments that it begins with; a comment that is not closed stays. */
static ath_str skip(ath_str s)
{
    size_t i = 0;

    while (i < s.n && (strchr(" \t\r\n", s.p[i]) || is_comment(s, i)) && past(s, i) <= s.n)
        i = past(s, i);
    return str_after(s, i);
}

/* Cuts the first word off: letters, dots and quoted names; else one sign. */
static ath_str word(ath_str *rest)
{
    ath_str s = skip(*rest);
    size_t i = 0;

    while (i < s.n && (is_word(s.p[i]) || s.p[i] == '.' || s.p[i] == '"')) {
        size_t next = past(s, i);
        i = next < s.n ? next : s.n;
    }
    i += i == 0 && s.n > 0;
    *rest = str_after(s, i);
    return str_from(s.p, i);
}

static bool take(ath_str *rest, const char *expected)
{
    ath_str after = *rest;

    if (!str_ieq(word(&after), str_of(expected)))
        return false;
    *rest = after;
    return true;
}

/* A name as the catalogue has it: unquoted. */
static ath_str name_of(ath_arena *a, ath_str s)
{
    struct buf b = ARENA_BUF(a);

    if (s.n == 0 || !memchr(s.p, '"', s.n))
        return s;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '"')
            buf_char(&b, s.p[i]);
    return buf_view(&b);
}

/* Blanks and comments become one blank each; none stands at the ends or behind a bracket. */
static ath_str squeezed(ath_arena *a, ath_str s)
{
    struct buf b = ARENA_BUF(a);
    bool blank = false;

    for (size_t i = 0; i < s.n;) {
        size_t next = past(s, i) < s.n ? past(s, i) : s.n;
        if (strchr(" \t\r\n", s.p[i]) || is_comment(s, i)) {
            blank = true;
        } else {
            if (blank && b.n && b.p[b.n - 1] != '(' && s.p[i] != ')')
                buf_char(&b, ' ');
            buf_mem(&b, s.p + i, next - i);
            blank = false;
        }
        i = next;
    }
    return b.n ? buf_view(&b) : ATH_S("");
}

ath_str want_bare(ath_str name)
{
    size_t dot = str_find(name, '.');

    return dot < name.n ? str_after(name, dot + 1) : name;
}

/* ---- wishes ---- */

struct reading {
    ath_arena *arena;
    struct wants *to;
    uint32_t line;
};

static struct want *add(struct reading *r, enum want_kind kind)
{
    struct wants *w = r->to;

    if (w->n == w->cap) {
        struct want *more;
        w->cap = w->cap ? 2 * w->cap : 64;
        more = arena_alloc(r->arena, w->cap * sizeof(*more));
        if (w->n)
            memcpy(more, w->at, w->n * sizeof(*more));
        w->at = more;
    }
    w->at[w->n] = (struct want){ .kind = kind, .line = r->line };
    return &w->at[w->n++];
}

static ath_str type_spelled(ath_arena *a, ath_str type)
{
    static const struct {
        const char *said, *shown;
    } other[] = {
        { "timestamptz", "timestamp with time zone" },
        { "timestamp", "timestamp without time zone" },
        { "time", "time without time zone" },
        { "int", "integer" },
        { "int4", "integer" },
        { "int8", "bigint" },
        { "int2", "smallint" },
        { "bool", "boolean" },
        { "float8", "double precision" },
        { "float4", "real" },
        { "varchar", "character varying" },
        { "decimal", "numeric" },
    };
    size_t base = 0;

    while (base < type.n && is_word(type.p[base]))
        base++;
    for (size_t i = 0; i < ATH_COUNT(other); i++)
        if (str_ieq(str_from(type.p, base), str_of(other[i].said)))
            return arena_printf(a, "%s%.*s", other[i].shown, STR_ARG(str_after(type, base)));
    return type;
}

/* The type ends where one of the words begins that may follow it. */
static void column_type(struct reading *r, struct want *w, ath_str rest)
{
    static const char *const ends[] = {
        "NOT",    "NULL",  "DEFAULT",    "GENERATED", "PRIMARY",
        "UNIQUE", "CHECK", "REFERENCES", "COLLATE",   "CONSTRAINT"
    };
    ath_str all = skip(rest), before = all;
    bool not_null = false, given = false, ended = false;

    while (all.n) {
        ath_str left = all, next = word(&left);
        for (size_t i = 0; i < ATH_COUNT(ends) && !ended; i++)
            ended = str_ieq(next, str_of(ends[i]));
        if (!ended)
            before = left;
        not_null |= str_ieq(next, ATH_S("NOT")) || str_ieq(next, ATH_S("PRIMARY"));
        given |= str_ieq(next, ATH_S("DEFAULT")) || str_ieq(next, ATH_S("GENERATED"));
        all = left;
    }
    rest = skip(rest);
    w->type = type_spelled(r->arena, squeezed(r->arena, str_from(rest.p, rest.n - before.n)));
    w->nullable = !not_null || given;
}

static void add_column(struct reading *r, ath_str table, ath_str rest, bool part, ath_str sql)
{
    struct want *w = add(r, WANT_COLUMN);

    w->part = part;
    w->table = table;
    w->sql = sql;
    w->name = name_of(r->arena, word(&rest));
    w->body = squeezed(r->arena, rest);
    column_type(r, w, rest);
}

static void add_constraint(struct reading *r, ath_str table, ath_str rest, bool part, ath_str sql)
{
    struct want *w = add(r, WANT_CONSTRAINT);

    w->part = part;
    w->table = table;
    w->sql = sql;
    w->name = name_of(r->arena, word(&rest));
    w->body = squeezed(r->arena, rest);
    w->constraint = str_starts(w->body, "PRIMARY")   ? WANT_PRIMARY
                    : str_starts(w->body, "UNIQUE")  ? WANT_UNIQUE
                    : str_starts(w->body, "FOREIGN") ? WANT_FOREIGN
                                                     : WANT_CHECK;
}

/* Constraints without a name are made with their table and not looked for. */
static bool is_nameless(ath_str item)
{
    static const char *const first[] = {
        "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "EXCLUDE", "LIKE"
    };
    ath_str it = word(&item);

    for (size_t i = 0; i < ATH_COUNT(first); i++)
        if (str_ieq(it, str_of(first[i])))
            return true;
    return false;
}

static void add_parts(struct reading *r, ath_str table, ath_str inside)
{
    while (inside.n) {
        size_t end = find_top(inside, 0, ',');
        ath_str item = skip(str_from(inside.p, end < inside.n ? end : inside.n));
        inside = str_after(inside, end + 1);
        if (take(&item, "CONSTRAINT"))
            add_constraint(r, table, item, true, ATH_S(""));
        else if (item.n && !is_nameless(item))
            add_column(r, table, item, true, ATH_S(""));
    }
}

/* What stands between the first bracket and the one that closes it. */
static ath_str bracketed(ath_str s)
{
    size_t from = str_find(s, '('), to;

    if (from >= s.n)
        return ATH_S("");
    s = str_after(s, from + 1);
    for (to = 0; to < s.n && s.p[to] != ')';) {
        if (s.p[to] == '(')
            to += bracketed(str_after(s, to)).n + 1;
        to = past(s, to);
    }
    return str_from(s.p, to < s.n ? to : s.n);
}

static void add_view_columns(struct reading *r, ath_str view, ath_str inside)
{
    while (skip(inside).n) {
        struct want *w = add(r, WANT_COLUMN);
        w->part = w->nullable = true;
        w->table = view;
        w->name = name_of(r->arena, word(&inside));
        take(&inside, ",");
    }
}

static bool add_relation(struct reading *r, enum want_kind kind, ath_str sql, ath_str rest)
{
    struct want *w;
    ath_str name;

    if (take(&rest, "IF"))
        (void)(take(&rest, "NOT") && take(&rest, "EXISTS"));
    rest = skip(rest);
    name = word(&rest);
    if (kind == WANT_TABLE && skip(rest).n && skip(rest).p[0] != '(')
        return false; /* PARTITION OF, AS: no columns of its own */
    w = add(r, kind);
    w->table = name_of(r->arena, name);
    w->sql = sql;
    w->name_at = (size_t)(name.p - sql.p);
    name = w->table;
    if (kind == WANT_TABLE)
        add_parts(r, name, bracketed(rest));
    else if (kind == WANT_VIEW && skip(rest).n && skip(rest).p[0] == '(')
        add_view_columns(r, name, bracketed(rest));
    return true;
}

static bool add_index(struct reading *r, bool unique, ath_str sql, ath_str rest)
{
    struct want *w;
    ath_str name;

    if (take(&rest, "IF"))
        (void)(take(&rest, "NOT") && take(&rest, "EXISTS"));
    name = word(&rest);
    if (!take(&rest, "ON"))
        return false;
    w = add(r, WANT_INDEX);
    w->unique = unique;
    w->name = name_of(r->arena, name);
    w->table = name_of(r->arena, word(&rest));
    w->body = squeezed(r->arena, rest);
    w->sql = sql;
    return true;
}

static bool add_create(struct reading *r, ath_str sql, ath_str rest)
{
    if (take(&rest, "TABLE"))
        return add_relation(r, WANT_TABLE, sql, rest);
    if (take(&rest, "VIEW"))
        return add_relation(r, WANT_VIEW, sql, rest);
    if (take(&rest, "SEQUENCE"))
        return add_relation(r, WANT_SEQUENCE, sql, rest);
    if (take(&rest, "UNIQUE"))
        return take(&rest, "INDEX") && add_index(r, true, sql, rest);
    return take(&rest, "INDEX") && add_index(r, false, sql, rest);
}

static bool add_alter(struct reading *r, ath_str sql, ath_str rest)
{
    ath_str table;

    if (!take(&rest, "TABLE"))
        return false;
    table = name_of(r->arena, word(&rest));
    if (!take(&rest, "ADD"))
        return false;
    if (take(&rest, "CONSTRAINT")) {
        add_constraint(r, table, rest, false, sql);
        return true;
    }
    if (!take(&rest, "COLUMN"))
        return false;
    if (take(&rest, "IF"))
        (void)(take(&rest, "NOT") && take(&rest, "EXISTS"));
    add_column(r, table, rest, false, sql);
    return true;
}

static void add_statement(struct reading *r, ath_str sql)
{
    ath_str rest = sql;
    bool known = take(&rest, "CREATE") ? add_create(r, sql, rest)
                                       : take(&rest, "ALTER") && add_alter(r, sql, rest);
    struct want *w;

    if (known)
        return;
    w = add(r, WANT_OTHER);
    w->sql = sql;
    w->table = ATH_S("");
}

static uint32_t lines_in(const char *from, const char *to)
{
    uint32_t n = 0;

    for (; from < to; from++)
        n += *from == '\n';
    return n;
}

int wants_read(ath_arena *a, const char *sql, struct wants *ret, ath_err *e)
{
    struct reading r = { .arena = a, .to = ret, .line = 1 };
    ath_str rest = str_of(sql);
    const char *counted = sql;

    for (rest = skip(rest); rest.n; rest = skip(rest)) {
        size_t end = find_top(rest, 0, ';');
        r.line += lines_in(counted, rest.p);
        counted = rest.p;
        if (end > rest.n)
            return err_fail(e, ATH_E_CONFIG, "the statement of line %u is not closed", r.line);
        add_statement(&r, arena_str(a, str_trim(str_from(rest.p, end))));
        rest = str_after(rest, end + 1);
    }
    return 0;
}
