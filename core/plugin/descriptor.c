/* From the plugin's tables to ours.
 *
 * In the order of the refusals: the descriptor fits and says what the note says; fields lie inside
 * their struct; each capability is of a known kind, whole, and its gate is a BOOL field; what the
 * note offers is there.
 */
#include "plugin/descriptor.h"

#include "lib/buf.h"
#include "plugin/abi.h"
#include "plugin/order.h"

enum { /* no plugin comes near; a number beyond is a damaged table */
       FIELDS_MOST = 1024,
       CAPS_MOST = 256,
       ROUTES_MOST = 2048,
       CONFIG_MOST = 1024 * 1024,
};

/* The part of each struct that the first published header had and a host cannot do without. */
#define UP_TO(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

#define REFUSE(s, e, ...) refuse_plugin((s), (e), __VA_ARGS__)

ATH_PRINTF(3, 4) static int refuse_plugin(const ath_self *s, ath_err *e, const char *fmt, ...)
{
    char words[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    return err_fail(e, ATH_E_ABI, "plugin \"%s\" %s", s->name, words);
}

static int same(const ath_self *s, const char *what, const char *got, const char *want, ath_err *e)
{
    if (got && strcmp(got, want) == 0)
        return 0;
    return REFUSE(s, e, "describes itself with %s \"%s\", but its note says \"%s\"", what,
                  got ? got : "(null)", want);
}

static int descriptor_copy(ath_self *s, const ath_plugin *theirs, ath_err *e)
{
    const struct note *n = s->note;
    int rc;

    if (!theirs)
        return REFUSE(s, e, "gave no descriptor");
    if (theirs->size < UP_TO(ath_plugin, cap) || theirs->size > 16 * sizeof(ath_plugin))
        return REFUSE(s, e, "has a descriptor of %u bytes, this server knows %zu to %zu",
                      theirs->size, UP_TO(ath_plugin, cap), sizeof(ath_plugin));
    abi_copy(&s->d, sizeof(s->d), theirs, theirs->size);
    if (s->d.layout != n->layout || s->d.abi_major != n->major || s->d.abi_minor != n->minor)
        return REFUSE(
            s, e,
            "describes itself with ABI %u.%u and layout %06x, but its note says %u.%u and %06x",
            s->d.abi_major, s->d.abi_minor, s->d.layout, n->major, n->minor, n->layout);
    if ((rc = same(s, "name", s->d.name, note_name(n), e)) < 0 ||
        (rc = same(s, "version", s->d.version, note_version(n), e)) < 0 ||
        (rc = same(s, "needs", s->d.needs, note_needs(n), e)) < 0 ||
        (rc = same(s, "offers", s->d.offers, note_offers(n), e)) < 0)
        return rc;
    if (!s->d.summary)
        s->d.summary = "";
    return 0;
}

static size_t type_size(uint32_t type)
{
    switch (type) {
    case ATH_T_STR:
        return sizeof(ath_str);
    case ATH_T_BOOL:
        return sizeof(int32_t);
    case ATH_T_INT:
    case ATH_T_MSEC:
    case ATH_T_BYTES:
    case ATH_T_REAL:
        return 8;
    default:
        return 0;
    }
}

/* "gateway.max_rows $ATHENA_MAX_ROWS": places and variables between blanks. */
static bool alias_good(const char *alias)
{
    static const char place[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
    static const char variable[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    ath_str rest = str_of(alias), word;

    while (str_next(&rest, ' ', &word)) {
        bool var = word.n && word.p[0] == '$';
        size_t n = var ? word.n - 1 : word.n;
        if (n == 0 || strspn(word.p + var, var ? variable : place) < n)
            return false;
    }
    return true;
}

/* One table of fields, of the plugin or of a command. */
static int fields_take(const ath_self *s, const char *of, const ath_field **field, uint32_t stride,
                       uint32_t count, size_t room, ath_arena *a, ath_err *e)
{
    const ath_field *f;

    if (count == 0)
        return 0;
    if (count > FIELDS_MOST || room > CONFIG_MOST || stride < UP_TO(ath_field, off) || !*field)
        return REFUSE(s, e,
                      "has a damaged table of fields%s: %u of %u bytes each, struct of %zu bytes",
                      of, count, stride, room);
    *field = f = ABI_ARRAY(a, ath_field, *field, stride, count);
    for (uint32_t i = 0; i < count; i++) {
        size_t size = type_size(f[i].type);
        if (!f[i].key || !f[i].key[0])
            return REFUSE(s, e, "has a field without key%s", of);
        if (size == 0)
            return REFUSE(s, e, "has field \"%s\"%s of unknown type %u", f[i].key, of, f[i].type);
        if (room < size || f[i].off > room - size)
            return REFUSE(s, e, "has field \"%s\"%s outside its struct of %zu bytes", f[i].key, of,
                          room);
        if (f[i].alias && !alias_good(f[i].alias))
            return REFUSE(s, e,
                          "has field \"%s\"%s with alias \"%s\", which is no list of places and "
                          "$VARIABLES",
                          f[i].key, of, f[i].alias);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(f[k].key, f[i].key) == 0)
                return REFUSE(s, e, "has field \"%s\"%s twice", f[i].key, of);
    }
    return 0;
}

static const ath_field *field_named(const ath_self *s, const char *key)
{
    for (uint32_t i = 0; i < s->d.field_count; i++)
        if (strcmp(s->d.field[i].key, key) == 0)
            return &s->d.field[i];
    return NULL;
}

static int gate_take(const ath_self *s, struct capability *c, const char *gate, ath_err *e)
{
    if (!gate)
        return 0;
    if (!(c->gate = field_named(s, gate)))
        return REFUSE(s, e, "has gate \"%s\" of \"%s\", which is none of its keys", gate,
                      c->cap.name);
    if (c->gate->type != ATH_T_BOOL)
        return REFUSE(s, e, "has gate \"%s\" of \"%s\", which is no BOOL key", gate, c->cap.name);
    return 0;
}

static int routes_take(const ath_self *s, struct capability *c, ath_arena *a, ath_err *e)
{
    ath_routes *r = &c->routes;

    if (r->route_count > ROUTES_MOST ||
        (r->route_count && (r->route_size < UP_TO(ath_route, auth) || !r->route)))
        return REFUSE(s, e, "has a damaged table of routes in \"%s\": %u of %u bytes each",
                      r->cap.name, r->route_count, r->route_size);
    r->route = ABI_ARRAY(a, ath_route, r->route, r->route_size, r->route_count);
    r->route_size = sizeof(ath_route);
    for (uint32_t i = 0; i < r->route_count; i++) {
        const ath_route *o = &r->route[i];
        if (!o->method || !o->path || o->path[0] != '/')
            return REFUSE(s, e, "has a route without method and path in \"%s\"", r->cap.name);
        if (!o->handle)
            return REFUSE(s, e, "has route %s %s without a handler", o->method, o->path);
        if (o->auth < ATH_AUTH_NONE || o->auth > ATH_AUTH_OWN)
            return REFUSE(s, e, "has route %s %s without an auth class (.auth is %u)", o->method,
                          o->path, o->auth);
    }
    return gate_take(s, c, r->gate, e);
}

/* A worker's queue, or that of its schedule, as ours. */
static int queue_take(const ath_self *s, const ath_worker *w, const ath_queue **at, ath_arena *a,
                      ath_err *e)
{
    ath_queue *q = ARENA_NEW(a, ath_queue);

    if (!*at)
        return 0;
    if ((*at)->cap.kind != ATH_CAP_QUEUE || (*at)->cap.size < UP_TO(ath_queue, status))
        return REFUSE(s, e, "has worker \"%s\" with a damaged queue", w->cap.name);
    abi_copy(q, sizeof(*q), *at, (*at)->cap.size);
    *at = q;
    return 0;
}

static int schedule_take(const ath_self *s, struct capability *c, ath_arena *a, ath_err *e)
{
    ath_worker *w = &c->worker;
    ath_schedule *o = ARENA_NEW(a, ath_schedule);

    if (w->schedule->size < UP_TO(ath_schedule, fire) || !w->schedule->table || !w->schedule->key ||
        !w->schedule->due || !w->schedule->next || !w->schedule->fire)
        return REFUSE(s, e, "has worker \"%s\" with a damaged schedule", w->cap.name);
    if (w->queue || w->run)
        return REFUSE(s, e, "has worker \"%s\" with a schedule beside a queue or run", w->cap.name);
    abi_copy(o, sizeof(*o), w->schedule, w->schedule->size);
    w->schedule = o;
    return queue_take(s, w, &o->queue, a, e);
}

static int worker_take(const ath_self *s, struct capability *c, ath_arena *a, ath_err *e)
{
    ath_worker *w = &c->worker;

    if ((!w->run && !w->schedule) || !w->family)
        return REFUSE(s, e, "has worker \"%s\" without family or run", w->cap.name);
    if ((w->schedule && schedule_take(s, c, a, e) < 0) || queue_take(s, w, &w->queue, a, e) < 0)
        return e->rc;
    return gate_take(s, c, w->gate, e);
}

static int command_take(const ath_self *s, struct capability *c, ath_arena *a, ath_err *e)
{
    ath_command *k = &c->command;
    char word[128], of[160];
    size_t first = str_find(str_of(k->cap.name), ' ');
    int rc;

    snprintf(of, sizeof(of), " of command \"%s\"", k->cap.name);
    if (!k->run)
        return REFUSE(s, e, "has command \"%s\" without run", k->cap.name);
    rc = fields_take(s, of, &k->field, k->field_size, k->field_count, k->options_size, a, e);
    k->field_size = sizeof(ath_field);
    snprintf(word, sizeof(word), "command.%.*s", (int)first, k->cap.name);
    if (rc == 0 && !order_has(s->d.offers, str_of(word)))
        return REFUSE(s, e, "has command \"%s\", but does not offer \"%s\"", k->cap.name, word);
    return rc;
}

static int schema_take(const ath_self *s, struct capability *c, ath_arena *a, ath_err *e)
{
    ath_schema *m = &c->schema;

    if (!m->client || (m->step_count && (m->step_size < UP_TO(ath_step, flags) || !m->step)))
        return REFUSE(s, e, "has a damaged schema \"%s\"", m->cap.name);
    m->step = ABI_ARRAY(a, ath_step, m->step, m->step_size, m->step_count);
    m->step_size = sizeof(ath_step);
    for (uint32_t i = 0; i < m->step_count; i++)
        if (!m->step[i].sql || !m->step[i].name ||
            m->step[i].version <= (i ? m->step[i - 1].version : 0))
            return REFUSE(
                s, e, "has schema \"%s\" whose step %u has no SQL, no name or no higher version",
                m->cap.name, i + 1);
    return 0;
}

static int driver_take(const ath_self *s, struct capability *c, ath_err *e)
{
    char word[128];

    snprintf(word, sizeof(word), "%s@%u", c->cap.name, c->driver.version);
    if (!c->driver.vtable)
        return REFUSE(s, e, "has service \"%s\" without a table", word);
    if (!order_has(s->d.offers, str_of(word)))
        return REFUSE(s, e, "has service \"%s\", but does not offer it in its note", word);
    return 0;
}

static int kind_take(const ath_self *s, struct capability *c, ath_arena *a, ath_err *e)
{
    switch (c->cap.kind) {
    case ATH_CAP_ROUTES:
        return routes_take(s, c, a, e);
    case ATH_CAP_SINK:
        if (!c->sink.write == !c->sink.send)
            return REFUSE(s, e, "has sink \"%s\" that must bring either write or send",
                          c->cap.name);
        return 0;
    case ATH_CAP_WORKER:
        return worker_take(s, c, a, e);
    case ATH_CAP_QUEUE:
        if (!c->queue.table || !c->queue.key || !c->queue.status)
            return REFUSE(s, e, "has queue \"%s\" without table, key or status", c->cap.name);
        return 0;
    case ATH_CAP_DRIVER:
        return driver_take(s, c, e);
    case ATH_CAP_COMMAND:
        return command_take(s, c, a, e);
    case ATH_CAP_CHECK:
        return c->check.run ? 0 : REFUSE(s, e, "has check \"%s\" without run", c->cap.name);
    default:
        return schema_take(s, c, a, e);
    }
}

static int cap_head(const ath_self *s, uint32_t i, const ath_cap *head, ath_err *e)
{
    if (head->kind < ATH_CAP_ROUTES || head->kind > ATH_CAP_SCHEMA)
        return REFUSE(s, e, "has a capability of unknown kind %u", head->kind);
    if (!head->name || !head->name[0])
        return REFUSE(s, e, "has capability %u of kind %u without a name", i + 1, head->kind);
    if (head->size <= sizeof(ath_cap) || head->size > 4096)
        return REFUSE(s, e, "has capability \"%s\" of %u bytes", head->name, head->size);
    for (uint32_t k = 0; k < i; k++)
        if (s->cap[k].cap.kind == head->kind && strcmp(s->cap[k].cap.name, head->name) == 0)
            return REFUSE(s, e, "has capability \"%s\" twice", head->name);
    return 0;
}

static int caps_take(ath_self *s, ath_arena *a, ath_err *e)
{
    uint32_t n = 0;
    int rc = 0;

    while (s->d.cap && s->d.cap[n])
        if (++n > CAPS_MOST)
            return REFUSE(s, e, "has no end of its capabilities");
    s->cap = arena_alloc(a, n * sizeof(*s->cap));
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        struct capability *c = &s->cap[i];
        if ((rc = cap_head(s, i, s->d.cap[i], e)) < 0)
            break;
        abi_copy(c, offsetof(struct capability, self), s->d.cap[i], s->d.cap[i]->size);
        c->self = s;
        c->open = 1;
        rc = kind_take(s, c, a, e);
        s->cap_count = i + 1;
    }
    return rc;
}

/* What the note promises must be there: others were loaded because of it. */
static int offers_kept(const ath_self *s, ath_err *e)
{
    ath_str rest = str_of(s->d.offers), word;

    while (order_word(&rest, &word, NULL)) {
        bool command = str_starts(word, "command."), found = false;
        for (uint32_t i = 0; i < s->cap_count && !found; i++) {
            const ath_cap *c = &s->cap[i].cap;
            char has[128] = "";
            if (command && c->kind == ATH_CAP_COMMAND)
                snprintf(has, sizeof(has), "command.%.*s", (int)str_find(str_of(c->name), ' '),
                         c->name);
            else if (c->kind == ATH_CAP_DRIVER)
                snprintf(has, sizeof(has), "%s@%u", c->name, s->cap[i].driver.version);
            found = str_is(word, has);
        }
        if (!found)
            return REFUSE(s, e, "offers \"%.*s\" in its note, but has no such thing",
                          STR_ARG(word));
    }
    return 0;
}

static int tables_take(ath_self *s, ath_arena *a, ath_err *e)
{
    ath_plugin *d = &s->d;

    if (d->metric_count &&
        (d->metric_count > FIELDS_MOST || d->metric_size < UP_TO(ath_metric, kind) || !d->metric))
        return REFUSE(s, e, "has a damaged table of metrics: %u of %u bytes each", d->metric_count,
                      d->metric_size);
    if (d->error_count &&
        (d->error_count > FIELDS_MOST || d->error_size < UP_TO(ath_error, status) || !d->error))
        return REFUSE(s, e, "has a damaged table of errors: %u of %u bytes each", d->error_count,
                      d->error_size);
    d->metric = ABI_ARRAY(a, ath_metric, d->metric, d->metric_size, d->metric_count);
    d->error = ABI_ARRAY(a, ath_error, d->error, d->error_size, d->error_count);
    for (uint32_t i = 0; i < d->metric_count; i++)
        if (!d->metric[i].name || d->metric[i].kind < ATH_M_COUNTER ||
            d->metric[i].kind > ATH_M_HISTOGRAM)
            return REFUSE(s, e, "has metric %u without a name or of unknown kind", i + 1);
    for (uint32_t i = 0; i < d->error_count; i++)
        if (!d->error[i].code || !d->error[i].message || d->error[i].rc >= 0 ||
            d->error[i].rc < ATH_E_BUG || d->error[i].status < 400 || d->error[i].status > 599)
            return REFUSE(
                s, e, "has error %u without code, message, class or a status of 400 to 599", i + 1);
    return 0;
}

struct queue_config {
    int64_t events, batch;
    uint64_t bytes, flush_ms, spill;
};

/* A sink's section also holds the settings of its queue: one table, one struct, theirs first. */
static void sink_fields(ath_self *s, ath_arena *a)
{
    static const ath_field ours[] = {
        ATH_INT(struct queue_config, events, "queue_events", "128000", "16..10000000",
                "Events that may wait for this sink; more are dropped and counted."),
        ATH_BYTES(struct queue_config, bytes, "queue_bytes", "64m", "2m..64g",
                  "Memory that those events may hold."),
        ATH_INT(struct queue_config, batch, "batch", "1024", "1..65536",
                "Most events of one write."),
        ATH_MSEC(struct queue_config, flush_ms, "flush_ms", "50ms", "1ms..1m",
                 "How long an event may wait for others to be written with."),
        ATH_BYTES(struct queue_config, spill, "spill_bytes", "0", "0..1024g",
                  "Space of a spool on disk that events wait in; 16m at least, 0: none."),
    };
    ath_field *all = arena_alloc(a, (s->d.field_count + ATH_COUNT(ours)) * sizeof(*all));
    size_t at = (s->d.config_size + 15) & ~(size_t)15;
    uint32_t n = 0;

    for (; n < s->d.field_count; n++)
        all[n] = s->d.field[n];
    for (size_t i = 0; i < ATH_COUNT(ours); i++)
        if (!field_named(s, ours[i].key)) {
            all[n] = ours[i];
            all[n++].off += at;
        }
    s->all_field = all;
    s->all_count = n;
    s->config_room = at + sizeof(struct queue_config);
}

int descriptor_take(ath_self *s, const ath_plugin *theirs, ath_arena *a, ath_err *e)
{
    ath_plugin *d = &s->d;
    int rc;

    if ((rc = descriptor_copy(s, theirs, e)) < 0)
        return rc;
    rc = fields_take(s, "", &d->field, d->field_size, d->field_count, d->config_size, a, e);
    if (rc < 0 || (rc = tables_take(s, a, e)) < 0 || (rc = caps_take(s, a, e)) < 0 ||
        (rc = offers_kept(s, e)) < 0)
        return rc;
    d->field_size = sizeof(ath_field);
    s->all_field = d->field;
    s->all_count = d->field_count;
    s->config_room = d->config_size;
    for (uint32_t i = 0; i < s->cap_count; i++)
        if (s->cap[i].cap.kind == ATH_CAP_SINK && s->all_field == d->field)
            sink_fields(s, a);
    return 0;
}
