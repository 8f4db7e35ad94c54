/* The stages, forwards and backwards.
 *
 * Each plugin remembers how far it got (stage, loops_up), so undoing never asks in which stage the
 * failure was: plugin_down() undoes what there is.
 */
#include "plugin/stage.h"

#include "base/mem.h"
#include "lib/buf.h"
#include "plugin/call.h"
#include "plugin/order.h"

const char *stage_name(enum plugin_stage s)
{
    static const char *const name[] = {
        [STAGE_LOADED] = "loaded",    [STAGE_INIT] = "initialised", [STAGE_STARTED] = "started",
        [STAGE_DRAINED] = "draining", [STAGE_DOWN] = "down",
    };

    return name[s];
}

/* One call on a loop's thread. */
struct visit {
    ath_self *s;
    ath_loop *l;
    int rc;
    ath_err *e;
};

static void visit(struct visit *v, ath_fn *fn)
{
    if (v->l->kind == LOOP_CONTROL)
        fn(v);
    else
        loop_call(v->l, fn, v);
}

static void make_room(void *arg)
{
    struct visit *v = arg;

    if (!v->l->local)
        v->l->local = mem_new((v->s->registry->count + 1) * sizeof(*v->l->local));
}

static void visit_init(void *arg)
{
    struct visit *v = arg;
    ath_self *s = v->s;

    make_room(v);
    CALL(s, v->l, v->rc = s->d.loop_init(v->l, s->state, &v->l->local[s->number], v->e));
}

static void visit_fini(void *arg)
{
    struct visit *v = arg;
    ath_self *s = v->s;

    CALL(s, v->l, s->d.loop_fini(v->l, s->state, v->l->local[s->number]));
    v->l->local[s->number] = NULL;
}

static void visit_free(void *arg)
{
    struct visit *v = arg;

    free(v->l->local);
    v->l->local = NULL;
}

static int up_init(ath_self *s, ath_err *e)
{
    int rc = 0;

    if (s->d.init)
        CALL(s, NULL, rc = s->d.init(s, registry_config(s), &s->state, e));
    if (rc == 0)
        s->stage = STAGE_INIT;
    return rc;
}

static int up_loops(ath_self *s, ath_err *e)
{
    struct registry *r = s->registry;
    int rc = 0;

    for (uint32_t i = 0; i < r->loop_count && rc == 0; i++) {
        struct visit v = { s, r->loop[i], 0, e };
        visit(&v, s->d.loop_init ? visit_init : make_room);
        if ((rc = v.rc) == 0)
            s->loops_up++;
    }
    return rc;
}

static int up_start(ath_self *s, ath_err *e)
{
    int rc = 0;

    if (s->d.start)
        CALL(s, NULL, rc = s->d.start(s->state, e));
    if (rc == 0)
        s->stage = STAGE_STARTED;
    return rc;
}

static void loops_down(ath_self *s)
{
    while (s->loops_up > 0) {
        struct visit v = { .s = s, .l = s->registry->loop[--s->loops_up] };
        if (s->d.loop_fini)
            visit(&v, visit_fini);
    }
}

static void plugin_down(ath_self *s)
{
    loops_down(s);
    if (s->stage >= STAGE_INIT && s->stage < STAGE_DOWN && s->d.fini)
        CALL(s, NULL, s->d.fini(s->state));
    s->state = NULL;
    s->stage = STAGE_DOWN;
    for (uint32_t i = 0; i < s->cap_count; i++)
        __atomic_store_n(&s->cap[i].open, 0, __ATOMIC_RELAXED);
}

/* Somebody who may hold a service of `s` already; NULL: nobody. */
static const ath_self *needer(const ath_self *s)
{
    const struct registry *r = s->registry;

    for (uint32_t i = s->number + 1; i < r->count; i++) {
        const ath_self *other = r->self[i];
        ath_str rest = str_of(s->d.offers), word;
        while (other->stage != STAGE_DOWN && order_word(&rest, &word, NULL))
            if (order_has(other->d.needs, word))
                return other;
    }
    return NULL;
}

/* 0: it was optional, is undone and nobody minds. */
static int failed(ath_self *s, const char *what, int rc, ath_err *e)
{
    const ath_self *other = needer(s);
    ath_err why;

    err_copy(&why, e);
    err_fail(e, rc, "plugin \"%s\" failed in %s: %s", s->name, what,
             why.message_n ? why.message : err_entry(&why)->message);
    if (why.hint_n)
        err_hint(e, "%s", why.hint);
    if (!s->optional || other)
        return rc;
    plugin_down(s);
    registry_refuse(s->registry, s->name, true, e);
    return 0;
}

static int each(struct registry *r, const char *what, int (*run)(ath_self *s, ath_err *e),
                ath_err *e)
{
    for (uint32_t i = 0; i < r->count; i++) {
        int rc;
        err_reset(e);
        if (r->self[i]->stage == STAGE_DOWN || (rc = run(r->self[i], e)) >= 0)
            continue;
        if ((rc = failed(r->self[i], what, rc, e)) < 0)
            return rc;
    }
    return 0;
}

int stage_up(struct registry *r, ath_loop *const *loop, uint32_t n, ath_err *e)
{
    int rc;

    r->loop = loop;
    r->loop_count = n;
    if ((rc = each(r, "init", up_init, e)) < 0 || (rc = each(r, "loop_init", up_loops, e)) < 0 ||
        (rc = each(r, "start", up_start, e)) < 0)
        stage_down(r);
    return rc;
}

void stage_drain(struct registry *r)
{
    for (uint32_t i = r->count; i-- > 0;) {
        ath_self *s = r->self[i];
        if (s->stage != STAGE_STARTED)
            continue;
        if (s->d.drain)
            CALL(s, NULL, s->d.drain(s->state));
        s->stage = STAGE_DRAINED;
    }
}

void stage_down(struct registry *r)
{
    for (uint32_t i = r->count; i-- > 0;)
        loops_down(r->self[i]);
    for (uint32_t i = r->count; i-- > 0;)
        if (r->self[i]->stage != STAGE_DOWN)
            plugin_down(r->self[i]);
    for (uint32_t i = 0; i < r->loop_count && r->count; i++) {
        struct visit v = { .s = r->self[0], .l = r->loop[i] };
        visit(&v, visit_free);
    }
    r->loop_count = 0;
}
