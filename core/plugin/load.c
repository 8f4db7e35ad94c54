/* Loading.
 *
 * Names become candidates, candidates bring the drivers that they need, notes decide the order;
 * then each is opened, checked and configured. A refusal takes those who need the plugin with it,
 * so the order is made once more from what is left.
 */
#include "plugin/load.h"

#include <dlfcn.h>

#include "http/http.h"
#include "log/metric.h"
#include "lib/buf.h"
#include "plugin/call.h"
#include "plugin/descriptor.h"
#include "plugin/order.h"

#ifdef ATHENA_ASAN
#define OPEN_FLAGS                                                                                 \
    (RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) /* leak reports name the plugin's functions */
#else
#define OPEN_FLAGS (RTLD_NOW | RTLD_LOCAL)
#endif

#define WORKER_PREFIX "worker-"

struct candidate {
    const struct installed_plugin *file;
    bool optional;
    ath_self *self; /* once opened */
    void *config;
};

struct loading {
    struct registry *r;
    const struct load_options *o;
    struct candidate *candidate;
    struct order_item *item; /* of the same index */
    uint32_t count, room;
    struct plugin_view *view;
};

/* Error codes and metrics are known to the whole process until its end, so their tables are too. */
static ath_arena forever;

static void list_installed(const struct installed *in, struct buf *b)
{
    for (uint32_t i = 0; i < in->count; i++)
        buf_printf(b, "%s%s", i ? ", " : "", in->plugin[i].name);
    if (in->count == 0)
        buf_lit(b, "nothing");
}

static void refuse_missing(struct loading *l, const char *name, bool optional)
{
    const struct installed *in = &l->r->installed;
    const char *near = NULL;
    unsigned best = 4;
    struct buf b = BUF_HEAP;
    ath_err e;

    list_installed(in, &b);
    err_fail(&e, ATH_E_CONFIG, "plugin \"%s\" is not installed; in \"%s\" there is: %s", name,
             in->dir, b.p);
    for (uint32_t i = 0; i < in->count; i++) {
        unsigned d = str_distance(str_of(name), str_of(in->plugin[i].name), best);
        if (d < best) {
            best = d;
            near = in->plugin[i].name;
        }
    }
    if (near)
        err_hint(&e, "Did you mean \"%s\"?", near);
    registry_refuse(l->r, name, optional, &e);
    buf_free(&b);
}

static bool chosen(const struct loading *l, const struct installed_plugin *p)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->candidate[i].file == p)
            return true;
    return false;
}

static void choose(struct loading *l, const struct installed_plugin *p, bool optional)
{
    if (chosen(l, p))
        return;
    l->candidate[l->count] = (struct candidate){ .file = p, .optional = optional };
    l->item[l->count] = (struct order_item){ .name = p->name, .needs = "", .offers = "" };
    if (p->rc == 0) {
        l->item[l->count].needs = note_needs(&p->note);
        l->item[l->count].offers = note_offers(&p->note);
    } else {
        l->item[l->count].refused = true;
        registry_refuse(l->r, p->name, optional, p->why);
    }
    l->count++;
}

static bool named(const char *const *name, uint32_t n, const char *what)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(name[i], what) == 0)
            return true;
    return false;
}

/* The plugin of a family that the process is told to run. */
static bool is_of_family(const struct load_options *o, const char *name)
{
    return plugin_kind_of(str_of(name)) == PLUGIN_WORKER &&
           named(o->family, o->family_count, name + strlen(WORKER_PREFIX));
}

/* Does this role load it for its own sake? What a file that cannot be used would be needed for is
 * not known, so a named one is taken, and refused with its reason. */
static bool role_takes(const struct load_options *o, const struct installed_plugin *p)
{
    if (p->kind == 0 || (p->kind == PLUGIN_DRIVER && p->rc < 0))
        return true;
    if (is_of_family(o, p->name))
        return true;
    return o->kinds & p->kind && (p->kind != PLUGIN_DRIVER || o->drivers);
}

/* What is named but not installed is missed by the roles that would take it. */
static bool is_missed(const struct load_options *o, const char *name)
{
    enum plugin_kind kind = plugin_kind_of(str_of(name));

    return !o->sparse && (kind == 0 || o->kinds & kind || is_of_family(o, name));
}

static void choose_named(struct loading *l, const char *const *name, uint32_t n, bool optional)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct installed_plugin *p = installed_find(&l->r->installed, str_of(name[i]));
        if (!p && is_missed(l->o, name[i]))
            refuse_missing(l, name[i], optional);
        else if (p && role_takes(l->o, p))
            choose(l, p, optional);
    }
}

/* A family that a process is told to run is told by name, so its plugin need not be in a list. */
static void choose_families(struct loading *l)
{
    for (uint32_t i = 0; i < l->r->installed.count; i++) {
        const struct installed_plugin *p = &l->r->installed.plugin[i];
        if (is_of_family(l->o, p->name))
            choose(l, p, false);
    }
}

/* The plugin that may be brought in because somebody needs `word`. */
static const struct installed_plugin *bringable(const struct loading *l, ath_str word,
                                                bool *ret_optional)
{
    const struct load_options *o = l->o;
    const struct installed *in = &l->r->installed;

    for (uint32_t i = 0; i < in->count; i++) {
        const struct installed_plugin *p = &in->plugin[i];
        bool optional = named(o->optional, o->optional_count, p->name);
        bool listed = optional || named(o->plugin, o->plugin_count, p->name);
        if (p->rc == 0 && (listed || o->any_provider) &&
            order_gives(p->name, note_offers(&p->note), word)) {
            *ret_optional = optional;
            return p;
        }
    }
    return NULL;
}

static bool offered(const struct loading *l, ath_str word)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (order_gives(l->item[i].name, l->item[i].offers, word))
            return true;
    return order_has(l->r->core_offers, word);
}

/* The list grows while it is walked: what is brought in has needs too. */
static void choose_needed(struct loading *l)
{
    for (uint32_t i = 0; i < l->count; i++) {
        ath_str rest = str_of(l->item[i].needs), word;
        while (order_word(&rest, &word, NULL)) {
            bool optional;
            const struct installed_plugin *p =
                offered(l, word) ? NULL : bringable(l, word, &optional);
            if (p)
                choose(l, p, optional);
        }
    }
}

static void order_refused(void *arg, uint32_t i, ath_str need, const ath_err *e)
{
    struct loading *l = arg;
    const struct installed_plugin *p = need.n ? installed_offering(&l->r->installed, need) : NULL;
    ath_err copy;

    err_copy(&copy, e);
    if (p && !chosen(l, p))
        err_hint(&copy, "Plugin \"%s\" is installed and offers it: add it to plugins.", p->name);
    registry_refuse(l->r, l->item[i].name, l->candidate[i].optional, &copy);
}

int load_open(struct registry *r, const struct installed_plugin *p, const ath_host *host,
              ath_self **ret, ath_err *e)
{
    ath_self *s = ARENA_NEW(&r->arena, ath_self);
    ath_entry_fn *entry;
    int rc;

    *s = (ath_self){ .magic = SELF_MAGIC,
                     .name = p->name,
                     .kind = p->kind,
                     .stage = STAGE_LOADED,
                     .registry = r,
                     .path = p->path,
                     .note = &p->note };
    if (!(s->object = dlopen(p->path, OPEN_FLAGS)))
        return err_fail(e, ATH_E_ABI, "could not load plugin file \"%s\": %s", p->path, dlerror());
    *(void **)&entry = dlsym(s->object, "athena_plugin_v1");
    rc = entry
             ? descriptor_take(s, entry(host, s), &r->arena, e)
             : err_fail(e, ATH_E_ABI, "plugin file \"%s\" has no entry athena_plugin_v1", p->path);
    if (rc < 0)
        dlclose(s->object);
    else
        *ret = s;
    return rc;
}

/* Tells the rest of the server about the plugin's error codes and metrics. */
static int declare(ath_self *s, ath_err *e)
{
    ath_plugin *d = &s->d;
    size_t errors = d->error_count * sizeof(*d->error),
           metrics = d->metric_count * sizeof(*d->metric);
    ath_error *error = arena_raw(&forever, errors);
    ath_metric *metric = arena_raw(&forever, metrics);
    int rc;

    s->metric = arena_alloc(&s->registry->arena, d->metric_count * sizeof(*s->metric));
    for (uint32_t i = 0; i < d->error_count; i++) {
        error[i] = d->error[i];
        if ((rc = err_register(&error[i], e)) < 0)
            return rc;
    }
    for (uint32_t i = 0; i < d->metric_count; i++) {
        metric[i] = d->metric[i];
        if ((rc = metric_register(&metric[i], &s->metric[i], e)) < 0)
            return rc;
    }
    return 0;
}

static int configure(ath_self *s, plugin_fill *fill, void *arg, void *config, ath_arena *a,
                     ath_err *e)
{
    int rc = 0;

    if (fill && (rc = fill(arg, s->name, s->all_field, s->all_count, config, a, e)) < 0)
        return rc;
    if (s->d.check)
        CALL(s, NULL, rc = s->d.check(config, e));
    return rc;
}

static int open_one(struct loading *l, struct candidate *c, ath_err *e)
{
    int rc = load_open(l->r, c->file, l->o->host, &c->self, e);

    if (rc < 0)
        return rc;
    if ((rc = declare(c->self, e)) < 0) {
        ath_err why;
        err_copy(&why, e);
        return err_fail(e, rc, "plugin \"%s\" cannot be loaded: %s", c->self->name, why.message);
    }
    c->self->optional = c->optional;
    c->config = arena_alloc(&l->view->arena, c->self->config_room);
    return configure(c->self, l->o->fill, l->o->fill_arg, c->config, &l->view->arena, e);
}

static void open_all(struct loading *l, const uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct candidate *c = &l->candidate[order[i]];
        ath_err e;
        err_reset(&e);
        if (open_one(l, c, &e) < 0) {
            l->item[order[i]].refused = true;
            registry_refuse(l->r, c->file->name, c->optional, &e);
        }
    }
}

static void keep(struct loading *l, const uint32_t *order, uint32_t n)
{
    struct registry *r = l->r;

    r->self = arena_alloc(&r->arena, (n + 1) * sizeof(*r->self));
    for (uint32_t i = 0; i < n; i++) {
        struct candidate *c = &l->candidate[order[i]];
        r->self[i] = c->self;
        c->self->number = i;
        l->view->config[i] = c->config;
    }
    r->count = n;
    l->view->count = n;
    registry_view_set(r, l->view);
}

static int verdict(const struct registry *r, ath_err *e)
{
    if (r->fatal == 0)
        return 0;
    return err_fail(e, ATH_E_CONFIG, "%u %s refused", r->fatal,
                    r->fatal == 1 ? "plugin was" : "plugins were");
}

int registry_load(struct registry *r, const struct load_options *o, ath_err *e)
{
    struct loading l = { .r = r, .o = o };
    uint32_t *order, n;
    int rc;

    if (!r->installed.dir && (rc = installed_read(&r->installed, o->dir, e)) < 0)
        return rc;
    l.room = r->installed.count + 1;
    l.candidate = arena_alloc(&r->arena, l.room * sizeof(*l.candidate));
    l.item = arena_alloc(&r->arena, l.room * sizeof(*l.item));
    order = arena_alloc(&r->arena, l.room * sizeof(*order));
    l.view = registry_view_alloc(l.room);
    choose_named(&l, o->plugin, o->plugin_count, false);
    choose_named(&l, o->optional, o->optional_count, true);
    choose_families(&l);
    choose_needed(&l);
    n = order_sort(l.item, l.count, r->core_offers, order, order_refused, &l);
    open_all(&l, order, n);
    n = order_sort(l.item, l.count, r->core_offers, order, order_refused, &l);
    keep(&l, order, n);
    return verdict(r, e);
}

int registry_load_command(struct registry *r, const struct load_options *o, const char *word,
                          ath_err *e)
{
    struct load_options one = *o;
    const struct installed_plugin *p;
    char offer[128];
    int rc;

    if (!r->installed.dir && (rc = installed_read(&r->installed, o->dir, e)) < 0)
        return rc;
    snprintf(offer, sizeof(offer), "command.%s", word);
    if (!(p = installed_offering(&r->installed, str_of(offer))))
        return err_fail(e, ATH_E_MISSING, "no command \"%s\"; no plugin in \"%s\" offers it", word,
                        r->installed.dir);
    one.plugin = &p->name;
    one.plugin_count = 1;
    one.optional_count = 0;
    one.kinds = p->kind;
    one.family_count = 0;
    one.sparse = false;
    one.any_provider = true;
    one.drivers = true;
    return registry_load(r, &one, e);
}

static int route_add(struct router *router, const struct capability *c, const ath_route *def,
                     ath_err *e)
{
    ath_arena *a = &c->self->registry->arena;
    struct route route = {
        .def = *def,
        .self = c->self,
        .plugin = c->self->name,
        .group = route_group(str_of(def->path)),
        .label = arena_printf(a, "%s %s", def->method, def->path).p,
        .openapi = c->routes.openapi,
        .gate = &c->open,
    };

    return router_add(router, &route, e);
}

int registry_routes(struct registry *r, struct router *router, ath_err *e)
{
    struct capability *c;

    for (uint32_t i = 0; (c = registry_cap(r, ATH_CAP_ROUTES, i)); i++)
        for (uint32_t k = 0; k < c->routes.route_count; k++) {
            ath_err why;
            if (route_add(router, c, &c->routes.route[k], &why) < 0)
                registry_refuse(r, c->self->name, c->self->optional, &why);
        }
    return verdict(r, e);
}

uint32_t registry_hooks(struct registry *r, const struct http_hook **ret)
{
    struct http_hook *hook;
    struct capability *c;
    uint32_t n = 0, groups = 0;

    while (registry_cap(r, ATH_CAP_ROUTES, groups))
        groups++;
    hook = arena_alloc(&r->arena, (groups + 1) * sizeof(*hook));
    for (uint32_t i = 0; (c = registry_cap(r, ATH_CAP_ROUTES, i)); i++)
        if (c->routes.before)
            hook[n++] = (struct http_hook){ c->routes.before, c->self, &c->open };
    *ret = hook;
    return n;
}

static bool field_same(const ath_field *f, const char *a, const char *b)
{
    ath_str x, y;

    if (f->type != ATH_T_STR)
        return memcmp(a + f->off, b + f->off, f->type == ATH_T_BOOL ? 4 : 8) == 0;
    memcpy(&x, a + f->off, sizeof(x));
    memcpy(&y, b + f->off, sizeof(y));
    return str_eq(x, y);
}

/* Puts back what may not change while the server runs. True: something else did change. */
static bool settle(const ath_self *s, const char *old, char *new)
{
    bool changed = false;

    for (uint32_t i = 0; i < s->all_count; i++) {
        const ath_field *f = &s->all_field[i];
        if (field_same(f, old, new))
            continue;
        if (f->flags & ATH_CF_RELOAD)
            changed = true;
        else
            memcpy(new + f->off, old + f->off,
                   f->type == ATH_T_STR    ? sizeof(ath_str)
                   : f->type == ATH_T_BOOL ? 4u
                                           : 8u);
    }
    return changed;
}

int registry_reload(struct registry *r, plugin_fill *fill, void *arg, bool *ret_changed, ath_err *e)
{
    struct plugin_view *v = registry_view_new(r);
    bool changed = false;

    for (uint32_t i = 0; i < r->count; i++) {
        int rc = configure(r->self[i], fill, arg, v->config[i], &v->arena, e);
        if (rc < 0) {
            registry_view_drop(v);
            return rc;
        }
        if (settle(r->self[i], registry_config(r->self[i]), v->config[i]))
            changed = true;
    }
    *ret_changed = changed;
    if (changed)
        registry_view_set(r, v);
    else
        registry_view_drop(v);
    return 0;
}
