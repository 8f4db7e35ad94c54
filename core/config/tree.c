/* Shapes. Published sections are lists of maps with text values (a map is taken as a list of one);
 * the first item that has a key wins, inside one item the last. Our own sections are maps, and a
 * key that stands twice is an error. What is wrong is reported and left out; reading goes on.
 */
#include "config/tree.h"

#include "config/published.h"

static bool is_null(const struct conf_node *n)
{
    return n->kind == CONF_TEXT && n->plain &&
           (n->text.n == 0 || str_is(n->text, "~") || str_is(n->text, "null"));
}

static void free_map(void *m)
{
    map_free(m);
}

static struct config_section *section_add(struct config *c, const struct conf_node *key)
{
    struct config_section *s = map_get(&c->sections, key->text);

    if (s)
        return s;
    s = ARENA_NEW(&c->arena, struct config_section);
    s->name = key->text;
    s->at = key->at;
    s->published = published_section(key->text);
    arena_own(&c->arena, &s->keys, free_map);
    map_put(&c->sections, s->name, s);
    if (c->last)
        c->last->next = s;
    else
        c->first = s;
    c->last = s;
    return s;
}

static void key_add(struct config *c, struct config_section *s, const struct conf_link *l,
                    uint32_t item)
{
    struct config_key *k = ARENA_NEW(&c->arena, struct config_key);

    *k = (struct config_key){
        .name = l->key->text, .value = l->value, .at = l->key->at, .item = item
    };
    map_put(&s->keys, k->name, k);
    if (s->last)
        s->last->next = k;
    else
        s->first = k;
    s->last = k;
}

/* ---- published sections ---- */

static bool deep_ok(const struct conf_node *map, const char *where, struct config_report *rep)
{
    bool ok = true;

    for (const struct conf_link *l = map->first; l; l = l->next) {
        if (l->value->kind == CONF_TEXT)
            continue;
        config_error(rep, &l->value->at, "%s.%.*s: invalid type: %s, expected a string", where,
                     STR_ARG(l->key->text), conf_kind_name(l->value->kind));
        ok = false;
    }
    return ok;
}

static bool value_ok(const struct config_section *s, const struct conf_link *l, uint32_t item,
                     struct config_report *rep)
{
    enum conf_kind want = s->published->flags & PUB_DEEP ? CONF_MAP : CONF_TEXT;
    char where[256];

    snprintf(where, sizeof(where), "%.*s[%u].%.*s", STR_ARG(s->name), item, STR_ARG(l->key->text));
    if (l->value->kind != want) {
        config_error(rep, &l->value->at, "%s: invalid type: %s, expected a %s", where,
                     conf_kind_name(l->value->kind), conf_kind_name(want));
        return false;
    }
    return want == CONF_TEXT || deep_ok(l->value, where, rep);
}

static void published_item(struct config *c, struct config_section *s, const struct conf_node *map,
                           uint32_t item, struct config_report *rep)
{
    if (map->kind != CONF_MAP) {
        config_error(rep, &map->at, "%.*s[%u]: invalid type: %s, expected a map", STR_ARG(s->name),
                     item, conf_kind_name(map->kind));
        return;
    }
    for (const struct conf_link *l = map->first; l; l = l->next) {
        struct config_key *k = map_get(&s->keys, l->key->text);
        const char *home = published_home(s->name, l->key->text);
        if (!value_ok(s, l, item, rep))
            continue;
        if (home)
            config_warn(rep, &l->key->at, "%.*s belongs under %s; it is read from here too",
                        STR_ARG(l->key->text), home);
        if (!k)
            key_add(c, s, l, item + 1);
        else if (k->item == item + 1)
            k->value = l->value;
        else if (s->published->flags & PUB_NAMES)
            config_warn(rep, &l->key->at, "\"%.*s\" stands twice under %.*s; the first one counts",
                        STR_ARG(l->key->text), STR_ARG(s->name));
    }
}

static void published_shape(struct config *c, struct config_section *s,
                            const struct conf_node *value, struct config_report *rep)
{
    uint32_t item = 0;

    if (is_null(value))
        return;
    if (value->kind == CONF_MAP) {
        published_item(c, s, value, 0, rep);
        return;
    }
    if (value->kind != CONF_LIST) {
        config_error(rep, &value->at, "%.*s: invalid type: %s, expected a sequence",
                     STR_ARG(s->name), conf_kind_name(value->kind));
        return;
    }
    for (const struct conf_link *l = value->first; l; l = l->next)
        published_item(c, s, l->value, item++, rep);
}

/* ---- validation_ranges ---- */

/* False: missing or no number, which was reported. */
static bool bound(const struct conf_node *entry, const char *where, const char *name, double *ret,
                  struct config_report *rep)
{
    const struct conf_node *n = conf_get(entry, name);
    double v;

    if (!n) {
        config_error(rep, &entry->at, "%s: missing field `%s`", where, name);
        return false;
    }
    if (n->kind != CONF_TEXT || !str_double(n->text, &v)) {
        if (n->kind == CONF_TEXT && (str_ends(n->text, ".inf") || str_ends(n->text, ".nan"))) {
            *ret = __builtin_nan("");
            return true;
        }
        config_error(rep, &n->at, "%s.%s: invalid type: %s, expected a number", where, name,
                     conf_kind_name(n->kind));
        return false;
    }
    *ret = v;
    return true;
}

static void range_entry(struct config *c, const char *group, const struct conf_link *l,
                        struct config_report *rep)
{
    struct config_range *r;
    double min, max;
    char where[256];

    snprintf(where, sizeof(where), "validation_ranges.%s.%.*s", group, STR_ARG(l->key->text));
    if (l->value->kind != CONF_MAP) {
        config_error(rep, &l->value->at, "%s: invalid type: %s, expected a map", where,
                     conf_kind_name(l->value->kind));
        return;
    }
    if (!bound(l->value, where, "min", &min, rep) || !bound(l->value, where, "max", &max, rep))
        return;
    if (!__builtin_isfinite(min) || !__builtin_isfinite(max)) {
        config_warn(rep, &l->value->at, "%s is not finite; the built-in range is used", where);
        return;
    }
    if (!published_range(l->key->text))
        config_warn(rep, &l->key->at, "%s has no effect: no such range exists", where);
    r = ARENA_NEW(&c->arena, struct config_range);
    *r = (struct config_range){ .place = l->key->text,
                                .at = l->key->at,
                                .next = c->ranges,
                                .min = min < max ? min : max,
                                .max = min < max ? max : min };
    c->ranges = r;
}

static void ranges_shape(struct config *c, const struct conf_node *value, struct config_report *rep)
{
    static const char *const groups[] = { "env", "config" };

    if (is_null(value))
        return;
    if (value->kind != CONF_MAP) {
        config_error(rep, &value->at, "validation_ranges: invalid type: %s, expected a map",
                     conf_kind_name(value->kind));
        return;
    }
    for (size_t i = 0; i < ATH_COUNT(groups); i++) {
        const struct conf_node *group = conf_get(value, groups[i]);
        if (!group || is_null(group))
            continue;
        if (group->kind != CONF_MAP) {
            config_error(rep, &group->at, "validation_ranges.%s: invalid type: %s, expected a map",
                         groups[i], conf_kind_name(group->kind));
            continue;
        }
        for (const struct conf_link *l = group->first; l; l = l->next)
            range_entry(c, groups[i], l, rep);
    }
}

/* ---- our own sections ---- */

static bool own_value_ok(const struct config_section *s, const struct conf_link *l,
                         struct config_report *rep)
{
    const struct conf_node *v = l->value;

    if (v->kind == CONF_TEXT)
        return true;
    for (const struct conf_link *i = v->first; v->kind == CONF_LIST && i; i = i->next)
        if (i->value->kind != CONF_TEXT)
            v = i->value;
    if (v == l->value && v->kind == CONF_LIST)
        return true;
    config_error(rep, &v->at, "%.*s of section \"%.*s\" is a %s, but must be a value%s",
                 STR_ARG(l->key->text), STR_ARG(s->name), conf_kind_name(v->kind),
                 v == l->value ? "" : " or a list of values");
    return false;
}

/* item 0: from plugins.d, where the main file's keys stand already. */
static void own_map(struct config *c, struct config_section *s, const struct conf_node *map,
                    uint32_t item, struct config_report *rep)
{
    if (map->kind != CONF_MAP) {
        config_error(rep, &map->at,
                     "section \"%.*s\" is a %s, but must be a map of keys and values",
                     STR_ARG(s->name), conf_kind_name(map->kind));
        return;
    }
    for (const struct conf_link *l = map->first; l; l = l->next) {
        const struct config_key *k = map_get(&s->keys, l->key->text);
        if (k && item == 0 && k->item > 0)
            continue;
        if (k) {
            config_error(rep, &l->key->at, "key \"%.*s\" of section \"%.*s\" stands twice",
                         STR_ARG(l->key->text), STR_ARG(s->name));
            if (k->at.file)
                config_hint(rep, "The other one is at %s:%u:%u.", k->at.file, k->at.line,
                            k->at.column);
            continue;
        }
        if (own_value_ok(s, l, rep))
            key_add(c, s, l, item);
    }
}

static void own_shape(struct config *c, struct config_section *s, const struct conf_node *value,
                      uint32_t item, struct config_report *rep)
{
    if (is_null(value))
        return;
    if (value->kind != CONF_LIST) {
        own_map(c, s, value, item, rep);
        return;
    }
    for (const struct conf_link *l = value->first; l; l = l->next)
        own_map(c, s, l->value, item, rep);
}

/* ---- the lists of plugins ---- */

static void plugin_name(struct config *c, const struct conf_node *n, ath_str name, bool optional,
                        struct config_report *rep)
{
    struct config_name *more;

    for (uint32_t i = 0; i < c->plugin_count; i++) {
        if (str_eq(c->plugin[i].name, name)) {
            config_warn(rep, &n->at, "plugin \"%.*s\" is named twice", STR_ARG(name));
            return;
        }
    }
    if (c->plugin_count == 256) {
        config_error(rep, &n->at, "more than 256 plugins are named");
        return;
    }
    if (c->plugin_count % 16 == 0) {
        more = arena_alloc(&c->arena, (c->plugin_count + 16) * sizeof(*more));
        if (c->plugin_count)
            memcpy(more, c->plugin, c->plugin_count * sizeof(*more));
        c->plugin = more;
    }
    c->plugin[c->plugin_count++] =
        (struct config_name){ arena_str(&c->arena, name), n->at, optional };
}

static void plugin_list(struct config *c, const struct conf_link *pair, bool optional,
                        struct config_report *rep)
{
    const struct conf_node *value = pair->value;
    ath_str rest = value->text, name;

    if (!optional)
        c->plugins_stated = true;
    if (is_null(value))
        return;
    if (value->kind == CONF_TEXT) {
        while (config_item(&rest, &name))
            plugin_name(c, value, name, optional, rep);
        return;
    }
    if (value->kind == CONF_MAP) {
        config_error(rep, &value->at, "%.*s is a map, but must be a list of names",
                     STR_ARG(pair->key->text));
        return;
    }
    for (const struct conf_link *l = value->first; l; l = l->next) {
        if (l->value->kind != CONF_TEXT || l->value->text.n == 0)
            config_error(rep, &l->value->at, "%.*s holds a %s, but must be a list of names",
                         STR_ARG(pair->key->text),
                         l->value->kind == CONF_TEXT ? "blank" : conf_kind_name(l->value->kind));
        else
            plugin_name(c, l->value, l->value->text, optional, rep);
    }
}

/* ---- files ---- */

static void main_pair(struct config *c, const struct conf_link *l, struct config_report *rep)
{
    const struct published_section *pub = published_section(l->key->text);
    struct config_section *s;

    if (str_is(l->key->text, "plugins") || str_is(l->key->text, "optional_plugins")) {
        c->published = false;
        plugin_list(c, l, l->key->text.p[0] == 'o', rep);
        return;
    }
    s = section_add(c, l->key);
    if (pub && pub->flags & PUB_RANGES) {
        ranges_shape(c, l->value, rep);
    } else if (pub) {
        published_shape(c, s, l->value, rep);
    } else if (str_is(s->name, "server")) {
        c->published = false;
        own_shape(c, s, l->value, 1, rep);
    } else if (l->value->kind == CONF_MAP) { /* of a plugin, if there is one of that name */
        own_shape(c, s, l->value, 1, rep);
    } else if (!is_null(l->value)) {
        s->odd = l->value;
    }
}

/* Keys of one map are few; a map of names finds what stands twice. */
static void refuse_doubles(const struct conf_node *root, struct config_report *rep)
{
    struct map seen = MAP_EMPTY;

    for (const struct conf_link *l = root->first; l; l = l->next)
        if (map_put(&seen, l->key->text, (void *)(uintptr_t)l))
            config_error(rep, &l->key->at, "duplicate field `%.*s`", STR_ARG(l->key->text));
    map_free(&seen);
}

void tree_main(struct config *c, const struct conf_node *root, struct config_report *rep)
{
    struct config_place whole = { .file = c->path };
    const struct published_section *pub;

    c->published = true;
    if (root && root->kind != CONF_MAP) {
        config_error(rep, &root->at, "invalid type: %s, expected a map of sections",
                     conf_kind_name(root->kind));
        return;
    }
    if (root) {
        refuse_doubles(root, rep);
        for (const struct conf_link *l = root->first; l; l = l->next)
            main_pair(c, l, rep);
    }
    for (size_t i = 0; c->published && (pub = published_at(i)); i++) {
        if (pub->flags & PUB_REQUIRED && !config_section(c, str_of(pub->name))) {
            config_error(rep, &whole, "missing field `%s`", pub->name);
            config_hint(rep, "A file with a list of `plugins` or a section `server` needs none of "
                             "the published sections.");
            return;
        }
    }
}

void tree_plugin_file(struct config *c, const struct conf_node *root, struct config_report *rep)
{
    if (!root)
        return;
    if (root->kind != CONF_MAP) {
        config_error(rep, &root->at,
                     "the file is a %s, but must be a map with a section per plugin",
                     conf_kind_name(root->kind));
        return;
    }
    refuse_doubles(root, rep);
    for (const struct conf_link *l = root->first; l; l = l->next) {
        if (published_section(l->key->text) || str_is(l->key->text, "server") ||
            str_is(l->key->text, "plugins") || str_is(l->key->text, "optional_plugins"))
            config_error(rep, &l->key->at, "\"%.*s\" belongs into the main file",
                         STR_ARG(l->key->text));
        else
            own_shape(c, section_add(c, l->key), l->value, 0, rep);
    }
}
