/* Routes by method and path.
 *
 * Two structures over the same routes. Paths without {names} are found by one look into a map whose
 * keys are "METHOD path": nearly every request. What is not there is looked for in a tree of path
 * segments, where each node has its literal children, one {name} child and the routes that end
 * there. Inner routes have two such structures of their own, so they cost others nothing. The walk
 * tries literal, {name}, {name...}/literal, {name...} in this order and goes back when a branch has no
 * open route; the first node that has one decides, so a literal path with another method is 405 and never falls
 * through to a {name}.
 *
 * Percent-decoding (contract routes.md 2): before matching all but %2F, %25 and %2B; these survive
 * into the segment and are decoded when it has become a parameter.
 */
#include "http/router.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/mem.h"
#include "lib/buf.h"

enum { KEY_ROOM = 256 };

struct ends { /* the routes of one path pattern */
    struct route **route;
    uint32_t n;
};

struct tail { /* of {name...}/segment */
    char *segment;
    struct ends ends;
};

struct node {
    struct map child;       /* literal segment -> struct node */
    struct node *any;       /* {name} */
    struct ends here, rest; /* of paths that end here; of {name...} behind this node */
    struct tail *tail;      /* of {name...} that a literal segment follows */
    uint32_t tails;
    char *segment;
};

struct places {
    struct node root;
    struct map literal; /* "GET /ping" -> struct route */
};

struct router {
    struct places own, inner;
    struct route **route;
    size_t n;
    char **key; /* of the maps */
    size_t keys;
};

/* What a walk has matched so far. */
struct walk {
    ath_str param[ROUTE_PARAMS];
    uint32_t params;
    const struct ends *found;
};

struct router *router_new(void)
{
    return MEM_NEW(struct router);
}

static void node_free(struct node *n)
{
    struct node *child;

    for (size_t at = 0; (child = map_next(&n->child, &at));) {
        node_free(child);
        free(child);
    }
    map_free(&n->child);
    if (n->any)
        node_free(n->any);
    free(n->any);
    free(n->segment);
    free(n->here.route);
    free(n->rest.route);
    for (uint32_t i = 0; i < n->tails; i++) {
        free(n->tail[i].segment);
        free(n->tail[i].ends.route);
    }
    free(n->tail);
}

void router_free(struct router *r)
{
    if (!r)
        return;
    node_free(&r->own.root);
    node_free(&r->inner.root);
    map_free(&r->own.literal);
    map_free(&r->inner.literal);
    for (size_t i = 0; i < r->n; i++)
        free(r->route[i]);
    for (size_t i = 0; i < r->keys; i++)
        free(r->key[i]);
    free(r->route);
    free(r->key);
    free(r);
}

/* ---- filling ---- */

enum kind { LITERAL, ONE, REST };

static enum kind segment_kind(ath_str s)
{
    if (s.n < 3 || s.p[0] != '{')
        return LITERAL;
    return s.n > 5 && memcmp(s.p + s.n - 4, "...}", 4) == 0 ? REST : ONE;
}

/* `left`: of the pattern, behind the segment. */
static int segment_check(ath_str s, ath_str left, ath_err *e)
{
    size_t open = str_find(s, '{'), close = str_find(s, '}');

    if (open == s.n && close == s.n)
        return 0;
    if (open != 0 || close != s.n - 1 || s.n < 3 || str_is(s, "{...}"))
        return err_fail(e, ATH_E_CONFIG, "\"%.*s\" is not a whole {name}", STR_ARG(s));
    if (segment_kind(s) == REST && (str_find(left, '/') != left.n || str_find(left, '{') != left.n))
        return err_fail(e, ATH_E_CONFIG, "behind \"%.*s\" is more than one literal segment",
                        STR_ARG(s));
    return 0;
}

static int pattern_check(const struct route *route, ath_err *e)
{
    ath_str rest = str_of(route->def.path), segment;
    uint32_t names = 0;

    if (!route->def.method || !route->def.method[0])
        return err_fail(e, ATH_E_CONFIG, "it has no method");
    if (rest.n == 0 || rest.p[0] != '/')
        return err_fail(e, ATH_E_CONFIG, "it does not begin with \"/\"");
    for (rest = str_after(rest, 1); str_next(&rest, '/', &segment);) {
        int rc = segment_check(segment, rest, e);
        if (rc < 0)
            return rc;
        names += segment_kind(segment) != LITERAL;
    }
    if (names > ROUTE_PARAMS)
        return err_fail(e, ATH_E_CONFIG, "it has %u names, but at most %d are possible", names,
                        ROUTE_PARAMS);
    return 0;
}

static struct node *node_below(struct node *n, ath_str segment)
{
    struct node *child;

    if (segment_kind(segment) == ONE) {
        if (!n->any)
            n->any = MEM_NEW(struct node);
        return n->any;
    }
    child = map_get(&n->child, segment);
    if (!child) {
        child = MEM_NEW(struct node);
        child->segment = mem_dup_str(segment);
        map_put(&n->child, str_from(child->segment, segment.n), child);
    }
    return child;
}

static struct ends *tail_below(struct node *n, ath_str segment)
{
    for (uint32_t i = 0; i < n->tails; i++)
        if (str_is(segment, n->tail[i].segment))
            return &n->tail[i].ends;
    n->tail = mem_resize(n->tail, (n->tails + 1) * sizeof(*n->tail));
    n->tail[n->tails] = (struct tail){ .segment = mem_dup_str(segment) };
    return &n->tail[n->tails++].ends;
}

/* Where the routes of `path` are kept; the nodes on the way are made. */
static struct ends *ends_of(struct places *p, ath_str path)
{
    struct node *at = &p->root;
    size_t from = 1;

    for (;;) {
        ath_str left = str_after(path, from);
        ath_str segment = { left.p, str_find(left, '/') };
        if (segment_kind(segment) == REST)
            return segment.n == left.n ? &at->rest
                                       : tail_below(at, str_after(left, segment.n + 1));
        at = node_below(at, segment);
        if (segment.n == left.n)
            return &at->here;
        from += segment.n + 1;
    }
}

static int refuse_twice(const struct ends *ends, const struct route *route, ath_err *e)
{
    for (uint32_t i = 0; i < ends->n; i++) {
        const struct route *other = ends->route[i];
        if (strcmp(other->def.method, route->def.method) == 0)
            return err_fail(
                e, ATH_E_CONFIG, "route %s %s of plugin \"%s\" collides with %s of plugin \"%s\"",
                route->def.method, route->def.path, route->plugin, other->def.path, other->plugin);
    }
    return 0;
}

static void remember_literal(struct router *r, struct places *p, struct route *route)
{
    struct buf key = BUF_HEAP;

    if (strchr(route->def.path, '{'))
        return;
    buf_z(&key, route->def.method);
    buf_char(&key, ' ');
    buf_z(&key, route->def.path);
    map_put(&p->literal, buf_view(&key), route);
    r->key = mem_resize(r->key, (r->keys + 1) * sizeof(char *));
    r->key[r->keys++] = key.p;
}

int router_add(struct router *r, const struct route *route, ath_err *e)
{
    struct places *places = route->def.flags & ATH_RT_INNER ? &r->inner : &r->own;
    struct route *own;
    struct ends *ends;
    struct ath_err why;
    int rc;

    if ((rc = pattern_check(route, &why)) < 0)
        return err_fail(e, rc, "path \"%s\" of plugin \"%s\" cannot be a route: %s",
                        route->def.path ? route->def.path : "", route->plugin, why.message);
    ends = ends_of(places, str_of(route->def.path));
    if ((rc = refuse_twice(ends, route, e)) < 0)
        return rc;
    own = MEM_NEW(struct route);
    *own = *route;
    own->id = (uint32_t)r->n;
    r->route = mem_resize(r->route, (r->n + 1) * sizeof(own));
    r->route[r->n++] = own;
    ends->route = mem_resize(ends->route, (ends->n + 1) * sizeof(own));
    ends->route[ends->n++] = own;
    remember_literal(r, places, own);
    return 0;
}

size_t router_count(const struct router *r)
{
    return r->n;
}

const struct route *router_at(const struct router *r, size_t i)
{
    return r->route[i];
}

/* ---- finding ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes %XX; with `keep`, not what would change the path's shape or be decoded twice. False: a
 * NUL was in it. */
static bool decode(ath_str s, bool keep, ath_arena *arena, ath_str *ret)
{
    char *out = arena_raw(arena, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int hi = s.p[i] == '%' && i + 2 < s.n ? hex(s.p[i + 1]) : -1;
        int lo = hi >= 0 ? hex(s.p[i + 2]) : -1;
        char c = (char)(lo < 0 ? s.p[i] : hi << 4 | lo);
        if (c == 0)
            return false;
        if (lo >= 0 && !(keep && strchr("/%+", c)))
            i += 2;
        else
            c = s.p[i];
        out[n++] = c;
    }
    out[n] = 0;
    *ret = (ath_str){ out, n };
    return true;
}

static bool any_open(const struct ends *ends)
{
    for (uint32_t i = 0; i < ends->n; i++)
        if (route_is_open(ends->route[i]))
            return true;
    return false;
}

static bool take(struct walk *w, const struct ends *ends)
{
    if (!any_open(ends))
        return false;
    w->found = ends;
    return true;
}

static bool walk(const struct node *n, ath_str path, struct walk *w);

/* `next` has taken `segment`; is there a route in what follows it? */
static bool walk_below(const struct node *next, ath_str path, size_t segment, struct walk *w)
{
    if (segment == path.n)
        return take(w, &next->here);
    return walk(next, str_after(path, segment + 1), w);
}

/* {name...} with the segment that has to follow it, else alone. */
static bool walk_rest(const struct node *n, ath_str path, struct walk *w)
{
    if (w->params == ROUTE_PARAMS)
        return false;
    for (uint32_t i = 0; i < n->tails; i++) {
        size_t tail = strlen(n->tail[i].segment) + 1;
        if (path.n >= tail && path.p[path.n - tail] == '/' &&
            str_ends(path, n->tail[i].segment) && take(w, &n->tail[i].ends)) {
            w->param[w->params++] = str_from(path.p, path.n - tail);
            return true;
        }
    }
    if (!n->rest.n || !path.n || !take(w, &n->rest))
        return false;
    w->param[w->params++] = path;
    return true;
}

static bool walk(const struct node *n, ath_str path, struct walk *w)
{
    ath_str segment = { path.p, str_find(path, '/') };
    const struct node *child = map_get(&n->child, segment);
    uint32_t params = w->params;

    if (child && walk_below(child, path, segment.n, w))
        return true;
    if (n->any && segment.n && params < ROUTE_PARAMS) {
        w->param[w->params++] = segment;
        if (walk_below(n->any, path, segment.n, w))
            return true;
        w->params = params;
    }
    return walk_rest(n, path, w);
}

static const struct route *by_method(const struct ends *ends, ath_str method)
{
    for (uint32_t i = 0; i < ends->n; i++)
        if (str_is(method, ends->route[i]->def.method) && route_is_open(ends->route[i]))
            return ends->route[i];
    return NULL;
}

static void allow_add(struct route_match *m, const char *method)
{
    size_t at = strlen(m->allow), n = strlen(method);

    if (at + n + 3 > sizeof(m->allow))
        return;
    if (at) {
        memcpy(m->allow + at, ", ", 2);
        at += 2;
    }
    memcpy(m->allow + at, method, n + 1);
}

static void allow_fill(const struct ends *ends, struct route_match *m)
{
    for (uint32_t i = 0; i < ends->n; i++) {
        const char *method = ends->route[i]->def.method;
        if (!route_is_open(ends->route[i]))
            continue;
        allow_add(m, method);
        if (strcmp(method, "GET") == 0 && !by_method(ends, ATH_S("HEAD")))
            allow_add(m, "HEAD");
    }
}

static const struct route *find_literal(const struct places *p, ath_str method, ath_str path)
{
    char key[KEY_ROOM];
    const struct route *found;

    if (method.n + 1 + path.n > sizeof(key))
        return NULL;
    memcpy(key, method.p, method.n);
    key[method.n] = ' ';
    memcpy(key + method.n + 1, path.p, path.n);
    found = map_get(&p->literal, str_from(key, method.n + 1 + path.n));
    return found && route_is_open(found) ? found : NULL;
}

static void find_in_tree(const struct places *p, ath_str method, ath_str path, ath_arena *arena,
                         struct route_match *ret)
{
    struct walk w = { .params = 0 };

    if (!walk(&p->root, str_after(path, 1), &w))
        return;
    ret->route = by_method(w.found, method);
    if (!ret->route && str_is(method, "HEAD"))
        ret->route = by_method(w.found, ATH_S("GET"));
    if (!ret->route) {
        allow_fill(w.found, ret);
        return;
    }
    for (uint32_t i = 0; i < w.params; i++)
        if (memchr(w.param[i].p, '%', w.param[i].n))
            decode(w.param[i], false, arena, &ret->param[i]);
        else
            ret->param[i] = arena_str(arena, w.param[i]);
}

static inline void find_in(const struct places *p, ath_str method, ath_str path, ath_arena *arena,
                           struct route_match *ret)
{
    ret->route = NULL;
    ret->allow[0] = 0;
    if (path.n == 0 || path.p[0] != '/')
        return;
    if (memchr(path.p, '%', path.n) && !decode(path, true, arena, &path))
        return;
    ret->route = find_literal(p, method, path);
    if (!ret->route)
        find_in_tree(p, method, path, arena, ret);
}

void router_find(const struct router *r, ath_str method, ath_str path, ath_arena *arena,
                 struct route_match *ret)
{
    find_in(&r->own, method, path, arena, ret);
}

void router_find_led(const struct router *r, ath_str method, ath_str path, ath_arena *arena,
                     struct route_match *ret)
{
    find_in(&r->inner, method, path, arena, ret);
    if (!ret->route && !ret->allow[0])
        find_in(&r->own, method, path, arena, ret);
}

/* ---- groups ---- */

const char *route_group(ath_str path)
{
    static const struct {
        const char *prefix, *group;
    } by_prefix[] = {
        { "/gateway", "gateway" },  { "/rest/", "gateway" },     { "/management/", "management" },
        { "/schema/", "schema" },   { "/storage/", "storage" },  { "/provision/", "provision" },
        { "/admin/", "admin" },     { "/backup/", "backup" },    { "/pipelines", "pipelines" },
        { "/openapi", "metadata" }, { "/registry", "metadata" }, { "/docs", "metadata" },
        { "/wss", "metadata" },
    };
    static const char *const health[] = { "/", "/ping", "/health", "/cluster/health" };

    for (size_t i = 0; i < ATH_COUNT(by_prefix); i++)
        if (str_starts(path, by_prefix[i].prefix))
            return by_prefix[i].group;
    if (str_is(path, "/metrics"))
        return "metrics";
    for (size_t i = 0; i < ATH_COUNT(health); i++)
        if (str_is(path, health[i]))
            return "health";
    return "other";
}
