/* A definition, member by member, from three objects: source, transform, sink.
 *
 * Nothing is skipped: a member with another name or type would change what is moved, so it is
 * refused and named. A null is as good as absent: what a template says stays.
 */
#include "pipelines.h"

#define refuse(e, ...) ath_raise((e), "invalid_pipeline_definition", __VA_ARGS__)

enum { COLUMNS_MOST = 1600 }; /* of a table, in PostgreSQL */

enum kind { TEXT, TEXTS, LIST, COUNT, TRUTH, NAMES };

struct member {
    const char *name, *choices; /* choices: words that are allowed, between bars; NULL: any */
    enum kind kind;
    size_t off;
};

#define MEMBER(name_, kind_, m, choices_)                                                          \
    {                                                                                              \
        name_, choices_, kind_, offsetof(struct definition, m)                                     \
    }

static const struct member source[] = {
    MEMBER("table_name", TEXT, source_table, NULL),
    MEMBER("view_name", TEXT, source_table, NULL), /* behind the table: a view goes before it */
    MEMBER("columns", TEXTS, columns, NULL),
    MEMBER("conditions", LIST, conditions, NULL),
    MEMBER("limit", COUNT, limit, NULL),
    MEMBER("client", TEXT, source_client, NULL),
};
static const struct member changes[] = {
    MEMBER("group_by", TEXT, group_by, NULL),
    MEMBER("time_granularity", TEXT, granularity, "day|hour|minute"),
    MEMBER("aggregation_column", TEXT, sum_column, NULL),
    MEMBER("aggregation_strategy", TEXT, strategy, "cumulative_sum"),
    MEMBER("aggregation_dedup", TRUTH, dedup, NULL),
    MEMBER("column_aliases", NAMES, aliases, NULL),
};
static const struct member sink[] = {
    MEMBER("table_name", TEXT, sink_table, NULL),
    MEMBER("client", TEXT, sink_client, NULL),
};

static const struct section {
    const char *name;
    const struct member *member;
    size_t count;
} sections[] = {
    { "source", source, ATH_COUNT(source) },
    { "transform", changes, ATH_COUNT(changes) },
    { "sink", sink, ATH_COUNT(sink) },
};

static bool is_text(const struct json *v)
{
    return v->type == JSON_STRING && !v->nul && str_trim(v->text).n;
}

static bool all_texts(const struct json *list)
{
    json_each(v, list)
    {
        if (!is_text(v))
            return false;
    }
    return true;
}

static bool is_choice(const char *choices, ath_str text)
{
    ath_str rest = str_of(choices), word;

    while (str_next(&rest, '|', &word))
        if (str_eq(word, text))
            return true;
    return !choices;
}

static const char *wanted(enum kind kind)
{
    static const char *const words[] = {
        [TEXT] = "a text",         [TEXTS] = "a list of texts",
        [LIST] = "a list",         [COUNT] = "a whole number that is not negative",
        [TRUTH] = "true or false", [NAMES] = "an object of texts",
    };

    return words[kind];
}

static bool fits(const struct json *v, enum kind kind)
{
    int64_t n;

    switch (kind) {
    case TEXT:
        return is_text(v);
    case TEXTS:
        return is_text(v) || (v->type == JSON_ARRAY && all_texts(v));
    case LIST:
        return v->type == JSON_ARRAY;
    case COUNT:
        return json_i64(v, &n) && n >= 0;
    case TRUTH:
        return v->type == JSON_TRUE || v->type == JSON_FALSE;
    case NAMES:
        return v->type == JSON_OBJECT && all_texts(v);
    }
    return false;
}

static void set(void *at, const struct json *v, enum kind kind)
{
    if (kind == TEXT)
        *(ath_str *)at = str_trim(v->text);
    else if (kind == COUNT)
        (void)json_i64(v, at);
    else if (kind == TRUTH)
        *(bool *)at = v->type == JSON_TRUE;
    else
        *(const struct json **)at = v;
}

static int read_member(struct definition *d, const struct section *s, const struct member *m,
                       const struct json *v, ath_err *e)
{
    if (!fits(v, m->kind))
        return refuse(e, "%s.%s must be %s", s->name, m->name, wanted(m->kind));
    if (m->choices && !is_choice(m->choices, v->text))
        return refuse(e, "%s.%s must be one of %s, not \"%.*s\"", s->name, m->name, m->choices,
                      STR_ARG(v->text));
    set((char *)d + m->off, v, m->kind);
    return 0;
}

static int unknown(const struct section *s, const struct json *v, ath_err *e)
{
    json_each(at, v)
    {
        size_t i = 0;
        while (i < s->count && !str_is(at->key, s->member[i].name))
            i++;
        if (i == s->count)
            return refuse(e, "%s has no member \"%.*s\"", s->name, STR_ARG(at->key));
    }
    return 0;
}

static int read_section(struct definition *d, const struct section *s, const struct json *v,
                        ath_err *e)
{
    int rc = 0;

    if (v->type != JSON_OBJECT)
        return refuse(e, "%s must be an object", s->name);
    for (size_t i = 0; i < s->count && rc == 0; i++) {
        const struct json *member = json_given(v, s->member[i].name);
        if (member)
            rc = read_member(d, s, &s->member[i], member, e);
    }
    return rc < 0 ? rc : unknown(s, v, e);
}

static int read_request(struct definition *d, const struct json *v, ath_err *e)
{
    const struct json *name = json_given(v, "pipeline"), *dry = json_given(v, "dry_run");

    if (name && (!is_text(name) || name->text.n > NAME_MOST))
        return refuse(e, "pipeline must be a name of at most %d bytes", NAME_MOST);
    if (dry && !fits(dry, TRUTH))
        return refuse(e, "dry_run must be %s", wanted(TRUTH));
    if (name)
        d->name = str_trim(name->text);
    d->dry_run = d->dry_run || (dry && dry->type == JSON_TRUE);
    return 0;
}

static const struct section *section_of(ath_str name)
{
    for (size_t i = 0; i < ATH_COUNT(sections); i++)
        if (str_is(name, sections[i].name))
            return &sections[i];
    return NULL;
}

int definition_read(struct definition *d, const struct json *v, bool request, ath_err *e)
{
    int rc = 0;

    if (v->type != JSON_OBJECT)
        return refuse(e, "a pipeline must be an object");
    if (request && (rc = read_request(d, v, e)) < 0)
        return rc;
    for (const struct json *at = v->first; at && rc == 0; at = at->next) {
        const struct section *s = section_of(at->key);
        if (s && at->type != JSON_NULL)
            rc = read_section(d, s, at, e);
        else if (!s && !(request && (str_is(at->key, "pipeline") || str_is(at->key, "dry_run"))))
            rc = refuse(e, "a pipeline has no member \"%.*s\"", STR_ARG(at->key));
    }
    return rc;
}

int definition_check(const struct definition *d, ath_err *e)
{
    if (!d->source_table.n)
        return refuse(e, "source.table_name or source.view_name is required");
    if (!d->sink_table.n)
        return refuse(e, "sink.table_name is required");
    if (!d->group_by.n && (d->granularity.n || d->sum_column.n || d->strategy.n || d->dedup))
        return refuse(e, "transform.group_by is required by the rest of transform");
    if (d->strategy.n && !d->sum_column.n)
        return refuse(e, "aggregation_strategy requires aggregation_column");
    if (d->dedup && !d->sum_column.n)
        return refuse(e, "aggregation_dedup requires aggregation_column");
    if (d->aliases && d->aliases->count > COLUMNS_MOST)
        return refuse(e, "column_aliases names more than %d columns", COLUMNS_MOST);
    if (d->group_by.n && str_eq(d->group_by, d->sum_column))
        return refuse(e, "group_by and aggregation_column are the same column \"%.*s\"",
                      STR_ARG(d->group_by));
    return 0;
}
