/* Printing the tables. */
#include "config/reference.h"

#include "config/published.h"
#include "config/value.h"

static const char *type_name(const ath_field *f)
{
    switch (f->type) {
    case ATH_T_INT:
        return "integer";
    case ATH_T_BOOL:
        return "boolean";
    case ATH_T_MSEC:
        return "duration";
    case ATH_T_BYTES:
        return "size";
    case ATH_T_REAL:
        return "number";
    default:
        return f->range ? "word" : "text";
    }
}

/* The range that counts for the field's own place. */
static const char *range_name(const struct config_table *t, const ath_field *f)
{
    char place[160];
    const char *published;

    snprintf(place, sizeof(place), "%s.%s", t->section, f->key);
    published = published_range(str_of(place));
    return published ? published : f->range ? f->range : "";
}

/* Where else it is read, in the order in which it counts, with `quote` around each name. */
static void put_sources(struct buf *b, const struct config_table *t, const ath_field *f,
                        const char *quote)
{
    ath_str rest = str_of(f->alias), word;

    while (str_next(&rest, ' ', &word))
        if (word.n && word.p[0] == '$')
            buf_printf(b, "%s%.*s%s, ", quote, STR_ARG(str_after(word, 1)), quote);
    buf_z(b, quote);
    config_variable(b, str_of(t->section), str_of(f->key));
    buf_z(b, quote);
    rest = str_of(f->alias);
    while (str_next(&rest, ' ', &word))
        if (word.n && word.p[0] != '$')
            buf_printf(b, ", %s%.*s%s", quote, STR_ARG(word), quote);
}

static void put_default(struct buf *b, const ath_field *f, const char *required)
{
    if (!f->def)
        buf_z(b, required);
    else
        buf_z(b, f->def[0] ? f->def : "\"\"");
}

void reference_help(struct buf *b, const struct config_table *t)
{
    ath_field f;

    buf_printf(b, "%s%s%s\n", t->section, t->title ? "  " : "", t->title ? t->title : "");
    for (uint32_t i = 0; i < t->field_count; i++) {
        const char *range;
        config_field(t, i, &f);
        range = range_name(t, &f);
        buf_printf(b, "\n  %s  %s", f.key, type_name(&f));
        if (range[0])
            buf_printf(b, " %s", range);
        buf_lit(b, ", default ");
        put_default(b, &f, "none: required");
        buf_printf(b, "%s%s\n      %s\n      also read from ",
                   f.flags & ATH_CF_SECRET ? ", secret" : "",
                   f.flags & ATH_CF_RELOAD ? ", reloads" : "", f.help ? f.help : "");
        put_sources(b, t, &f, "");
        buf_char(b, '\n');
    }
}

static void put_cell(struct buf *b, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            buf_char(b, '\\');
        buf_char(b, *text);
    }
    buf_lit(b, " | ");
}

void reference_markdown(struct buf *b, const struct config_table *t)
{
    ath_field f;

    buf_printf(b, "## %s\n\n", t->section);
    if (t->title)
        buf_printf(b, "%s\n\n", t->title);
    buf_lit(b, "| key | type | range | default | meaning | also read from |\n"
               "| --- | --- | --- | --- | --- | --- |\n");
    for (uint32_t i = 0; i < t->field_count; i++) {
        config_field(t, i, &f);
        buf_printf(b, "| `%s` | %s | ", f.key, type_name(&f));
        put_cell(b, range_name(t, &f));
        put_default(b, &f, "required");
        buf_lit(b, " | ");
        if (f.flags & ATH_CF_SECRET)
            buf_lit(b, "**Secret.** ");
        if (f.flags & ATH_CF_RELOAD)
            buf_lit(b, "Reloads. ");
        put_cell(b, f.help ? f.help : "");
        put_sources(b, t, &f, "`");
        buf_lit(b, " |\n");
    }
    buf_char(b, '\n');
}

/* Quoted where YAML would read something else. */
static void put_yaml(struct buf *b, const char *def)
{
    bool plain = def[0] && !strchr(" '\"#&*!|>%@`[]{},?:-", def[0]);

    for (const char *p = def; plain && *p; p++)
        plain = *p != '#' && *p != ':' && *p != '"' && *p != '\\';
    if (plain)
        buf_z(b, def);
    else
        buf_printf(b, "\"%s\"", def);
}

static const char *stated_value(const char *const *stated, const char *key)
{
    for (; stated && stated[0]; stated += 2)
        if (strcmp(stated[0], key) == 0)
            return stated[1];
    return NULL;
}

void reference_sample(struct buf *b, const struct config_table *t, const char *const *stated)
{
    bool list = published_section(str_of(t->section)) != NULL;
    ath_field f;

    if (t->title)
        buf_printf(b, "# %s\n", t->title);
    buf_printf(b, "%s:\n", t->section);
    for (uint32_t i = 0; i < t->field_count; i++) {
        const char *range, *value;
        config_field(t, i, &f);
        range = range_name(t, &f);
        value = stated_value(stated, f.key);
        buf_printf(b, "%s# %s", list ? "" : "  ", f.help ? f.help : "");
        if (range[0])
            buf_printf(b, " (%s)", range);
        buf_printf(b, "\n%s%s%s%s: ", list ? "" : "  ", f.def && !value ? "#" : "",
                   list ? "- " : "", f.key);
        if (value)
            put_yaml(b, value);
        else if (f.def)
            put_yaml(b, f.def);
        else
            buf_lit(b, "\"\"  # required");
        buf_char(b, '\n');
    }
    buf_char(b, '\n');
}

void reference_sample_head(struct buf *b, const char *const *plugins, size_t n)
{
    buf_lit(b, "# Every key with its default. Durations: 250ms 5s 10m; sizes: 64k 2m; ${NAME} and\n"
               "# ${NAME:-default} as a whole value are replaced from the environment.\n\n"
               "# What is loaded; the order does not matter. Without the list: the usual ones of "
               "the role.\n"
               "plugins: [");
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s%s", i ? ", " : "", plugins[i]);
    buf_lit(b, "]\n#optional_plugins: []   # may fail to load\n\n"
               "# Logical names of databases, each with its URI. The control plane is one of them: see "
               "gateway.logging_client.\n"
               "postgres_clients:\n"
               "- app: ${POSTGRES_APP_URI}\n"
               "#- acme: postgres://acme@db.internal/acme\n"
               "#- athena_logging: ${POSTGRES_ATHENA_LOGGING_URI}\n\n");
}
