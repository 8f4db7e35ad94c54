/* Opening: .env upward from here, find the file, .env beside it, read it, read plugins.d. */
#include "config/config.h"

#include <dirent.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/locate.h"
#include "config/published.h"
#include "config/tree.h"

extern char **environ;

/* The process's variables as they were when the first configuration was opened. */
static const char *const *snapshot(void)
{
    static const char **copy;
    size_t n = 0;

    if (copy)
        return copy;
    while (environ && environ[n])
        n++;
    copy = mem_new((n + 1) * sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_dup_z(environ[i]);
    return copy;
}

bool config_item(ath_str *rest, ath_str *ret_item)
{
    while (str_next(rest, ',', ret_item)) {
        *ret_item = str_trim(*ret_item);
        if (ret_item->n)
            return true;
    }
    return false;
}

/* What the contract says when the main file cannot be used. */
static const char *summary(struct config *c, const struct config_note *why,
                           const struct location *at, size_t n)
{
    struct buf b = ARENA_BUF(&c->arena);
    const char *context = strstr(why->text, ", while ");

    buf_printf(&b, "Failed to load config '%s': ", c->discovered ? "config.yaml" : c->path);
    buf_str(&b, str_from(why->text, context ? (size_t)(context - why->text) : strlen(why->text)));
    if (why->at.line)
        buf_printf(&b, " at line %u column %u", why->at.line, why->at.column);
    buf_printf(&b, "%s. Looked in:", context ? context : "");
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "\n- %s (%s)", at[i].label, at[i].path);
    return b.p;
}

static void summarize(struct config *c, const struct location *at, size_t n,
                      struct config_report *rep)
{
    for (size_t i = 0; i < rep->n && !rep->summary; i++)
        if (rep->note[i].level == ATH_ERROR)
            rep->summary = arena_str(&rep->arena, str_of(summary(c, &rep->note[i], at, n))).p;
}

static int main_file(struct config *c, const struct location *at, size_t n,
                     struct config_report *rep)
{
    struct config_place whole = { .file = c->path };
    const struct conf_node *root = NULL;
    ath_err e;
    int rc = yaml_read(&c->arena, c->path, &root, rep, &e);

    if (rc == ATH_E_MISSING)
        config_error(rep, &whole, "%s", e.message);
    else if (rc == 0)
        tree_main(c, root, rep);
    summarize(c, at, n, rep);
    return rep->errors ? ATH_E_CONFIG : 0;
}

static int is_yaml(const struct dirent *d)
{
    ath_str name = str_of(d->d_name);

    return d->d_name[0] != '.' && (str_ends(name, ".yaml") || str_ends(name, ".yml"));
}

static void plugin_files(struct config *c, struct config_report *rep)
{
    const char *folder = arena_printf(&c->arena, "%s/plugins.d", c->folder).p;
    struct dirent **list;
    int n = scandir(folder, &list, is_yaml, alphasort);

    for (int i = 0; i < n; i++) {
        const char *file = arena_printf(&c->arena, "%s/%s", folder, list[i]->d_name).p;
        struct config_place whole = { .file = file };
        const struct conf_node *root = NULL;
        ath_err e;
        int rc = yaml_read(&c->arena, file, &root, rep, &e);
        if (rc == ATH_E_MISSING)
            config_error(rep, &whole, "could not read file: %s", e.message);
        else if (rc == 0)
            tree_plugin_file(c, root, rep);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

static const char *folder_of(struct config *c, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return ".";
    return arena_str(&c->arena, str_from(path, slash == path ? 1 : (size_t)(slash - path))).p;
}

/* Discovery: the first that exists, else a new one. Returns how many were looked at. */
static int discover(struct config *c, const struct config_options *o, const char *cwd,
                    struct location at[LOCATIONS_MAX], struct config_report *rep)
{
    size_t n = locate_all(c, cwd, at);
    struct location found;
    ath_err e;

    c->discovered = true;
    for (size_t i = 0; i < n; i++) {
        if (!locate_is_file(at[i].path))
            continue;
        c->path = at[i].path;
        c->label = at[i].label;
        return (int)i + 1;
    }
    if (!o->seed && o->optional)
        return 0;
    if (!o->seed) {
        config_error(rep, NULL, "no config.yaml was found");
        config_hint(rep, "Name it with --config or ATHENA_CONFIG_PATH.");
        c->path = "config.yaml";
        summarize(c, at, n, rep);
        return ATH_E_CONFIG;
    }
    if (locate_seed(c, at, n, &found, &e) < 0) {
        config_error(rep, NULL, "%s", e.message);
        return ATH_E_CONFIG;
    }
    c->path = found.path;
    c->label = found.label;
    c->seeded = true;
    return (int)n;
}

static int find(struct config *c, const struct config_options *o, const char *cwd,
                struct location at[LOCATIONS_MAX], struct config_report *rep)
{
    ath_str path = str_of(o->path);

    if (path.n == 0)
        env_get_z(&c->env, "ATHENA_CONFIG_PATH", &path);
    if (str_trim(path).n == 0)
        return discover(c, o, cwd, at, rep);
    c->path = arena_str(&c->arena, path).p;
    c->label = "explicit --config path";
    at[0] = (struct location){ c->path, "explicit config path" };
    return 1;
}

int config_open(const struct config_options *o, struct config **ret, struct config_report *rep)
{
    struct config *c = MEM_NEW(struct config);
    const char *cwd = o->cwd ? o->cwd : ".";
    struct location at[LOCATIONS_MAX];
    int looked;

    *ret = c;
    arena_init(&c->arena);
    c->env =
        (struct config_env){ .arena = &c->arena, .real = o->environ ? o->environ : snapshot() };
    locate_dotenv(c, cwd, true, rep);
    looked = find(c, o, cwd, at, rep);
    if (looked <= 0)
        return looked;
    c->folder = folder_of(c, c->path);
    locate_dotenv(c, c->folder, false, rep);
    if (main_file(c, at, (size_t)looked, rep) < 0)
        return ATH_E_CONFIG;
    plugin_files(c, rep);
    return rep->errors ? ATH_E_CONFIG : 0;
}

void config_close(struct config *c)
{
    if (!c)
        return;
    arena_free(&c->arena);
    map_free(&c->sections);
    free(c);
}

void config_override(struct config *c, const char *section, const char *key, const char *value,
                     const char *flag)
{
    struct config_override *o = ARENA_NEW(&c->arena, struct config_override);

    o->section = arena_str(&c->arena, str_of(section));
    o->key = arena_str(&c->arena, str_of(key));
    o->value = arena_str(&c->arena, str_of(value));
    o->flag = arena_str(&c->arena, str_of(flag)).p;
    o->next = c->overrides;
    c->overrides = o;
}

const struct config_section *config_section(const struct config *c, ath_str name)
{
    return map_get(&c->sections, name);
}

const struct config_key *config_key(const struct config *c, ath_str section, ath_str key)
{
    const struct config_section *s = config_section(c, section);
    const struct config_key *k = s ? map_get(&s->keys, key) : NULL;

    if (!k && published_home(ATH_S("storage"), key) && str_is(section, "gateway")) {
        s = config_section(c, ATH_S("storage"));
        k = s ? map_get(&s->keys, key) : NULL;
    }
    return k;
}

const char *config_companion(const struct config *c, ath_arena *a, const char *path)
{
    const char *beside;

    if (path[0] == '/' || !c->folder)
        return path;
    beside = arena_printf(a, "%s/%s", c->folder, path).p;
    return !locate_is_file(beside) && locate_is_file(path) ? path : beside;
}
