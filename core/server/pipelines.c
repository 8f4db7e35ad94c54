/* From YAML nodes to one JSON text, which is all that is kept. Each value is written as the type
 * that its key has, so `table_name: 2024` is a text; only conditions, whose values may be of any
 * type, are read as YAML reads them. */
#include "server/pipelines.h"

#include <errno.h>
#include <pthread.h>

#include "lib/json.h"
#include "log/log.h"

enum kind { TEXT = 1, TEXTS, ANY_LIST, COUNT, TRUTH, NAMES };

static const struct key {
    const char *section, *name;
    enum kind kind;
} keys[] = {
    { "source", "table_name", TEXT },
    { "source", "view_name", TEXT },
    { "source", "columns", TEXTS },
    { "source", "conditions", ANY_LIST },
    { "source", "limit", COUNT },
    { "source", "client", TEXT },
    { "transform", "group_by", TEXT },
    { "transform", "time_granularity", TEXT },
    { "transform", "aggregation_column", TEXT },
    { "transform", "aggregation_strategy", TEXT },
    { "transform", "aggregation_dedup", TRUTH },
    { "transform", "column_aliases", NAMES },
    { "sink", "table_name", TEXT },
    { "sink", "client", TEXT },
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows */
static struct buf kept;
static uint32_t count;
static bool loaded;

struct reading {
    struct config_report rep;
    struct buf b;
    uint32_t count;
};

/* ---- values ---- */

static bool is_null(const struct conf_node *n)
{
    return n->kind == CONF_TEXT && n->plain &&
           (n->text.n == 0 || str_is(n->text, "~") || str_is(n->text, "null"));
}

/* As JSON spells numbers: -12, 0.5, 1e9. */
static bool is_number(ath_str s)
{
    size_t digits = s.n && s.p[0] == '-' ? 1 : 0;
    double v;

    if (!str_double(s, &v) || digits == s.n || s.p[digits] < '0' || s.p[digits] > '9')
        return false;
    if (s.p[digits] == '0' && digits + 1 < s.n && s.p[digits + 1] >= '0' && s.p[digits + 1] <= '9')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("0123456789+-.eE", s.p[i]))
            return false;
    return s.p[s.n - 1] != '.';
}

static void put_any(struct buf *b, const struct conf_node *n)
{
    if (n->kind == CONF_TEXT) {
        if (is_null(n))
            buf_lit(b, "null");
        else if (n->plain &&
                 (is_number(n->text) || str_is(n->text, "true") || str_is(n->text, "false")))
            buf_str(b, n->text);
        else
            buf_json(b, n->text);
        return;
    }
    buf_char(b, n->kind == CONF_MAP ? '{' : '[');
    for (const struct conf_link *l = n->first; l; l = l->next) {
        if (l != n->first)
            buf_char(b, ',');
        if (l->key) {
            buf_json(b, l->key->text);
            buf_char(b, ':');
        }
        put_any(b, l->value);
    }
    buf_char(b, n->kind == CONF_MAP ? '}' : ']');
}

static bool all_texts(const struct conf_node *n)
{
    for (const struct conf_link *l = n->first; l; l = l->next)
        if (l->value->kind != CONF_TEXT)
            return false;
    return true;
}

/* A list or a map of texts, whatever they look like. */
static void put_texts(struct buf *b, const struct conf_node *n)
{
    buf_char(b, n->kind == CONF_MAP ? '{' : '[');
    for (const struct conf_link *l = n->first; l; l = l->next) {
        if (l != n->first)
            buf_char(b, ',');
        if (l->key) {
            buf_json(b, l->key->text);
            buf_char(b, ':');
        }
        buf_json(b, l->value->text);
    }
    buf_char(b, n->kind == CONF_MAP ? '}' : ']');
}

static bool put_value(struct buf *b, enum kind kind, const struct conf_node *n)
{
    uint64_t number;
    bool truth;

    if (kind == TEXT && n->kind == CONF_TEXT)
        buf_json(b, n->text);
    else if (kind == COUNT && n->kind == CONF_TEXT && str_u64(n->text, &number))
        buf_u64(b, number);
    else if (kind == TRUTH && n->kind == CONF_TEXT && str_bool(n->text, &truth))
        buf_z(b, truth ? "true" : "false");
    else if (kind == ANY_LIST && n->kind == CONF_LIST)
        put_any(b, n);
    else if (kind == (n->kind == CONF_MAP ? NAMES : TEXTS) && n->kind != CONF_TEXT && all_texts(n))
        put_texts(b, n);
    else
        return false;
    return true;
}

/* ---- keys ---- */

static const char *wanted(enum kind kind)
{
    static const char *const words[] = {
        [TEXT] = "a text",         [TEXTS] = "a list of texts",
        [ANY_LIST] = "a list",     [COUNT] = "a whole number that is not negative",
        [TRUTH] = "true or false", [NAMES] = "a map of texts",
    };

    return words[kind];
}

static void unknown(struct reading *x, const char *section, const struct conf_node *key)
{
    struct config_nearest near;

    config_error(&x->rep, &key->at, "unknown key \"%.*s\" of %s", STR_ARG(key->text),
                 section ? section : "a pipeline");
    nearest_begin(&near, key->text);
    for (size_t i = 0; i < ATH_COUNT(keys); i++)
        if (section ? strcmp(keys[i].section, section) == 0
                    : i == 0 || strcmp(keys[i].section, keys[i - 1].section) != 0)
            nearest_try(&near, str_of(section ? keys[i].name : keys[i].section));
    if (near.best.n)
        config_hint(&x->rep, "Did you mean \"%.*s\"?", STR_ARG(near.best));
}

static const struct key *find(const char *section, ath_str name)
{
    for (size_t i = 0; i < ATH_COUNT(keys); i++)
        if (strcmp(keys[i].section, section) == 0 && str_is(name, keys[i].name))
            return &keys[i];
    return NULL;
}

static void put_section(struct reading *x, const char *section, const struct conf_node *n)
{
    buf_json_key(&x->b, section);
    buf_char(&x->b, '{');
    if (n->kind != CONF_MAP)
        config_error(&x->rep, &n->at, "%s is a %s, expected a map", section,
                     conf_kind_name(n->kind));
    for (const struct conf_link *l = n->kind == CONF_MAP ? n->first : NULL; l; l = l->next) {
        const struct key *k = find(section, l->key->text);
        if (!k) {
            unknown(x, section, l->key);
        } else if (!is_null(l->value)) {
            buf_json_key(&x->b, k->name);
            if (!put_value(&x->b, k->kind, l->value))
                config_error(&x->rep, &l->value->at, "%s.%s must be %s", section, k->name,
                             wanted(k->kind));
        }
    }
    buf_char(&x->b, '}');
}

static bool has(const struct conf_node *pipeline, const char *section, const char *key)
{
    const struct conf_node *n = conf_get(pipeline, section);

    n = n && n->kind == CONF_MAP ? conf_get(n, key) : NULL;
    return n && !is_null(n);
}

static void check_whole(struct reading *x, const struct conf_node *pipeline)
{
    if (!has(pipeline, "source", "table_name") && !has(pipeline, "source", "view_name"))
        config_error(&x->rep, &pipeline->at, "missing key source.table_name or source.view_name");
    if (!has(pipeline, "sink", "table_name"))
        config_error(&x->rep, &pipeline->at, "missing key sink.table_name");
}

static void put_sections(struct reading *x, const struct conf_node *pipeline)
{
    static const char *const sections[] = { "source", "transform", "sink" };

    for (size_t i = 0; i < ATH_COUNT(sections); i++) {
        const struct conf_node *n = conf_get(pipeline, sections[i]);
        if (n && !is_null(n))
            put_section(x, sections[i], n);
    }
    for (const struct conf_link *l = pipeline->first; l; l = l->next) {
        size_t i = 0;
        while (i < ATH_COUNT(sections) && !str_is(l->key->text, sections[i]))
            i++;
        if (i == ATH_COUNT(sections) && !str_is(l->key->text, "name"))
            unknown(x, NULL, l->key);
    }
}

/* ---- the file ---- */

static ath_str name_of(const struct conf_node *pipeline)
{
    const struct conf_node *n = conf_get(pipeline, "name");

    return n && n->kind == CONF_TEXT ? str_trim(n->text) : (ath_str){ "", 0 };
}

static void check_name(struct reading *x, const struct conf_node *list,
                       const struct conf_node *pipeline)
{
    ath_str name = name_of(pipeline);

    if (!name.n)
        config_error(&x->rep, &pipeline->at, "missing key name");
    for (const struct conf_link *l = list->first; name.n && l->value != pipeline; l = l->next)
        if (l->value->kind == CONF_MAP && str_ieq(name_of(l->value), name))
            config_error(&x->rep, &pipeline->at, "the name \"%.*s\" is taken in line %u",
                         STR_ARG(name), l->value->at.line);
}

static void put_pipeline(struct reading *x, const struct conf_node *list,
                         const struct conf_node *pipeline)
{
    if (pipeline->kind != CONF_MAP) {
        config_error(&x->rep, &pipeline->at, "a pipeline is a %s, expected a map",
                     conf_kind_name(pipeline->kind));
        return;
    }
    check_name(x, list, pipeline);
    check_whole(x, pipeline);
    if (x->count++)
        buf_char(&x->b, ',');
    buf_char(&x->b, '{');
    buf_json_str(&x->b, "name", name_of(pipeline));
    buf_lit(&x->b, ",\"definition\":{");
    put_sections(x, pipeline);
    buf_lit(&x->b, "}}");
}

static void read_root(struct reading *x, const char *file, const struct conf_node *root)
{
    const struct conf_node *list =
        root && root->kind == CONF_MAP ? conf_get(root, "pipelines") : NULL;
    struct config_place whole = { .file = file };

    if (!list || list->kind != CONF_LIST) {
        config_error(&x->rep,
                     list   ? &list->at
                     : root ? &root->at
                            : &whole,
                     "missing key pipelines, a list");
        return;
    }
    for (const struct conf_link *l = root->first; l; l = l->next)
        if (!str_is(l->key->text, "pipelines"))
            config_error(&x->rep, &l->key->at, "unknown key \"%.*s\" of the file",
                         STR_ARG(l->key->text));
    for (const struct conf_link *l = list->first; l; l = l->next)
        put_pipeline(x, list, l->value);
}

static void say(const char *file, const char *why)
{
    log_write(ATH_WARN, "athena::bootstrap",
              "Failed to load pipelines registry path=%s error=\"%s\"", file, why);
}

static void say_notes(const struct reading *x, const char *file)
{
    for (size_t i = 0; i < x->rep.n; i++) {
        struct buf b = BUF_HEAP;
        config_note_line(&x->rep.note[i], &b);
        say(file, buf_view(&b).p);
        buf_free(&b);
    }
}

/* A file that is not accepted changes nothing. */
static void keep(struct reading *x)
{
    pthread_mutex_lock(&lock);
    buf_free(&kept);
    kept = x->b;
    count = x->count;
    loaded = true;
    pthread_mutex_unlock(&lock);
}

bool pipelines_load(const struct config *c, ath_str path)
{
    struct reading x = { .b = BUF_HEAP };
    const struct conf_node *root = NULL;
    const char *file;
    bool good;
    ath_err e;

    err_reset(&e);
    config_report_init(&x.rep);
    file = config_companion(c, &x.rep.arena, path.p);
    buf_char(&x.b, '[');
    if (yaml_read(&x.rep.arena, file, &root, &x.rep, &e) == ATH_E_MISSING)
        say(file, e.message);
    else if (!x.rep.errors)
        read_root(&x, file, root);
    say_notes(&x, file);
    buf_char(&x.b, ']');
    good = e.rc == 0 && !x.rep.errors;
    if (good)
        keep(&x);
    else
        buf_free(&x.b);
    config_report_free(&x.rep);
    return good;
}

void pipelines_free(void)
{
    pthread_mutex_lock(&lock);
    buf_free(&kept);
    loaded = false;
    count = 0;
    pthread_mutex_unlock(&lock);
}

bool pipelines_loaded(void)
{
    bool is;

    pthread_mutex_lock(&lock);
    is = loaded;
    pthread_mutex_unlock(&lock);
    return is;
}

uint32_t pipelines_count(void)
{
    uint32_t n;

    pthread_mutex_lock(&lock);
    n = count;
    pthread_mutex_unlock(&lock);
    return n;
}

void pipelines_json(struct buf *b)
{
    pthread_mutex_lock(&lock);
    buf_str(b, kept.n ? buf_view(&kept) : ATH_S("[]"));
    pthread_mutex_unlock(&lock);
}
