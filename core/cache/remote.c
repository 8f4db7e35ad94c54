/* The words of Redis.
 *
 * The normal path of a look: remote_tokens() puts it into the line of this turn, flush() makes an
 * MGET of each different one, tokens_done() hands the answer to all that asked the same. A token
 * that is not there is made (SET NX) and asked for again.
 *
 * Changes are DEL of tokens. What could not be told is in the untold list of the process; every
 * loop that has a connection tries to tell it, and a connection that has just become ready before
 * anything else.
 */
#include "cache/remote.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "lib/buf.h"
#include "log/log.h"

enum { CONNECT_MS = 2000, TOKEN_LIFE_S = 86400, TOKEN_TEXT = 16, KEY_TEXT = 192, TELL_KEYS = 200 };

struct remote { /* of one loop */
    ath_loop *loop;
    struct redis *redis;
    struct list tokens; /* asked for in this turn */
    struct deferred flush;
    char prefix[64];
    bool telling;
};

static struct {
    struct redis_options redis;
    uint64_t ttl_ms, cooldown_ms;
    ath_loop *const *loops;
    uint32_t loop_count;
    bool on;
} config;

static atomic_uint_fast64_t ready, asks, timeouts, errors, untold_ever;
static atomic_bool away; /* said so */

static struct remote *remote_of(const ath_loop *l)
{
    return l->slot[LOOP_SLOT_CACHE];
}

bool remote_on(void)
{
    return config.on;
}

static bool usable(const struct remote *on)
{
    return on && redis_ready(on->redis) && untold_count() == 0;
}

static int command(struct remote *on, struct redis_ask *a, const ath_str *word, size_t n)
{
    int rc = redis_send(on->redis, a, word, n);

    atomic_fetch_add_explicit(rc < 0 ? &errors : &asks, 1, memory_order_relaxed);
    return rc;
}

static void count_failure(int rc)
{
    atomic_fetch_add_explicit(rc == ATH_E_TIMEOUT ? &timeouts : &errors, 1, memory_order_relaxed);
}

/* ---- keys ---- */

static ath_str token_key(const struct remote *on, char room[KEY_TEXT], const struct database *d,
                         uint32_t unit)
{
    ath_str id = database_id(d);
    int n = snprintf(room, KEY_TEXT, "%s{%.*s}:g:", on->prefix, STR_ARG(id));

    n += unit == DATABASE_ALL ? snprintf(room + n, KEY_TEXT - (size_t)n, "*")
                              : snprintf(room + n, KEY_TEXT - (size_t)n, "%u", unit);
    return str_from(room, (size_t)n);
}

static ath_str value_key(const struct remote *on, char room[KEY_TEXT], const struct cache_key *k)
{
    char text[CACHE_KEY_HEX];

    cache_key_text(k, text);
    return str_from(room, (size_t)snprintf(room, KEY_TEXT, "%sc:%s", on->prefix, text));
}

/* ---- asks that nobody waits for ---- */

static void quiet_done(struct redis_ask *a, const struct redisReply *reply, int rc)
{
    if (reply ? redis_is_error(reply) : rc != ATH_E_CANCELED)
        count_failure(rc);
    free(a);
}

static void send_quietly(struct remote *on, const ath_str *word, size_t n)
{
    struct redis_ask *a = MEM_NEW(struct redis_ask);

    a->done = quiet_done;
    if (command(on, a, word, n) < 0)
        free(a);
}

/* ---- tokens ---- */

static void tell(struct remote *on);
static void tokens_done(struct redis_ask *ask, const struct redisReply *reply, int rc);

static uint32_t unit_at(const struct token_ask *a, uint32_t i)
{
    return i == 0 ? (uint32_t)DATABASE_ALL : a->unit[i - 1];
}

static void finish_tokens(struct token_ask *a, int rc)
{
    struct list same, *node;

    if (rc < 0)
        count_failure(rc);
    list_take(&same, &a->same);
    while ((node = list_pop(&same))) {
        struct token_ask *other = list_entry(node, struct token_ask, same);
        memcpy(other->token, a->token, (a->n + 1) * sizeof(*a->token));
        other->done(other, rc);
    }
    a->done(a, rc);
}

static void ask_tokens(struct remote *on, struct token_ask *a)
{
    char room[1 + UNITS_MOST][KEY_TEXT];
    ath_str word[2 + UNITS_MOST] = { ATH_S("MGET") };
    int rc;

    for (uint32_t i = 0; i <= a->n; i++)
        word[i + 1] = token_key(on, room[i], a->database, unit_at(a, i));
    a->ask = (struct redis_ask){ .done = tokens_done, .arg = on };
    if ((rc = command(on, &a->ask, word, a->n + 2)) < 0)
        finish_tokens(a, rc);
}

/* Whoever comes first makes it; the others' are not taken. */
static void make_token(struct remote *on, const struct token_ask *a, uint32_t i)
{
    char room[KEY_TEXT], text[TOKEN_TEXT + 1], life[STR_U64_ROOM];
    ath_str word[] = { ATH_S("SET"),         token_key(on, room, a->database, unit_at(a, i)),
                       { text, TOKEN_TEXT }, ATH_S("NX"),
                       ATH_S("EX"),          str_from_u64(TOKEN_LIFE_S, life) };

    str_put_hex(text, rand_u64());
    send_quietly(on, word, ATH_COUNT(word));
}

static bool read_token(const struct redisReply *v, uint64_t *ret)
{
    ath_str s = redis_text(v);
    uint64_t token = 0;

    if (!redis_is_text(v) || s.n != TOKEN_TEXT)
        return false;
    for (size_t i = 0; i < TOKEN_TEXT; i++)
        token = token << 4 | (uint64_t)(s.p[i] <= '9' ? s.p[i] - '0' : s.p[i] - 'a' + 10);
    *ret = token;
    return true;
}

static void tokens_done(struct redis_ask *ask, const struct redisReply *reply, int rc)
{
    struct token_ask *a = container_of(ask, struct token_ask, ask);
    struct remote *on = ask->arg;
    bool missing = false;

    if (reply && redis_count(reply) != a->n + 1)
        rc = ATH_E_UPSTREAM;
    for (uint32_t i = 0; rc == 0 && i <= a->n; i++) {
        if (read_token(redis_at(reply, i), &a->token[i]))
            continue;
        missing = true;
        if (!a->again)
            make_token(on, a, i);
    }
    if (rc == 0 && missing && !a->again) {
        a->again = true;
        ask_tokens(on, a);
        return;
    }
    finish_tokens(a, rc < 0 ? rc : missing ? ATH_E_UPSTREAM : 0);
}

static bool same_question(const struct token_ask *a, const struct token_ask *b)
{
    return a->database == b->database && a->n == b->n &&
           (a->n == 0 || memcmp(a->unit, b->unit, a->n * sizeof(*a->unit)) == 0);
}

static void flush(void *arg)
{
    struct remote *on = arg;
    struct list batch, *node;

    list_take(&batch, &on->tokens);
    while ((node = list_pop(&batch))) {
        struct token_ask *a = list_entry(node, struct token_ask, node);
        list_each (other, next, &batch) {
            struct token_ask *b = list_entry(other, struct token_ask, node);
            if (!same_question(a, b))
                break;
            list_unlink(&b->node);
            list_push(&a->same, &b->same);
        }
        ask_tokens(on, a);
    }
}

int remote_tokens(ath_loop *l, struct token_ask *a)
{
    struct remote *on = remote_of(l);

    if (!usable(on)) {
        if (on)
            tell(on);
        return ATH_E_TIMEOUT;
    }
    a->again = false;
    list_init(&a->same);
    list_push(&on->tokens, &a->node);
    loop_defer(l, &on->flush);
    return 0;
}

/* ---- answers ---- */

static void life_done(struct redis_ask *ask, const struct redisReply *reply, int rc)
{
    struct value_ask *a = ask->arg;

    (void)rc;
    a->life_ms = reply ? redis_number(reply) : 0;
}

static void value_done(struct redis_ask *ask, const struct redisReply *reply, int rc)
{
    struct value_ask *a = ask->arg;
    struct entry *entry = NULL;

    if (reply && redis_is_error(reply))
        rc = ATH_E_UPSTREAM;
    if (rc < 0)
        count_failure(rc);
    else if (redis_is_text(reply) && a->life_ms)
        entry = entry_new(&a->key, redis_text(reply));
    a->done(a, entry, rc);
}

int remote_get(ath_loop *l, struct value_ask *a)
{
    struct remote *on = remote_of(l);
    char room[KEY_TEXT];
    ath_str word[2] = { ATH_S("PTTL") };
    int rc;

    if (!usable(on))
        return ATH_E_TIMEOUT;
    word[1] = value_key(on, room, &a->key);
    a->life = (struct redis_ask){ .done = life_done, .arg = a };
    a->ask = (struct redis_ask){ .done = value_done, .arg = a };
    if ((rc = command(on, &a->life, word, 2)) < 0)
        return rc;
    word[0] = ATH_S("GET");
    redis_must_send(on->redis, &a->ask, word, 2);
    return 0;
}

void remote_put(ath_loop *l, const struct entry *e)
{
    struct remote *on = remote_of(l);
    char room[KEY_TEXT], life[STR_U64_ROOM];
    ath_str word[] = { ATH_S("SETEX"),
                       { NULL, 0 },
                       str_from_u64(config.ttl_ms / 1000 + 1, life),
                       { e->bytes, e->n } };

    if (!usable(on))
        return;
    word[1] = value_key(on, room, &e->key);
    send_quietly(on, word, ATH_COUNT(word));
}

/* ---- changes ---- */

struct change { /* under way */
    struct redis_ask look, ask;
    struct remote *on;
    struct change_ask then;
    struct database *database;
    bool outdated;
    uint32_t n;
    uint32_t unit[];
};

static void tell_all_loops(void);

static void remember(struct database *d, const uint32_t *unit, uint32_t n)
{
    untold_add(d, unit, n);
    atomic_fetch_add_explicit(&untold_ever, n ? n : 1, memory_order_relaxed);
    tell_all_loops();
}

static int send_change(struct change *c);

static void change_over(struct change *c, bool told)
{
    if (!told)
        remember(c->database, c->unit, c->n);
    if (c->then.done)
        c->then.done(&c->then, c->outdated);
    free(c);
}

static void change_done(struct redis_ask *ask, const struct redisReply *reply, int rc)
{
    struct change *c = container_of(ask, struct change, ask);
    bool told = reply && !redis_is_error(reply);

    if (!told)
        count_failure(rc);
    if (c->outdated && c->n) { /* once more, for anything */
        c->n = 0;
        if (told && send_change(c) == 0)
            return;
        told = false;
    }
    change_over(c, told);
}

static void look_done(struct redis_ask *ask, const struct redisReply *reply, int rc)
{
    struct change *c = container_of(ask, struct change, look);
    uint64_t token;

    (void)rc; /* the other ask fails with this one */
    c->outdated = !reply || !read_token(reply, &token) || token != c->then.known;
}

static int send_change(struct change *c)
{
    uint32_t keys = c->n ? c->n : 1;
    char room[1 + UNITS_MOST][KEY_TEXT];
    ath_str word[1 + UNITS_MOST] = { ATH_S("DEL") };
    ath_str get[] = { ATH_S("GET"), token_key(c->on, room[UNITS_MOST], c->database, DATABASE_ALL) };
    bool look = c->n && c->then.known;
    int rc = look ? command(c->on, &c->look, get, 2) : 0;

    for (uint32_t i = 0; i < keys; i++)
        word[i + 1] = token_key(c->on, room[i], c->database, c->n ? c->unit[i] : DATABASE_ALL);
    if (rc < 0 || !look)
        return rc < 0 ? rc : command(c->on, &c->ask, word, keys + 1);
    redis_must_send(c->on->redis, &c->ask, word, keys + 1);
    return 0;
}

int remote_change(ath_loop *l, struct database *d, const uint32_t *unit, uint32_t n,
                  const struct change_ask *a)
{
    struct remote *on = remote_of(l);
    struct change *c = mem_new(sizeof(*c) + n * sizeof(*unit));

    *c = (struct change){ .look = { .done = look_done },
                          .ask = { .done = change_done },
                          .on = on,
                          .then = *a,
                          .database = d,
                          .n = n };
    if (n)
        memcpy(c->unit, unit, n * sizeof(*unit));
    if (on && send_change(c) == 0)
        return 0;
    remember(d, unit, n);
    free(c);
    return 1;
}

/* ---- telling later ---- */

struct telling {
    struct redis_ask ask;
    struct remote *on;
    uint32_t n;
    struct untold what[TELL_KEYS];
};

static void told(struct redis_ask *ask, const struct redisReply *reply, int rc)
{
    struct telling *t = container_of(ask, struct telling, ask);
    struct remote *on = t->on;
    bool refused = reply && redis_is_error(reply);

    on->telling = false;
    if (reply && !refused)
        untold_drop(t->what, t->n);
    free(t);
    if (refused) /* a replica, perhaps: its name may lead to another server by now */
        redis_again(on->redis, "it refused to be told of a change");
    else if (reply)
        tell(on);
    else
        count_failure(rc);
}

static void tell(struct remote *on)
{
    static _Thread_local struct untold all[UNTOLD_MOST];
    static _Thread_local char room[TELL_KEYS][KEY_TEXT];
    ath_str word[1 + TELL_KEYS] = { ATH_S("DEL") };
    struct telling *t;
    uint32_t n;

    if (on->telling || !redis_ready(on->redis) || (n = untold_copy(all)) == 0)
        return;
    t = MEM_NEW(struct telling);
    t->on = on;
    t->ask.done = told;
    t->n = n < TELL_KEYS ? n : TELL_KEYS;
    memcpy(t->what, all, t->n * sizeof(*all));
    for (uint32_t i = 0; i < t->n; i++)
        word[i + 1] = token_key(on, room[i], all[i].database, all[i].unit);
    on->telling = command(on, &t->ask, word, t->n + 1) == 0;
    if (!on->telling)
        free(t);
}

static void tell_posted(void *arg)
{
    struct remote *on = remote_of(arg);

    if (on)
        tell(on);
}

static void tell_all_loops(void)
{
    for (uint32_t i = 0; i < config.loop_count; i++)
        loop_post(config.loops[i], tell_posted, config.loops[i]);
}

/* ---- the connection's own ---- */

static void on_ready(struct redis *r)
{
    struct remote *on = redis_owner(r);

    snprintf(on->prefix, sizeof(on->prefix), "athena:1:%.16s:", redis_run(r));
    atomic_fetch_add(&ready, 1);
    tell(on);
    if (atomic_exchange(&away, false))
        log_write(ATH_INFO, "athena::cache", "Redis is there again");
}

static void on_lost(struct redis *r, int rc, const ath_err *why)
{
    struct remote *on = redis_owner(r);

    if (on->prefix[0])
        atomic_fetch_sub(&ready, 1);
    on->prefix[0] = 0;
    on->telling = false;
    count_failure(rc);
    if (!atomic_exchange(&away, true))
        log_write(ATH_WARN, "athena::cache",
                  "Redis at %s is not there, answers come from the databases: %s",
                  config.redis.host, why->message);
}

void remote_loop_init(ath_loop *l)
{
    static const struct redis_hooks hooks = { on_ready, on_lost };
    struct remote *on;

    if (!config.on || l->kind == LOOP_CONTROL)
        return;
    on = MEM_NEW(struct remote);
    on->loop = l;
    list_init(&on->tokens);
    deferred_init(&on->flush, flush, on);
    l->slot[LOOP_SLOT_CACHE] = on;
    on->redis = redis_open(l, &config.redis, &hooks, on);
}

void remote_loop_fini(ath_loop *l)
{
    struct remote *on = remote_of(l);
    struct list *node;

    if (!on)
        return;
    l->slot[LOOP_SLOT_CACHE] = NULL;
    deferred_cancel(&on->flush);
    while ((node = list_pop(&on->tokens)))
        finish_tokens(list_entry(node, struct token_ask, node), ATH_E_CANCELED);
    redis_close(on->redis);
    free(on);
}

int remote_start(const struct remote_options *o, ath_err *e)
{
    int rc;

    config.on = false;
    if (str_trim(o->url).n == 0)
        return 0;
    if ((rc = redis_options_parse(o->url, &config.redis, e)) < 0)
        return rc;
    config.redis.connect_ms = CONNECT_MS;
    config.redis.command_ms = o->command_ms;
    config.redis.backoff_ms = o->cooldown_ms;
    config.ttl_ms = o->ttl_ms;
    config.loops = o->loops;
    config.loop_count = o->loop_count;
    config.on = true;
    return 0;
}

void remote_stop(void)
{
    redis_options_free(&config.redis);
    config.on = false;
    config.loop_count = 0;
}

void remote_read_stats(struct remote_stats *ret)
{
    *ret = (struct remote_stats){ .ready = atomic_load(&ready),
                                  .asks = atomic_load(&asks),
                                  .timeouts = atomic_load(&timeouts),
                                  .errors = atomic_load(&errors),
                                  .untold = untold_count(),
                                  .untold_ever = atomic_load(&untold_ever) };
}
