/* Rights: what is granted is taken apart once, when a set is made, so that a check searches for one
 * name and touches little.
 *
 *     name       all of them, sorted: for rights that routes name
 *     wide       which one covers relations of any name, per action
 *     grant      the tables, and tables of a schema, that others are about; sorted by table
 *
 * Searching compares the first eight bytes as one number, the rest only where those are equal. A
 * grant is made only of names that are plain identifiers and no other kind of right, so a table
 * that is found by its text is one that has a right of its own.
 */
#include "auth/right.h"

#include <endian.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "base/mem.h"

enum { ROOM = 256 }; /* a name of three identifiers takes 140 */

enum action { READ, WRITE, DELETE, ACTIONS, ANY = ACTIONS, NONE };

struct grant {
    uint64_t head;         /* of `table` */
    ath_str table, schema; /* schema empty: in every one that is not protected */
    const ath_str *by[ACTIONS];
};

struct right_set {
    uint32_t n, grants;
    bool stars;                   /* some name begins with "*." */
    const ath_str *all;           /* "*" */
    const ath_str *gateway;       /* "gateway.*" */
    const ath_str *wide[ACTIONS]; /* what allows this action on relations of any name */
    struct grant *grant;
    ath_str *name;
    uint64_t head[]; /* of each name: its first bytes, in an order that compares */
};

static struct {
    bool strict;
    size_t n;
    ath_str *schema; /* those that are protected */
} rules;

static const char *const action_name[ACTIONS] = { "read", "write", "delete" };

static enum action action_of(ath_str s)
{
    if (s.n == 4 && memcmp(s.p, "read", 4) == 0)
        return READ;
    if (s.n == 5 && memcmp(s.p, "write", 5) == 0)
        return WRITE;
    if (s.n == 6 && memcmp(s.p, "delete", 6) == 0)
        return DELETE;
    return s.n == 1 && *s.p == '*' ? ANY : NONE;
}

void right_configure(const struct right_rules *given)
{
    ath_str rest = given->protected_schemas, piece;

    free(rules.schema);
    rules.strict = given->strict;
    rules.n = 0;
    rules.schema = mem_new((rest.n + 1) * sizeof(*rules.schema));
    while (str_next(&rest, ',', &piece))
        if ((piece = str_trim(piece)).n)
            rules.schema[rules.n++] = piece;
}

/* ---- names ---- */

/* Which letters a name of its own right may have: auth.md 5.1. */
static bool is_letter(unsigned char c)
{
    return (unsigned char)((c | 32) - 'a') < 26 || c == '_';
}

static bool is_plain(ath_str name)
{
    if (name.n == 0 || !is_letter((unsigned char)name.p[0]))
        return false;
    for (size_t i = 1; i < name.n; i++)
        if (!is_letter((unsigned char)name.p[i]) && (unsigned char)(name.p[i] - '0') > 9)
            return false;
    return true;
}

/* What stands before the first dot of rights that are not about tables. */
static bool is_reserved(ath_str name)
{
    return (name.n == 7 && (str_is(name, "gateway") || str_is(name, "billing"))) ||
           (name.n == 10 && str_is(name, "management"));
}

static bool is_protected(ath_str schema)
{
    for (size_t i = 0; i < rules.n; i++)
        if (str_same(rules.schema[i], schema))
            return true;
    return false;
}

/* Has the table a right by its name alone, resp. with its schema? */
static bool has_short(const ath_right *r)
{
    return is_plain(r->table) && !is_reserved(r->table) && !is_protected(r->schema);
}

static bool has_long(ath_str schema, ath_str table)
{
    return is_plain(table) && is_plain(schema) && !is_reserved(schema);
}

/* A kind of its own: "gateway", "gateway.rpc". */
static bool is_kind(ath_str table)
{
    return is_reserved(str_from(table.p, str_find(table, '.')));
}

void right_name(struct buf *b, const ath_right *right)
{
    if (right->schema.n == 0 ? is_kind(right->table) || is_plain(right->table) : has_short(right)) {
        buf_str(b, right->table);
    } else if (right->schema.n &&
               (has_long(right->schema, right->table) || is_protected(right->schema))) {
        buf_str(b, right->schema);
        buf_char(b, '.');
        buf_str(b, right->table);
    } else {
        buf_lit(b, "gateway");
    }
    buf_char(b, '.');
    buf_str(b, right->action);
}

ath_str right_action(ath_str name)
{
    size_t from = name.n;

    while (from > 0 && name.p[from - 1] != '.')
        from--;
    return str_after(name, from);
}

bool right_well_formed(ath_str name)
{
    return name.n && str_trim(name).n == name.n && !str_has_control(name);
}

/* "A.B"; empty when it is longer than any name that could be found. */
static ath_str join(char room[ROOM], ath_str a, ath_str b)
{
    char *at;

    if (a.n + b.n + 1 > ROOM)
        return (ath_str){ room, 0 };
    at = str_put(room, a);
    *at++ = '.';
    return str_from(room, (size_t)(str_put(at, b) - room));
}

/* ---- the set ---- */

static uint32_t load32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

/* The first eight bytes as a number, zeros behind a shorter name. */
static uint64_t head_of(ath_str name)
{
    uint64_t head = 0;

    if (name.n >= 8)
        return (uint64_t)load32(name.p) << 32 | load32(name.p + 4);
    if (name.n >= 4)
        return (uint64_t)load32(name.p) << 32 | (uint64_t)load32(name.p + name.n - 4)
                                                    << (64 - 8 * name.n);
    for (size_t i = 0; i < name.n; i++)
        head |= (uint64_t)(unsigned char)name.p[i] << (56 - 8 * i);
    return head;
}

static const ath_str *find(const struct right_set *s, ath_str name)
{
    uint64_t head = head_of(name);
    uint32_t low = 0, high = s->n;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int c = s->head[middle] < head   ? -1
                : s->head[middle] > head ? 1
                                         : str_cmp(s->name[middle], name);
        if (c == 0)
            return &s->name[middle];
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const ath_str *find_joined(const struct right_set *s, ath_str a, ath_str b)
{
    char room[ROOM];

    return find(s, join(room, a, b));
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(*(const ath_str *)a, *(const ath_str *)b);
}

static int by_table(const void *a, const void *b)
{
    const struct grant *x = a, *y = b;
    int c = str_cmp(x->table, y->table);

    return c ? c : str_cmp(x->schema, y->schema);
}

/* "TABLE.ACTION" or "SCHEMA.TABLE.ACTION", of names that have such a right. */
static bool take_apart(const ath_str *name, struct grant *ret)
{
    size_t dot = str_find(*name, '.'), last = name->n;
    enum action action;

    while (last > 0 && name->p[last - 1] != '.')
        last--;
    if (last == 0 || (action = action_of(str_after(*name, last))) == NONE)
        return false;
    *ret = (struct grant){ .table = str_from(name->p, last - 1) };
    if (dot < last - 1) {
        ret->schema = str_from(name->p, dot);
        ret->table = str_from(name->p + dot + 1, last - dot - 2);
    }
    for (int i = 0; i < ACTIONS; i++)
        if (action == ANY || (int)action == i)
            ret->by[i] = name;
    ret->head = head_of(ret->table);
    return ret->schema.n ? has_long(ret->schema, ret->table)
                         : is_plain(ret->table) && !is_reserved(ret->table);
}

static void compile_grants(struct right_set *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->n; i++)
        s->grants += take_apart(&s->name[i], &s->grant[s->grants]);
    if (s->grants)
        qsort(s->grant, s->grants, sizeof(*s->grant), by_table);
    for (uint32_t i = 0; i < s->grants; i++) {
        if (n == 0 || by_table(&s->grant[n - 1], &s->grant[i]) != 0) {
            s->grant[n++] = s->grant[i];
            continue;
        }
        for (int k = 0; k < ACTIONS; k++)
            if (s->grant[i].by[k])
                s->grant[n - 1].by[k] = s->grant[i].by[k];
    }
    s->grants = n;
}

static void compile(struct right_set *s)
{
    s->all = find(s, ATH_S("*"));
    s->gateway = find(s, ATH_S("gateway.*"));
    for (uint32_t i = 0; i < s->n; i++)
        s->stars |= str_starts(s->name[i], "*.");
    for (int i = 0; i < ACTIONS; i++) {
        ath_str action = str_of(action_name[i]);
        s->wide[i] = find_joined(s, ATH_S("gateway"), action);
        if (!s->wide[i])
            s->wide[i] = s->gateway ? s->gateway : find_joined(s, ATH_S("*"), action);
    }
    compile_grants(s);
}

/* One piece of memory: the set, the heads, the grants, the names, their text. */
static struct right_set *set_alloc(const ath_str *name, size_t n)
{
    struct right_set *s;
    size_t bytes = 0;
    char *at;

    for (size_t i = 0; i < n; i++)
        bytes += name[i].n;
    s = mem_new(sizeof(*s) + n * (sizeof(*s->head) + sizeof(*s->grant) + sizeof(*s->name)) + bytes);
    s->grant = (struct grant *)(s->head + n);
    s->name = (ath_str *)(s->grant + n);
    at = (char *)(s->name + n);
    for (size_t i = 0; i < n; i++) {
        s->name[i] = str_from(at, name[i].n);
        at = str_put(at, name[i]);
    }
    return s;
}

struct right_set *right_set_new(const ath_str *name, size_t n)
{
    struct right_set *s;

    n = n < RIGHTS_MOST ? n : RIGHTS_MOST;
    s = set_alloc(name, n);
    if (n)
        qsort(s->name, n, sizeof(*s->name), by_name);
    for (size_t i = 0; i < n; i++)
        if (s->name[i].n && (s->n == 0 || !str_eq(s->name[i], s->name[s->n - 1])))
            s->name[s->n++] = s->name[i];
    for (uint32_t i = 0; i < s->n; i++)
        s->head[i] = head_of(s->name[i]);
    compile(s);
    return s;
}

void right_set_free(struct right_set *s)
{
    free(s);
}

uint32_t right_set_names(const struct right_set *s, const ath_str **ret)
{
    *ret = s ? s->name : NULL;
    return s ? s->n : 0;
}

/* ---- what is asked for ---- */

/* gateway.* and gateway.ACTION say something about every right, unless strict takes these out. */
static bool beyond_gateway(ath_str resource)
{
    return rules.strict && (str_is(resource, "management") || str_starts(resource, "billing"));
}

static const ath_str *covering(const struct right_set *s, ath_str resource, ath_str action)
{
    const ath_str *by = NULL;

    if (s->stars && (by = find_joined(s, ATH_S("*"), action)))
        return by;
    if ((by = find_joined(s, resource, ATH_S("*"))) || beyond_gateway(resource))
        return by;
    return s->gateway ? s->gateway : find_joined(s, ATH_S("gateway"), action);
}

const ath_str *right_covering(const struct right_set *s, ath_str required)
{
    const ath_str *by;
    size_t dot;

    if (!s)
        return NULL;
    if (s->all || (by = find(s, required)))
        return s->all ? s->all : by;
    dot = str_find(required, '.');
    return dot < required.n ? covering(s, str_from(required.p, dot), str_after(required, dot + 1))
                            : NULL;
}

/* The first grant that is about the table, or about one behind it. */
static const struct grant *grant_of(const struct right_set *s, uint64_t head, ath_str table)
{
    uint32_t low = 0, high = s->grants;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct grant *g = &s->grant[middle];
        if (g->head < head || (g->head == head && str_cmp(g->table, table) < 0))
            low = middle + 1;
        else
            high = middle;
    }
    return s->grant + low;
}

static bool is_about(const struct grant *g, ath_str schema)
{
    return g->schema.n ? str_same(g->schema, schema) : !is_protected(schema);
}

static const ath_str *granted(const struct right_set *s, const ath_right *r, enum action action)
{
    const struct grant *end = s->grant + s->grants;
    uint64_t head = head_of(r->table);

    for (const struct grant *g = grant_of(s, head, r->table);
         g < end && g->head == head && str_same(g->table, r->table); g++)
        if (g->by[action] && is_about(g, r->schema))
            return g->by[action];
    return NULL;
}

static const ath_str *relation(const struct right_set *s, const ath_right *r)
{
    enum action action = action_of(r->action);

    if (s->all || action >= ACTIONS)
        return s->all;
    if (s->wide[action] && !(rules.strict && is_protected(r->schema)))
        return s->wide[action];
    return granted(s, r, action);
}

/* Without a schema: a kind, or a relation that nobody has found. */
static const ath_str *unfound(const struct right_set *s, const ath_right *r)
{
    bool named = is_kind(r->table) || is_plain(r->table);
    char room[ROOM];

    return right_covering(s, join(room, named ? r->table : ATH_S("gateway"), r->action));
}

const ath_str *right_allowing(const struct right_set *s, const ath_right *right)
{
    if (!s)
        return NULL;
    return likely(right->schema.n) ? relation(s, right) : unfound(s, right);
}
