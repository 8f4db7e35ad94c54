/* Filling a struct from its table.
 *
 * find() walks the places and stops at the first that has the field: a `given`. set() turns it into
 * the value; what is wrong with it becomes a warning or an error, by the place that it came from.
 */
#include "config/field.h"

#include <ctype.h>

#include "config/published.h"
#include "config/value.h"

struct given {
    ath_str text;
    ath_str place; /* "gateway.max_rows", "ATHENA_X": names unit and range */
    ath_str name;  /* the same, or the generic variable, for messages */
    struct config_place at;
    const char *source;
    bool strict, variable, flag;
    const char *unset; /* the variable that ${...} names and nobody sets */
};

struct fill {
    const struct config *c;
    const struct config_table *t;
    struct config_report *rep;
    bool own;         /* the table's section is none of the published ones */
    ath_arena *arena; /* of the configuration */
};

/* The configuration is const for its readers; filling adds to its memory on the opening thread. */
static ath_arena *arena_of(const struct config *c)
{
    return (ath_arena *)(uintptr_t)&c->arena;
}

void config_field(const struct config_table *t, uint32_t i, ath_field *ret)
{
    size_t n = t->field_size < sizeof(*ret) ? t->field_size : sizeof(*ret);

    memset(ret, 0, sizeof(*ret));
    memcpy(ret, (const char *)t->field + (size_t)i * t->field_size, n);
}

void config_variable(struct buf *b, ath_str section, ath_str key)
{
    const ath_str part[] = { section, key };

    buf_lit(b, "ATHENA");
    for (size_t i = 0; i < ATH_COUNT(part); i++) {
        bool gap = true;
        for (size_t j = 0; j < part[i].n; j++) {
            unsigned char ch = (unsigned char)part[i].p[j];
            if (!isalnum(ch)) {
                gap = true;
                continue;
            }
            if (gap)
                buf_char(b, '_');
            gap = false;
            buf_char(b, (char)toupper(ch));
        }
    }
}

bool config_resolve(const struct config *c, ath_str text, ath_str *ret)
{
    struct env_reference ref;

    *ret = text;
    if (!env_reference(text, &ref))
        return true;
    if (!env_get(&c->env, ref.name, ret)) {
        *ret = ref.has_fallback ? arena_str(arena_of(c), ref.fallback) : (ath_str){ "", 0 };
        return ref.has_fallback;
    }
    if (ref.has_fallback && str_trim(*ret).n == 0)
        *ret = arena_str(arena_of(c), ref.fallback);
    return true;
}

/* ---- finding ---- */

static ath_str own_place(struct fill *f, const ath_field *fd)
{
    return arena_printf(f->arena, "%s.%s", f->t->section, fd->key);
}

static bool find_override(struct fill *f, const ath_field *fd, struct given *g)
{
    for (const struct config_override *o = f->c->overrides; o; o = o->next) {
        if (!str_is(o->section, f->t->section) || !str_is(o->key, fd->key))
            continue;
        *g = (struct given){ .text = o->value,
                             .place = own_place(f, fd),
                             .strict = true,
                             .flag = true,
                             .at = { .name = o->flag },
                             .source = "command line" };
        return true;
    }
    return false;
}

/* A blank variable counts as not there, except that a text may consist of blanks. */
static bool find_variable(struct fill *f, const ath_field *fd, ath_str name, bool generic,
                          bool strict, struct given *g)
{
    ath_str v;

    if (!env_get(&f->c->env, name, &v) || v.n == 0)
        return false;
    if (generic || fd->type != ATH_T_STR) {
        v = arena_str(f->arena, str_trim(v));
        if (v.n == 0)
            return false;
    }
    *g = (struct given){
        .text = v,
        .place = name,
        .name = name,
        .strict = strict,
        .variable = true,
        .at = { .name = arena_printf(f->arena, "environment variable %.*s", STR_ARG(name)).p },
        .source = "environment"
    };
    return true;
}

static bool find_generic(struct fill *f, const ath_field *fd, ath_str section, ath_str key,
                         struct given *g)
{
    struct buf name = ARENA_BUF(f->arena);
    bool strict = !published_section(section) || fd->flags & CONFIG_CF_STRICT;

    config_variable(&name, section, key);
    if (!find_variable(f, fd, buf_view(&name), true, strict, g))
        return false;
    g->place = arena_printf(f->arena, "%.*s.%.*s", STR_ARG(section), STR_ARG(key));
    return true;
}

static ath_str text_of(struct fill *f, const struct conf_node *value)
{
    struct buf b = ARENA_BUF(f->arena);

    if (value->kind == CONF_TEXT)
        return value->text;
    for (const struct conf_link *l = value->first; l; l = l->next) {
        if (b.n)
            buf_char(&b, ',');
        buf_str(&b, l->value->text);
    }
    return buf_view(&b);
}

/* Empty means absent; in a section of ours a text may be "" when it is quoted. */
static bool find_file(struct fill *f, const ath_field *fd, ath_str section, ath_str key,
                      struct given *g)
{
    const struct config_key *k = config_key(f->c, section, key);
    struct env_reference ref;
    bool strict = !published_section(section) || fd->flags & CONFIG_CF_STRICT, quoted;
    ath_str text;

    if (!k || k->value->kind == CONF_MAP)
        return false;
    quoted = k->value->kind == CONF_TEXT && !k->value->plain;
    *g = (struct given){ .strict = strict, .at = k->value->at, .source = "file" };
    g->place = g->name = arena_printf(f->arena, "%.*s.%.*s", STR_ARG(section), STR_ARG(key));
    text = text_of(f, k->value);
    if (!config_resolve(f->c, text, &g->text)) {
        env_reference(text, &ref);
        if (strict)
            g->unset = arena_str(f->arena, ref.name).p;
        return strict;
    }
    if (fd->type != ATH_T_STR || !strict)
        g->text = arena_str(f->arena, str_trim(g->text));
    return g->text.n > 0 || (strict && quoted);
}

static bool alias_next(ath_str *rest, ath_str *ret)
{
    while (str_next(rest, ' ', ret))
        if (ret->n)
            return true;
    return false;
}

/* Calls one of the finders for each alias of a kind. */
static bool find_alias(struct fill *f, const ath_field *fd, int kind, struct given *g)
{
    ath_str rest = str_of(fd->alias), word;

    while (alias_next(&rest, &word)) {
        size_t dot = str_find(word, '.');
        ath_str section = str_from(word.p, dot), key = str_after(word, dot + 1);
        bool own = word.p[0] == '$';
        if (own != (kind == '$') || (!own && dot == word.n))
            continue;
        if (kind == '$' && find_variable(f, fd, arena_str(f->arena, str_after(word, 1)), false,
                                         fd->flags & CONFIG_CF_STRICT, g))
            return true;
        if (kind == 'g' && find_generic(f, fd, section, key, g))
            return true;
        if (kind == 'f' && find_file(f, fd, section, key, g))
            return true;
    }
    return false;
}

static bool find(struct fill *f, const ath_field *fd, struct given *g)
{
    ath_str section = str_of(f->t->section), key = str_of(fd->key);

    return find_override(f, fd, g) || find_alias(f, fd, '$', g) ||
           find_generic(f, fd, section, key, g) || find_alias(f, fd, 'g', g) ||
           find_file(f, fd, section, key, g) || find_alias(f, fd, 'f', g);
}

/* ---- judging ---- */

/* The operator's own range for a place. */
static const struct config_range *stated_range(const struct config *c, ath_str place)
{
    const struct config_range *r = c->ranges;

    while (r && !str_eq(r->place, place))
        r = r->next;
    return r;
}

/* Whole numbers: the minimum is rounded up, the maximum down. */
static void operators_range(const ath_field *fd, ath_str place, const struct config_range *r,
                            struct value_range *ret)
{
    bool whole = fd->type != ATH_T_REAL;
    long double unit = fd->type == ATH_T_MSEC ? (long double)value_unit(place) : 1;

    ret->min = (whole ? __builtin_ceill(r->min) : (long double)r->min) * unit;
    ret->max = (whole ? __builtin_floorl(r->max) : (long double)r->max) * unit;
    ret->stated = true;
}

/* The range of a place within the field's own. False: the table is wrong. */
static bool range_of(struct fill *f, const ath_field *fd, ath_str place, struct value_range *ret)
{
    const struct config_range *operators = stated_range(f->c, place);
    const char *text = published_range(place);
    struct value_range own;

    if (!value_range(fd->type, own_place(f, fd), fd->range, &own))
        return false;
    *ret = own;
    if (text && !value_range(fd->type, place, text, ret))
        return false;
    if (text && operators)
        operators_range(fd, place, operators, ret);
    if (ret->min < own.min)
        ret->min = own.min;
    if (ret->max > own.max)
        ret->max = own.max;
    return true;
}

static enum value_fault judge(const ath_field *fd, const struct given *g,
                              const struct value_range *r, long double *v)
{
    if (!value_number(fd->type, g->place, g->text, v))
        return VALUE_PARSE;
    if (fd->type == ATH_T_BOOL)
        return VALUE_OK;
    return *v < r->min ? VALUE_BELOW : *v > r->max ? VALUE_ABOVE : VALUE_OK;
}

static void put_range(struct buf *b, const ath_field *fd, ath_str place,
                      const struct value_range *r)
{
    value_format(b, fd->type, place, r->min);
    buf_lit(b, "..");
    value_format(b, fd->type, place, r->max);
}

/* The value as it may be shown: cut, and never of a secret. */
static const char *shown(struct fill *f, const ath_field *fd, ath_str text)
{
    struct buf b = ARENA_BUF(f->arena);

    if (fd->flags & ATH_CF_SECRET)
        return "(secret)";
    for (size_t i = 0; i < text.n && i < 60; i++)
        buf_char(&b, (unsigned char)text.p[i] < ' ' ? '?' : text.p[i]);
    if (text.n > 60)
        buf_lit(&b, "...");
    return b.n ? b.p : "";
}

/* The name a message calls the field by: its key, or the place when that is another's. */
static const char *called(struct fill *f, const ath_field *fd, const struct given *g)
{
    if (g->flag || g->variable)
        return g->flag ? fd->key : "value";
    return str_ends(g->place, fd->key) ? fd->key : arena_str(f->arena, g->place).p;
}

static void strict_error(struct fill *f, const ath_field *fd, const struct given *g,
                         enum value_fault fault, const struct value_range *r)
{
    struct buf b = ARENA_BUF(f->arena);
    bool bare = fault == VALUE_BELOW || fault == VALUE_ABOVE;

    if (g->unset) {
        config_error(f->rep, &g->at, "%s names variable \"%s\", which is not set", called(f, fd, g),
                     g->unset);
        config_hint(f->rep, "Set it, or write ${%s:-default}.", g->unset);
        return;
    }
    if (bare) {
        buf_lit(&b, "within ");
        put_range(&b, fd, g->place, r);
    } else if (fault == VALUE_CHOICE) {
        buf_lit(&b, "one of ");
        for (const char *p = fd->range; *p; p++)
            *p == '|' ? buf_lit(&b, ", ") : buf_char(&b, *p);
    } else {
        buf_z(&b, value_wanted(fd->type));
    }
    config_error(f->rep, &g->at, bare ? "%s is %s, but must be %s" : "%s is \"%s\", but must be %s",
                 called(f, fd, g), shown(f, fd, g->text), b.p);
}

static const char *reason_of(enum value_fault fault)
{
    return fault == VALUE_PARSE ? "ParseError" : fault == VALUE_BELOW ? "BelowMin" : "AboveMax";
}

/* The words of the published server for variables; the same shape for keys of the file. */
static void clamp_warning(struct fill *f, const ath_field *fd, const struct given *g,
                          enum value_fault fault, const struct value_range *r, long double used)
{
    struct buf b = ARENA_BUF(f->arena);

    buf_printf(&b,
               "Normalized numeric %s value using configured range %s=%.*s provided=%s corrected=",
               g->variable ? "environment" : "configuration", g->variable ? "env_key" : "key",
               STR_ARG(g->name), shown(f, fd, g->text));
    value_format(&b, fd->type, g->place, used);
    if (r->stated) {
        buf_lit(&b, " min=");
        value_format(&b, fd->type, g->place, r->min);
        buf_lit(&b, " max=");
        value_format(&b, fd->type, g->place, r->max);
    }
    buf_printf(&b, " reason=%s", reason_of(fault));
    config_warn(f->rep, &g->at, "%s", b.p);
    if (fault != VALUE_PARSE && published_range(g->place))
        config_hint(f->rep,
                    "To have it so, add `\"%.*s\": {min: .., max: ..}` under "
                    "validation_ranges.%s.",
                    STR_ARG(g->place), str_find(g->place, '.') < g->place.n ? "config" : "env");
}

static void lenient_warning(struct fill *f, const ath_field *fd, const struct given *g)
{
    config_warn(f->rep, &g->at, "%.*s is \"%s\", which is not %s%s; the default is used%s%s",
                STR_ARG(g->name), shown(f, fd, g->text), fd->type == ATH_T_STR ? "one of " : "",
                fd->type == ATH_T_STR ? fd->range : value_wanted(fd->type),
                fd->flags & ATH_CF_SECRET ? "" : ": ", fd->flags & ATH_CF_SECRET ? "" : fd->def);
}

/* ---- setting ---- */

static void *at_of(const ath_field *fd, void *base)
{
    return (char *)base + fd->off;
}

static void set_default(struct fill *f, const ath_field *fd, void *base)
{
    ath_str place = own_place(f, fd), word;
    const char *def = fd->def ? fd->def : fd->type == ATH_T_STR ? "" : "0";
    struct value_range r;
    long double v = 0;

    if (fd->type == ATH_T_STR) {
        *(ath_str *)at_of(fd, base) = str_of(def);
        if (def[0] && fd->range && !value_choice(fd->range, str_of(def), false, &word))
            config_error(f->rep, NULL,
                         "the table of \"%s\" is wrong: the default of %s is none of %s",
                         f->t->section, fd->key, fd->range);
        return;
    }
    if (!value_number(fd->type, place, str_of(def), &v) || !range_of(f, fd, place, &r)) {
        config_error(f->rep, NULL,
                     "the table of \"%s\" is wrong: %s has a default or range that is "
                     "not %s",
                     f->t->section, fd->key, value_wanted(fd->type));
        return;
    }
    if (fd->type != ATH_T_BOOL && stated_range(f->c, place))
        v = v < r.min ? r.min : v > r.max ? r.max : v;
    value_store(fd->type, v, at_of(fd, base));
}

static void set_text(struct fill *f, const ath_field *fd, const struct given *g, void *base)
{
    ath_str word = g->text;

    if (fd->range && !value_choice(fd->range, g->text, !g->strict, &word)) {
        set_default(f, fd, base);
        if (g->strict)
            strict_error(f, fd, g, VALUE_CHOICE, NULL);
        else
            lenient_warning(f, fd, g);
        return;
    }
    *(ath_str *)at_of(fd, base) = arena_str(f->arena, word);
}

static void set_number(struct fill *f, const ath_field *fd, const struct given *g, void *base)
{
    struct value_range r;
    long double v = 0;
    enum value_fault fault;

    set_default(f, fd, base);
    if (!range_of(f, fd, g->flag ? str_of(g->at.name) : g->place, &r))
        return; /* set_default has said so */
    fault = judge(fd, g, &r, &v);
    if (fault == VALUE_OK) {
        value_store(fd->type, v, at_of(fd, base));
    } else if (g->strict) {
        strict_error(f, fd, g, fault, &r);
    } else if (fault == VALUE_PARSE && fd->type == ATH_T_BOOL) {
        lenient_warning(f, fd, g);
    } else if (fault == VALUE_PARSE) {
        long double used = 0;
        value_number(fd->type, own_place(f, fd), str_of(fd->def), &used);
        clamp_warning(f, fd, g, fault, &r, used);
    } else {
        v = fault == VALUE_BELOW ? r.min : r.max;
        value_store(fd->type, v, at_of(fd, base));
        clamp_warning(f, fd, g, fault, &r, v);
    }
}

static const char *kind_of(const struct fill *f)
{
    return f->t->plugin ? "plugin" : "section";
}

static void missing(struct fill *f, const ath_field *fd)
{
    const struct config_section *s = config_section(f->c, str_of(f->t->section));
    struct config_place at = s ? s->at : (struct config_place){ .file = f->c->path };

    config_error(f->rep, &at, "%s \"%s\" needs the key \"%s\": %s", kind_of(f), f->t->section,
                 fd->key, fd->help ? fd->help : "");
}

static void fill_field(struct fill *f, const ath_field *fd, void *base)
{
    struct given g = { 0 };

    if (!find(f, fd, &g)) {
        set_default(f, fd, base);
        if (!fd->def)
            missing(f, fd);
        return;
    }
    g.strict |= !fd->def; /* there is nothing to fall back to */
    if (g.unset) {
        set_default(f, fd, base);
        strict_error(f, fd, &g, VALUE_PARSE, NULL);
    } else if (fd->type == ATH_T_STR) {
        set_text(f, fd, &g, base);
    } else {
        set_number(f, fd, &g, base);
    }
}

/* ---- keys that nobody knows ---- */

static bool has_key(const struct config_table *t, ath_str key)
{
    ath_field fd;

    for (uint32_t i = 0; i < t->field_count; i++) {
        config_field(t, i, &fd);
        if (str_is(key, fd.key))
            return true;
    }
    return false;
}

static void suggest(struct fill *f, ath_str key)
{
    struct config_nearest near;
    ath_field fd;

    nearest_begin(&near, key);
    for (uint32_t i = 0; i < f->t->field_count; i++) {
        config_field(f->t, i, &fd);
        nearest_try(&near, str_of(fd.key));
    }
    if (near.best.n)
        config_hint(f->rep, "Did you mean \"%.*s\"? Run athena --help-config %s to see all keys.",
                    STR_ARG(near.best), f->t->section);
    else
        config_hint(f->rep, "Run athena --help-config %s to see all keys.", f->t->section);
}

static void own_keys(struct fill *f)
{
    const struct config_section *s = config_section(f->c, str_of(f->t->section));

    if (!s || !f->own)
        return;
    if (s->odd)
        config_error(f->rep, &s->odd->at,
                     "section \"%s\" is a %s, but must be a map of keys and "
                     "values",
                     f->t->section, conf_kind_name(s->odd->kind));
    for (const struct config_key *k = s->first; k; k = k->next) {
        if (has_key(f->t, k->name))
            continue;
        config_error(f->rep, &k->at, "unknown key \"%.*s\" of %s \"%s\"", STR_ARG(k->name),
                     kind_of(f), f->t->section);
        suggest(f, k->name);
    }
}

int config_fill(const struct config *c, const struct config_table *t, void *ret_struct,
                struct config_report *rep)
{
    struct fill f = { .c = c,
                      .t = t,
                      .rep = rep,
                      .arena = arena_of(c),
                      .own = !published_section(str_of(t->section)) };
    size_t before = rep->errors;
    ath_field fd;

    for (uint32_t i = 0; i < t->field_count; i++) {
        config_field(t, i, &fd);
        fill_field(&f, &fd, ret_struct);
    }
    own_keys(&f);
    return rep->errors > before ? ATH_E_CONFIG : 0;
}

/* Is "section.key" the own place or an alias of any table? */
static bool claimed(const struct config_table *const *tables, size_t n, ath_str section,
                    ath_str key)
{
    ath_field fd;

    for (size_t i = 0; i < n; i++) {
        if (str_is(section, tables[i]->section) && has_key(tables[i], key))
            return true;
        for (uint32_t j = 0; j < tables[i]->field_count; j++) {
            ath_str rest, word;
            config_field(tables[i], j, &fd);
            rest = str_of(fd.alias);
            while (alias_next(&rest, &word))
                if (word.n == section.n + 1 + key.n &&
                    str_eq(str_from(word.p, section.n), section) && word.p[section.n] == '.' &&
                    str_eq(str_after(word, section.n + 1), key))
                    return true;
        }
    }
    return false;
}

static void unknown_published(const struct config_table *const *tables, size_t n,
                              const struct config_section *s, const struct config_key *k,
                              struct config_report *rep)
{
    struct config_nearest near;
    ath_str rest = str_of(s->published->keys), word;
    ath_field fd;

    nearest_begin(&near, k->name);
    while (alias_next(&rest, &word))
        nearest_try(&near, word);
    for (size_t i = 0; i < n; i++) {
        for (uint32_t j = 0; str_is(s->name, tables[i]->section) && j < tables[i]->field_count;
             j++) {
            config_field(tables[i], j, &fd);
            nearest_try(&near, str_of(fd.key));
        }
    }
    config_warn(rep, &k->at, "unknown key \"%.*s\" of section \"%.*s\" is ignored",
                STR_ARG(k->name), STR_ARG(s->name));
    if (near.best.n)
        config_hint(rep, "Did you mean \"%.*s\"?", STR_ARG(near.best));
}

/* A section that no table has, but that places of some are in. False: there is none. */
static bool places_section(const struct config_table *const *tables, size_t n,
                           const struct config_section *s, struct config_report *rep)
{
    bool place = false;
    ath_field fd;

    for (size_t i = 0; i < n && !place; i++) {
        for (uint32_t j = 0; j < tables[i]->field_count && !place; j++) {
            ath_str rest, word;
            config_field(tables[i], j, &fd);
            rest = str_of(fd.alias);
            while (!place && alias_next(&rest, &word))
                place = word.n > s->name.n && word.p[s->name.n] == '.' &&
                        str_eq(str_from(word.p, s->name.n), s->name);
        }
    }
    if (place && s->odd)
        config_error(rep, &s->odd->at, "section \"%.*s\" is a %s, but must be a map of keys and values",
                     STR_ARG(s->name), conf_kind_name(s->odd->kind));
    for (const struct config_key *k = s->first; place && k; k = k->next)
        if (!claimed(tables, n, s->name, k->name))
            config_error(rep, &k->at, "unknown key \"%.*s\" of section \"%.*s\"", STR_ARG(k->name),
                         STR_ARG(s->name));
    return place;
}

static void unknown_section(const struct config_table *const *tables, size_t n,
                            const char *const *names, size_t name_count,
                            const struct config_section *s, struct config_report *rep)
{
    struct config_nearest near;
    const struct published_section *pub;

    nearest_begin(&near, s->name);
    for (size_t i = 0; i < n; i++) {
        if (str_is(s->name, tables[i]->section))
            return;
        nearest_try(&near, str_of(tables[i]->section));
    }
    if (places_section(tables, n, s, rep))
        return;
    for (size_t i = 0; i < name_count; i++) {
        if (str_is(s->name, names[i]))
            return;
        nearest_try(&near, str_of(names[i]));
    }
    for (size_t i = 0; (pub = published_at(i)); i++)
        nearest_try(&near, str_of(pub->name));
    nearest_try(&near, ATH_S("plugins"));
    config_warn(rep, &s->at, "unknown section \"%.*s\" is ignored", STR_ARG(s->name));
    if (near.best.n)
        config_hint(rep, "Did you mean \"%.*s\"?", STR_ARG(near.best));
}

void config_check_keys(const struct config *c, const struct config_table *const *tables, size_t n,
                       const char *const *names, size_t name_count, struct config_report *rep)
{
    for (const struct config_section *s = c->first; s; s = s->next) {
        if (!s->published) {
            unknown_section(tables, n, names, name_count, s, rep);
            continue;
        }
        for (const struct config_key *k = s->first; k; k = k->next)
            if (!published_key(s->published, k->name) && !published_home(s->name, k->name) &&
                !claimed(tables, n, s->name, k->name))
                unknown_published(tables, n, s, k, rep);
    }
}

const char *config_source(const struct config *c, const struct config_table *t, const char *key)
{
    struct fill f = { .c = c, .t = t, .arena = arena_of(c) };
    struct given g = { 0 };
    ath_field fd;

    for (uint32_t i = 0; i < t->field_count; i++) {
        config_field(t, i, &fd);
        if (strcmp(fd.key, key) == 0)
            return find(&f, &fd, &g) ? g.source : "default";
    }
    return "default";
}

int config_set(const ath_field *fd, ath_str text, void *ret_struct, ath_err *e)
{
    ath_str place = str_of(fd->key), word = text;
    struct given g = { .text = text, .place = place };
    struct value_range r;
    long double v = 0;
    enum value_fault fault;

    if (fd->type == ATH_T_STR) {
        if (fd->range && !value_choice(fd->range, text, false, &word))
            return err_fail(e, ATH_E_INPUT, "must be one of %s", fd->range);
        *(ath_str *)at_of(fd, ret_struct) = word;
        return 0;
    }
    if (!value_range(fd->type, place, fd->range, &r))
        return err_fail(e, ATH_E_BUG, "the table has a wrong range for %s", fd->key);
    fault = judge(fd, &g, &r, &v);
    if (fault == VALUE_PARSE)
        return err_fail(e, ATH_E_INPUT, "must be %s", value_wanted(fd->type));
    if (fault != VALUE_OK)
        return err_fail(e, ATH_E_INPUT, "must be within %s", fd->range);
    value_store(fd->type, v, at_of(fd, ret_struct));
    return 0;
}
