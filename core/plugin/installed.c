/* The plugin folder, as data. */
#include "plugin/installed.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/compiler.h"
#include "lib/buf.h"
#include "plugin/order.h"

enum { INSTALLED_MOST = 1024 };

static const struct {
    enum plugin_kind kind;
    const char *name, *prefix;
} kinds[] = {
    { PLUGIN_ROUTES, "routes", "routes-" },
    { PLUGIN_SINK, "sink", "sink-" },
    { PLUGIN_WORKER, "worker", "worker-" },
    { PLUGIN_DRIVER, "driver", "driver-" },
};

enum plugin_kind plugin_kind_of(ath_str name)
{
    for (size_t i = 0; i < ATH_COUNT(kinds); i++)
        if (str_starts(name, kinds[i].prefix) && name.n > strlen(kinds[i].prefix))
            return kinds[i].kind;
    return 0;
}

const char *plugin_kind_name(enum plugin_kind kind)
{
    for (size_t i = 0; i < ATH_COUNT(kinds); i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "unknown";
}

/* Does the running program lie below the folder that the plugins were built in? */
static bool runs_from_build_tree(ath_str exe)
{
    char plugins[PATH_MAX];
    ath_str tree;

    if (!realpath(ATHENA_BUILD_PLUGIN_DIR, plugins))
        return false;
    tree = str_of(plugins);
    if (!str_ends(tree, "/plugins/lib"))
        return false;
    plugins[tree.n - strlen("plugins/lib")] = 0;
    return str_starts(exe, plugins);
}

/* An installation may be staged, or moved as a whole: the way from the program to its plugins
 * stays. */
static const char *installed_with(const char *exe)
{
    static char folder[PATH_MAX];
    const char *slash = strrchr(exe, '/');
    char way[PATH_MAX];
    int n = snprintf(way, sizeof(way), "%.*s/" ATHENA_WAY_TO_PLUGINS, (int)(slash - exe), exe);

    if (n >= (int)sizeof(way) || !realpath(way, folder))
        return NULL;
    return folder;
}

const char *plugin_dir(const char *given)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    const char *found = NULL;

    if (given && given[0])
        return given;
    if (n > 0 && exe[0] == '/') {
        exe[n] = 0;
        found = runs_from_build_tree(str_from(exe, (size_t)n)) ? ATHENA_BUILD_PLUGIN_DIR
                                                               : installed_with(exe);
    }
    return found ? found : ATHENA_PLUGIN_DIR;
}

static int is_object(const struct dirent *d)
{
    return d->d_name[0] != '.' && str_ends(str_of(d->d_name), ".so") && strlen(d->d_name) > 3;
}

static void look_at(struct installed *in, struct installed_plugin *p, const char *file)
{
    ath_err e;

    p->name = arena_str(&in->arena, str_from(file, strlen(file) - 3)).p;
    p->path = arena_printf(&in->arena, "%s/%s", in->dir, file).p;
    p->kind = plugin_kind_of(str_of(p->name));
    p->rc = note_read(p->path, &p->note, &e);
    if (p->rc == 0)
        p->rc = note_fits(p->path, &p->note, &e);
    if (p->rc == 0 && strcmp(note_name(&p->note), p->name) != 0)
        p->rc = err_fail(&e, ATH_E_ABI, "plugin file \"%s\" calls itself \"%s\"", p->path,
                         note_name(&p->note));
    if (p->rc == 0 && !p->kind) {
        p->rc = err_fail(&e, ATH_E_ABI, "plugin file \"%s\" is of no kind", p->path);
        err_hint(&e, "Names begin with routes-, sink-, worker- or driver-.");
    }
    if (p->rc < 0) {
        p->why = ARENA_NEW(&in->arena, ath_err);
        err_copy(p->why, &e);
    }
}

int installed_read(struct installed *in, const char *dir, ath_err *e)
{
    struct dirent **entry = NULL;
    int n = scandir(dir, &entry, is_object, alphasort);

    if (n < 0)
        return err_fail(e, ATH_E_CONFIG, "could not read plugin folder \"%s\": %s", dir,
                        strerror(errno));
    *in = (struct installed){ 0 };
    arena_init(&in->arena);
    in->dir = arena_str(&in->arena, str_of(dir)).p;
    in->count = n < INSTALLED_MOST ? (uint32_t)n : INSTALLED_MOST;
    in->plugin = arena_alloc(&in->arena, in->count * sizeof(*in->plugin));
    for (int i = 0; i < n; i++) {
        if (i < INSTALLED_MOST)
            look_at(in, &in->plugin[i], entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    return 0;
}

void installed_free(struct installed *in)
{
    arena_free(&in->arena);
    in->plugin = NULL;
    in->count = 0;
}

const struct installed_plugin *installed_find(const struct installed *in, ath_str name)
{
    for (uint32_t i = 0; i < in->count; i++)
        if (str_is(name, in->plugin[i].name))
            return &in->plugin[i];
    return NULL;
}

const struct installed_plugin *installed_offering(const struct installed *in, ath_str word)
{
    for (uint32_t i = 0; i < in->count; i++)
        if (in->plugin[i].rc == 0 &&
            order_gives(in->plugin[i].name, note_offers(&in->plugin[i].note), word))
            return &in->plugin[i];
    return NULL;
}
