/* What is known of each client, and making the registry follow it.
 *
 * Entries are only changed on the follower's loop; whoever else looks (inspection, routes) does so
 * under the lock. An entry of a client that is gone is freed: the registry alone remembers its
 * name.
 */
#include "control/clients.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "control/clients_priv.h"
#include "lib/json.h"
#include "lib/uri.h"
#include "log/log.h"

enum { NAME_ROOM = 256 };

struct known {
    char key[NAME_ROOM]; /* trimmed, in lower case */
    struct record r;
    char *texts;        /* of `r`, one behind the other */
    bool configured;    /* the configuration names it */
    bool listed;        /* there is a row */
    bool seen;          /* in this round */
    uint64_t loaded_ms; /* it was to be connected, and is looked at then; 0: it was looked at */
    const char *source;
};

struct clients_options clients_options;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map all; /* under it */
static atomic_bool settled;
static uint64_t hold_until_ms;

/* ---- entries ---- */

static bool fold(ath_str name, char ret[NAME_ROOM], ath_str *ret_key)
{
    name = str_trim(name);
    if (name.n == 0 || name.n >= NAME_ROOM)
        return false;
    for (size_t i = 0; i < name.n; i++)
        ret[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
    ret[name.n] = 0;
    *ret_key = str_from(ret, name.n);
    return true;
}

/* Of a record: every text that it has. */
#define TEXTS 8
static void texts_of(struct record *r, ath_str *ret[TEXTS])
{
    ath_str *each[TEXTS] = { &r->name,     &r->id,       &r->description, &r->uri,
                             &r->variable, &r->template, &r->source,      &r->metadata };

    memcpy(ret, each, sizeof(each));
}

static void secret_free(char *texts, const struct record *r)
{
    if (r->uri.p)
        explicit_bzero((char *)(uintptr_t)r->uri.p, r->uri.n);
    if (r->template.p)
        explicit_bzero((char *)(uintptr_t)r->template.p, r->template.n);
    free(texts);
}

/* Under the lock. */
static void entry_set(struct known *k, const struct record *from)
{
    struct record copy = *from;
    ath_str *each[TEXTS];
    size_t room = 1;
    char *at, *texts;

    texts_of(&copy, each);
    for (size_t i = 0; i < TEXTS; i++)
        room += each[i]->n + 1;
    at = texts = mem_new(room);
    for (size_t i = 0; i < TEXTS; i++) {
        if (!each[i]->p)
            continue;
        if (each[i]->n)
            memcpy(at, each[i]->p, each[i]->n);
        each[i]->p = at;
        at += each[i]->n + 1;
    }
    if (k->texts)
        secret_free(k->texts, &k->r);
    k->texts = texts;
    k->r = copy;
}

static struct known *entry_of(ath_str name, bool make)
{
    char folded[NAME_ROOM];
    struct known *k;
    ath_str key;

    if (!fold(name, folded, &key))
        return NULL;
    k = map_get(&all, key);
    if (k || !make)
        return k;
    k = MEM_NEW(struct known);
    memcpy(k->key, folded, sizeof(folded));
    map_put(&all, str_of(k->key), k);
    return k;
}

static void entry_free(struct known *k)
{
    secret_free(k->texts, &k->r);
    free(k);
}

/* What of it the registry follows. */
static bool is_news(const struct record *a, const struct record *b)
{
    return !str_eq(a->uri, b->uri) || !str_eq(a->variable, b->variable) ||
           !str_eq(a->template, b->template) || a->active != b->active || a->frozen != b->frozen ||
           (!str_eq(a->metadata, b->metadata) &&
            (str_is(a->source, "database") || record_drains(a) != record_drains(b)));
}

/* ---- the registry ---- */

static const char *source_word(const struct record *r)
{
    static const char *const words[] = { "config", "database", "merged" };

    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (str_is(r->source, words[i]))
            return words[i];
    return "database";
}

static bool is_control(const struct known *k)
{
    return str_ieq(clients_options.control, str_of(k->key));
}

/* It is closed before it leads anywhere, and open when it does. */
static void put_uri(struct known *k, const char *why, ath_str uri, const struct db_stand *stand)
{
    struct db_client *c = db_client_find(str_of(k->key));
    ath_err e;

    err_reset(&e);
    if (!c || why) { /* what is new is shut until it is known how it stands */
        db_client_put_unusable(k->r.name.p, k->source, why ? why : "it is being loaded", &e);
        c = db_client_find(str_of(k->key));
    }
    if (c)
        db_client_stand(c, stand);
    if (!why && db_client_put(k->r.name.p, uri.p, k->source, &e) < 0) {
        why = e.message;
        db_client_put_unusable(k->r.name.p, k->source, why, &e);
    }
    if (why)
        log_write(ATH_WARN, "athena::clients", "client \"%.*s\" cannot be used: %s",
                  STR_ARG(k->r.name), why);
}

/* The control plane's own URI is the configuration's: from here nobody could move it back. */
static void follow_record(struct known *k, const char *broken)
{
    struct db_stand stand = { .active = k->r.active,
                              .frozen = k->r.frozen,
                              .draining = record_drains(&k->r) };
    struct db_client *c = db_client_find(str_of(k->key));
    ath_str uri = { "", 0 };
    const char *why;
    ath_arena a;

    if (c)
        db_client_stand(c, &stand);
    if (is_control(k))
        return;
    arena_init(&a);
    why = broken ? broken : record_uri(&k->r, &clients_options.config->env, &a, &uri);
    put_uri(k, why, why ? uri : arena_str(&a, uri), &stand);
    arena_free(&a);
    c = db_client_find(str_of(k->key));
    k->loaded_ms = 0;
    if (c && stand.active && !stand.frozen) {
        k->loaded_ms = clock_ms() + clients_options.poll_ms;
        if (!clients_options.lazy)
            db_client_warm(c);
    }
}

/* ---- what the follower says ---- */

void known_apply(const struct record *r, const char *broken)
{
    bool is_new, news;
    struct known *k;

    pthread_mutex_lock(&lock);
    k = entry_of(r->name, true);
    if (k) {
        is_new = !k->listed;
        news = is_new || is_news(&k->r, r);
        if (!k->source || strcmp(k->source, "gateway_logging_override") != 0)
            k->source = source_word(r);
        entry_set(k, r);
        k->listed = k->seen = true;
    }
    pthread_mutex_unlock(&lock);
    if (!k) {
        log_write(
            ATH_WARN, "athena::clients",
            "a client of the catalogue is left out: its name is empty or longer than %d bytes",
            NAME_ROOM - 1);
        return;
    }
    if (!news)
        return;
    wait_is_there(str_of(k->key));
    if (!k->configured || !is_new)
        log_write(ATH_INFO, "athena::clients", "client \"%.*s\" is followed: %s%s",
                  STR_ARG(k->r.name), k->r.active ? "active" : "inactive",
                  k->r.frozen ? ", frozen" : "");
    follow_record(k, broken);
}

/* Under the lock. */
static bool is_another(const struct known *k, ath_str uri)
{
    return k && (k->listed || k->configured || k->r.name.p) && !str_eq(k->r.uri, uri);
}

bool known_is_another(ath_str name, ath_str uri)
{
    bool yes;

    pthread_mutex_lock(&lock);
    yes = is_another(entry_of(name, false), uri);
    pthread_mutex_unlock(&lock);
    return yes;
}

void known_adopt(ath_str name, ath_str uri)
{
    struct record r = { .name = str_trim(name), .uri = uri, .source = ATH_S("database"),
                        .metadata = ATH_S("{}"), .active = true };
    struct known *k;

    pthread_mutex_lock(&lock);
    k = entry_of(name, true);
    if (!k || k->r.name.p) { /* it leads there already, or has become another's */
        pthread_mutex_unlock(&lock);
        return;
    }
    k->source = "database";
    entry_set(k, &r);
    pthread_mutex_unlock(&lock);
    wait_is_there(str_of(k->key));
    follow_record(k, NULL);
}

/* Under the lock on entry, not on return. */
static void remove_entry(struct known *k)
{
    struct db_client *c = db_client_find(str_of(k->key));

    map_remove(&all, str_of(k->key));
    pthread_mutex_unlock(&lock);
    log_write(ATH_INFO, "athena::clients", "client \"%.*s\" is gone", STR_ARG(k->r.name));
    if (c)
        db_client_remove(c);
    entry_free(k);
}

void known_gone(ath_str name)
{
    struct known *k;

    pthread_mutex_lock(&lock);
    k = entry_of(name, false);
    if (k && k->listed && !is_control(k))
        remove_entry(k);
    else
        pthread_mutex_unlock(&lock);
}

void known_round_begin(void)
{
    size_t at = 0;

    for (struct known *k; (k = map_next(&all, &at)) != NULL;)
        k->seen = false;
}

static struct known *not_seen(void)
{
    size_t at = 0;

    for (struct known *k; (k = map_next(&all, &at)) != NULL;)
        if (k->listed && !k->seen && !is_control(k))
            return k;
    return NULL;
}

void known_round_end(void)
{
    for (;;) {
        struct known *k;
        pthread_mutex_lock(&lock);
        k = not_seen();
        if (!k) {
            pthread_mutex_unlock(&lock);
            return;
        }
        remove_entry(k);
    }
}

bool known_next_load(ath_str *ret_name, bool *ret_failed, ath_arena *a)
{
    size_t at = 0;

    for (struct known *k; (k = map_next(&all, &at)) != NULL;) {
        const struct db_client *c;
        if (!k->loaded_ms || clock_ms() < k->loaded_ms)
            continue;
        k->loaded_ms = 0;
        c = db_client_find(str_of(k->key));
        if (!c || k->configured || !k->listed)
            continue;
        *ret_name = arena_str(a, k->r.name);
        *ret_failed = !c->up;
        return true;
    }
    return false;
}

/* ---- the first moments ---- */

void known_settle(void)
{
    if (atomic_exchange(&settled, true))
        return;
    for (size_t i = 0; i < db_client_count(); i++) {
        struct db_client *c = db_client_at(i);
        if (c->pending)
            db_client_stand(c, &(struct db_stand){ c->active, c->frozen, c->draining, false });
    }
}

bool known_is_settled(void)
{
    if (!atomic_load(&settled) && clock_ms() > hold_until_ms)
        known_settle();
    return atomic_load(&settled);
}

bool clients_unsettled(const struct db_client *c, ath_str name)
{
    if (!clients_options.control.n)
        return false;
    if (!c)
        return clients_options.loading && name.n < NAME_ROOM && str_utf8(name) &&
               !wait_is_missing(name);
    return c->pending && !known_is_settled();
}

static void add_configured(const struct config_client *from)
{
    struct record_config c = { str_trim(from->shown), from->text, from->variable };
    struct record r = record_of_config(&c);
    struct known *k;

    if (!from->text.n)
        r.template = r.uri = (ath_str){ NULL, 0 };
    k = entry_of(from->name, true);
    if (!k)
        return;
    k->configured = true;
    k->source = from->logging_override ? "gateway_logging_override" : "config";
    entry_set(k, &r);
}

static bool is_needed(const struct db_client *c)
{
    return str_ieq(clients_options.control, str_of(c->name));
}

void clients_start(const struct clients_options *o)
{
    clients_options = *o;
    for (size_t i = 0; i < o->clients->n; i++)
        add_configured(&o->clients->client[i]);
    hold_until_ms = clock_ms() + HOLD_MS;
    atomic_store(&settled, !o->control.n || !o->loading);
    for (size_t i = 0; !settled && i < db_client_count(); i++) {
        struct db_client *c = db_client_at(i);
        if (!is_needed(c))
            db_client_stand(c, &(struct db_stand){ .active = true, .pending = true });
    }
}

void clients_stop(void)
{
    size_t at = 0;

    for (struct known *k; (k = map_next(&all, &at)) != NULL;)
        entry_free(k);
    map_free(&all);
    clients_options = (struct clients_options){ 0 };
}

/* ---- showing ---- */

static void put_text(struct buf *b, const char *key, ath_str text)
{
    if (text.p) {
        buf_json_str(b, key, text);
    } else {
        buf_json_key(b, key);
        buf_lit(b, "null");
    }
}

static void put_uri_text(struct buf *b, const char *key, ath_str uri, bool reveal)
{
    struct buf masked = BUF_HEAP;

    if (uri.p && !reveal)
        buf_uri_masked(&masked, uri);
    put_text(b, key, reveal || !uri.p ? uri : buf_view(&masked));
    buf_free(&masked);
}

static bool is_connected(const struct known *k)
{
    const struct db_client *c = db_client_find(str_of(k->key));

    return c && k->r.active && !k->r.frozen && c->up;
}

static void put_runtime(struct buf *b, const struct known *k, bool reveal)
{
    struct buf variable = BUF_HEAP;

    buf_lit(b, "{");
    buf_json_str(b, "client_name", k->r.name);
    buf_json_str(b, "source", str_of(k->source));
    put_text(b, "description", k->r.description);
    if (!k->r.uri.p && k->r.variable.p) {
        buf_printf(&variable, "${%.*s}", STR_ARG(k->r.variable));
        buf_json_str(b, "pg_uri", buf_view(&variable));
    } else {
        put_uri_text(b, "pg_uri", k->r.uri, reveal);
    }
    put_text(b, "pg_uri_env_var", k->r.variable);
    put_uri_text(b, "config_uri_template", k->r.template, reveal);
    buf_json_bool(b, "is_active", k->r.active);
    buf_json_bool(b, "is_frozen", k->r.frozen);
    buf_json_bool(b, "pool_connected", is_connected(k));
    buf_lit(b, "}");
    buf_free(&variable);
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(struct known *const *)a)->key, (*(struct known *const *)b)->key);
}

/* Under the lock. The array is the heap's. */
static struct known **sorted(size_t *ret_n)
{
    struct known **list = mem_new((all.n + 1) * sizeof(struct known *));
    size_t at = 0, n = 0;

    for (struct known *k; (k = map_next(&all, &at)) != NULL;)
        list[n++] = k;
    qsort(list, n, sizeof(struct known *), by_key);
    *ret_n = n;
    return list;
}

static void put_all(struct buf *b, bool reveal)
{
    size_t n;
    struct known **list = sorted(&n);

    buf_char(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_char(b, ',');
        put_runtime(b, list[i], reveal);
    }
    buf_char(b, ']');
    free(list);
}

void clients_runtime(struct buf *b, ath_str name, bool reveal)
{
    const struct known *k;

    pthread_mutex_lock(&lock);
    if (!name.n)
        put_all(b, reveal);
    else if ((k = entry_of(name, false)) != NULL)
        put_runtime(b, k, reveal);
    pthread_mutex_unlock(&lock);
}

int clients_uri(ath_arena *a, ath_str name, ath_str *ret, ath_err *e)
{
    const char *why = "it has no URI";
    const struct known *k;
    ath_str uri;

    pthread_mutex_lock(&lock);
    k = entry_of(name, false);
    if (k)
        why = record_tool_uri(&k->r, &clients_options.config->env, a, &uri);
    if (k && !why)
        *ret = arena_str(a, uri);
    pthread_mutex_unlock(&lock);
    if (!k)
        return err_raise(e, "client_unknown", "there is no client \"%.*s\"", STR_ARG(name));
    return why ? err_fail(e, ATH_E_CONFIG, "client \"%.*s\" cannot be reached: %s", STR_ARG(name), why)
               : 0;
}

void clients_names(struct buf *b)
{
    struct known **list;
    size_t n, put = 0;

    pthread_mutex_lock(&lock);
    list = sorted(&n);
    buf_char(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (!is_connected(list[i]))
            continue;
        if (put++)
            buf_char(b, ',');
        buf_json(b, list[i]->r.name);
    }
    buf_char(b, ']');
    pthread_mutex_unlock(&lock);
    free(list);
}
