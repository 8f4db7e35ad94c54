/* Two passes over the rows: how wide each column is, then the lines. */
#include "server/table.h"

#include <ctype.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/arena.h"
#include "lib/json.h"
#include "lib/jsonread.h"

enum { COLUMNS_MOST = 32, VALUES_MOST = 2000000, GAP = 2, NARROWEST = 12 };

struct column {
    const char *name;
    size_t width;
    bool number; /* nothing but numbers and nulls */
};

struct table {
    ath_arena arena;
    struct column column[COLUMNS_MOST];
    size_t n;
};

/* Characters, not bytes: continuation bytes take no room. */
static size_t width_of(ath_str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static ath_str shown(const struct json *v)
{
    if (!v || v->type == JSON_NULL)
        return ATH_S("-");
    if (v->type == JSON_TRUE)
        return ATH_S("yes");
    if (v->type == JSON_FALSE)
        return ATH_S("no");
    return v->type == JSON_ARRAY || v->type == JSON_OBJECT ? v->raw : v->text;
}

static void measure(struct column *c, const struct json *row)
{
    const struct json *v = json_get(row, c->name);
    size_t width = width_of(shown(v));

    if (width > c->width)
        c->width = width;
    if (v && v->type != JSON_NULL && v->type != JSON_NUMBER)
        c->number = false;
}

static void take_columns(struct table *t, ath_str columns)
{
    ath_str name;

    t->n = 0;
    while (str_next(&columns, ',', &name) && t->n < COLUMNS_MOST) {
        name = str_trim(name);
        t->column[t->n++] = (struct column){ arena_str(&t->arena, name).p, name.n, true };
    }
}

/* Takes what a line is too long for from the widest columns of text. */
static void fit(struct table *t, size_t width)
{
    for (;;) {
        struct column *widest = NULL;
        size_t all = 0;
        for (size_t i = 0; i < t->n; i++) {
            struct column *c = &t->column[i];
            all += c->width + (i ? GAP : 0);
            if (!c->number && c->width > NARROWEST && (!widest || c->width > widest->width))
                widest = c;
        }
        if (all <= width || !widest)
            return;
        widest->width =
            all - widest->width + NARROWEST >= width ? NARROWEST : widest->width - (all - width);
    }
}

/* The first characters that a column has room for; what is cut ends in "~". */
static ath_str cut(ath_str s, size_t width, bool *ret_cut)
{
    size_t at = 0, n = 0;

    *ret_cut = width_of(s) > width;
    if (!*ret_cut)
        return s;
    for (; at < s.n; at++)
        if (((unsigned char)s.p[at] & 0xc0) != 0x80 && n++ == width - 1)
            break;
    return str_from(s.p, at);
}

/* A terminal obeys control characters; nobody who names a table may use that. */
static void put_text(ath_str s, FILE *out)
{
    for (size_t i = 0; i < s.n; i++)
        fputc(iscntrl((unsigned char)s.p[i]) ? ' ' : s.p[i], out);
}

static void put_cell(const struct column *c, ath_str s, bool last, FILE *out)
{
    bool shorter;
    ath_str text = cut(s, c->width, &shorter);
    int pad = (int)(c->width - width_of(text) - shorter);

    if (c->number)
        fprintf(out, "%*s", pad, "");
    put_text(text, out);
    if (shorter)
        fputc('~', out);
    if (!c->number && !last)
        fprintf(out, "%*s", pad, "");
    fputs(last ? "\n" : "  ", out);
}

static void put_head(const struct table *t, FILE *out)
{
    for (size_t i = 0; i < t->n; i++) {
        char name[128];
        size_t n = 0;
        for (const char *c = t->column[i].name; *c && n < sizeof(name) - 1; c++)
            name[n++] = (char)(*c == '_' ? ' ' : toupper((unsigned char)*c));
        name[n] = 0;
        put_cell(&t->column[i], str_of(name), i + 1 == t->n, out);
    }
}

static void put_row(const struct table *t, const struct json *row, FILE *out)
{
    for (size_t i = 0; i < t->n; i++)
        put_cell(&t->column[i], shown(json_get(row, t->column[i].name)), i + 1 == t->n, out);
}

static void put_rows(struct table *t, const struct json *v, size_t width, FILE *out)
{
    bool one = v->type == JSON_OBJECT;
    const struct json *first = one ? v : v->first;

    for (size_t i = 0; i < t->n; i++)
        for (const struct json *row = first; row; row = one ? NULL : row->next)
            measure(&t->column[i], row);
    if (width)
        fit(t, width);
    put_head(t, out);
    for (const struct json *row = first; row; row = one ? NULL : row->next)
        put_row(t, row, out);
}

/* "data.pools" */
static const struct json *at_path(struct table *t, const struct json *v, ath_str path)
{
    ath_str name;

    while (v && str_next(&path, '.', &name))
        v = json_given(v, arena_str(&t->arena, name).p);
    return v;
}

static void put_tables(struct table *t, const struct json *v, ath_str rows, ath_str columns,
                       size_t width, FILE *out)
{
    ath_str path, list;
    bool any = false;

    while (str_next(&columns, ';', &list)) {
        const struct json *part = str_next(&rows, ' ', &path) ? at_path(t, v, path) : v;
        if (!part || (part->type != JSON_ARRAY && part->type != JSON_OBJECT))
            continue;
        if (any)
            fputc('\n', out);
        any = true;
        take_columns(t, list);
        put_rows(t, part, width, out);
    }
    if (!any)
        fprintf(out, "%.*s\n", STR_ARG(v->raw));
}

void table_print_within(ath_str json, const char *rows, const char *columns, size_t width,
                        FILE *out)
{
    struct table t = { .n = 0 };
    struct json_error why;
    const struct json *v;

    arena_init(&t.arena);
    v = json_read(json, (struct json_memory){ arena_raw, &t.arena }, VALUES_MOST, &why);
    if (v)
        put_tables(&t, v, str_of(rows), str_of(columns), width, out);
    else
        fprintf(out, "%.*s\n", STR_ARG(json));
    arena_free(&t.arena);
}

void table_print(ath_str json, const char *rows, const char *columns, FILE *out)
{
    struct winsize w = { 0 };
    int fd = fileno(out);
    bool terminal = fd >= 0 && isatty(fd) && ioctl(fd, TIOCGWINSZ, &w) == 0;

    table_print_within(json, rows, columns, terminal ? w.ws_col : 0, out);
}

/* ---- JSON ---- */

static void put_indent(int depth, FILE *out)
{
    fprintf(out, "\n%*s", depth * 2, "");
}

/* Scalars as they stand in the source, keys written anew. */
static void put_json(const struct json *v, int depth, FILE *out)
{
    bool object = v->type == JSON_OBJECT;

    if ((!object && v->type != JSON_ARRAY) || v->count == 0) {
        fprintf(out, "%.*s", STR_ARG(v->raw));
        return;
    }
    fputc(object ? '{' : '[', out);
    for (const struct json *m = v->first; m; m = m->next) {
        put_indent(depth + 1, out);
        if (object) {
            struct buf key = BUF_HEAP;
            buf_json(&key, m->key);
            fprintf(out, "%s: ", key.p);
            buf_free(&key);
        }
        put_json(m, depth + 1, out);
        if (m->next)
            fputc(',', out);
    }
    put_indent(depth, out);
    fputc(object ? '}' : ']', out);
}

void table_json(ath_str json, FILE *out)
{
    struct json_error why;
    const struct json *v;
    ath_arena arena;

    arena_init(&arena);
    v = json_read(json, (struct json_memory){ arena_raw, &arena }, VALUES_MOST, &why);
    if (v)
        put_json(v, 0, out);
    else
        fprintf(out, "%.*s", STR_ARG(json));
    fputc('\n', out);
    arena_free(&arena);
}
