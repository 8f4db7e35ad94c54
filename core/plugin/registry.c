/* Looking things up among the loaded plugins, and the views of their configurations. */
#include "plugin/registry.h"

#include "base/mem.h"
#include "io/task.h"
#include "lib/buf.h"
#include "plugin/order.h"

static const char *name_of(const ath_self *s)
{
    return s->name;
}

struct registry *registry_new(void)
{
    struct registry *r = MEM_NEW(struct registry);

    task_self_name(name_of);
    arena_init(&r->arena);
    r->refused_last = &r->refused;
    return r;
}

void registry_free(struct registry *r)
{
    struct plugin_view *v, *older;

    if (!r)
        return;
    for (v = atomic_load(&r->view); v; v = older) {
        older = v->older;
        registry_view_drop(v);
    }
    installed_free(&r->installed);
    arena_free(&r->arena);
    free(r);
}

void registry_offer(struct registry *r, const char *name, uint32_t version, const void *vtable)
{
    struct core_service *s = &r->service[r->service_count];
    size_t at = strlen(r->core_offers);

    if (r->service_count == SERVICES_MOST)
        abort(); /* the core's own list: a constant of this program */
    *s = (struct core_service){ .name = name, .version = version, .vtable = vtable };
    snprintf(s->word, sizeof(s->word), "%s@%u", name, version);
    snprintf(r->core_offers + at, sizeof(r->core_offers) - at, "%s%s", at ? " " : "", s->word);
    r->service_count++;
}

ath_self *registry_find(const struct registry *r, ath_str name)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (str_is(name, r->self[i]->name))
            return r->self[i];
    return NULL;
}

struct capability *registry_cap(const struct registry *r, uint32_t kind, uint32_t i)
{
    for (uint32_t k = 0; k < r->count; k++) {
        ath_self *s = r->self[k];
        for (uint32_t c = 0; c < s->cap_count && s->stage != STAGE_DOWN; c++)
            if (s->cap[c].cap.kind == kind && i-- == 0)
                return &s->cap[c];
    }
    return NULL;
}

/* How many of the given words the command's name takes; 0: it is another one. */
static uint32_t command_matches(const char *name, const char *const *word, uint32_t words)
{
    ath_str rest = str_of(name), piece;
    uint32_t n = 0;

    while (str_next(&rest, ' ', &piece)) {
        if (n == words || !str_is(piece, word[n]))
            return 0;
        n++;
    }
    return n;
}

struct capability *registry_command(const struct registry *r, const char *const *word,
                                    uint32_t words, uint32_t *ret_words)
{
    struct capability *best = NULL, *c;
    uint32_t best_n = 0;

    for (uint32_t i = 0; (c = registry_cap(r, ATH_CAP_COMMAND, i)); i++) {
        uint32_t n = command_matches(c->cap.name, word, words);
        if (n > best_n) {
            best = c;
            best_n = n;
        }
    }
    if (best)
        *ret_words = best_n;
    return best;
}

static const void *service_of_plugin(const struct registry *r, const char *name, uint32_t version)
{
    struct capability *c;

    for (uint32_t i = 0; (c = registry_cap(r, ATH_CAP_DRIVER, i)); i++)
        if (c->driver.version == version && strcmp(c->cap.name, name) == 0)
            return c->driver.vtable;
    return NULL;
}

const void *registry_service(const ath_self *s, const char *name, uint32_t version)
{
    const struct registry *r = s->registry;
    const void *found;
    char word[128];

    snprintf(word, sizeof(word), "%s@%u", name, version);
    if (!order_has(s->d.needs, str_of(word)))
        return NULL;
    if ((found = service_of_plugin(r, name, version)))
        return found;
    for (uint32_t i = 0; i < r->service_count; i++)
        if (strcmp(r->service[i].word, word) == 0)
            return r->service[i].vtable;
    return NULL;
}

static const struct plugin_view *view_now(const struct registry *r)
{
    return atomic_load_explicit(&((struct registry *)(uintptr_t)r)->view, memory_order_acquire);
}

const void *registry_config(const ath_self *s)
{
    const struct plugin_view *v = view_now(s->registry);

    return v ? v->config[s->number] : NULL;
}

/* A task has no view until somebody asks: then the one of the task above, if that lives on the same
 * loop (another loop's task may not be touched from here), else the present one. */
const struct plugin_view *registry_task_view(ath_task *t, const struct registry *r)
{
    if (!t->configs)
        t->configs = t->parent && t->parent->loop == t->loop ? registry_task_view(t->parent, r)
                                                             : view_now(r);
    return t->configs;
}

const void *registry_task_config(ath_task *t, const ath_self *s)
{
    return registry_task_view(t, s->registry)->config[s->number];
}

struct plugin_view *registry_view_alloc(uint32_t room)
{
    struct plugin_view *v = mem_new(sizeof(*v) + room * sizeof(v->config[0]));

    arena_init(&v->arena);
    return v;
}

struct plugin_view *registry_view_new(const struct registry *r)
{
    struct plugin_view *v = registry_view_alloc(r->count);

    v->count = r->count;
    for (uint32_t i = 0; i < r->count; i++)
        v->config[i] = arena_alloc(&v->arena, r->self[i]->config_room);
    return v;
}

void registry_view_set(struct registry *r, struct plugin_view *v)
{
    v->older = atomic_load(&r->view);
    atomic_store_explicit(&r->view, v, memory_order_release);
    for (uint32_t i = 0; i < r->count; i++) {
        ath_self *s = r->self[i];
        for (uint32_t k = 0; k < s->cap_count; k++) {
            const ath_field *gate = s->cap[k].gate;
            int32_t open = 1;
            if (gate)
                memcpy(&open, (const char *)v->config[i] + gate->off, sizeof(open));
            __atomic_store_n(&s->cap[k].open, s->stage == STAGE_DOWN ? 0 : open, __ATOMIC_RELAXED);
        }
    }
}

void registry_view_drop(struct plugin_view *v)
{
    arena_free(&v->arena);
    free(v);
}

void registry_refuse(struct registry *r, const char *name, bool optional, const ath_err *e)
{
    struct refusal *f = ARENA_NEW(&r->arena, struct refusal);

    f->name = arena_str(&r->arena, str_of(name)).p;
    f->optional = optional;
    err_copy(&f->err, e);
    *r->refused_last = f;
    r->refused_last = &f->next;
    r->fatal += !optional;
}

void registry_print_refusals(const struct registry *r, struct buf *b)
{
    for (const struct refusal *f = r->refused; f; f = f->next) {
        buf_printf(b, "%s%s\n", f->optional ? "optional: " : "", f->err.message);
        if (f->err.hint_n)
            buf_printf(b, "    hint: %s\n", f->err.hint);
    }
}
