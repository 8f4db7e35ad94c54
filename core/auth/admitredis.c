/* Windows in Redis: one connection per loop, one script per request.
 *
 * The script looks at each window that has a limit and counts in all of them, or in none when one
 * is full; the keys are the published ones and go by themselves. It is loaded when a connection
 * becomes ready and then called by its digest; a server that has forgotten it is given it whole,
 * once, in what is left of the request's time. A connection that does not answer in time ends
 * (db/redis.h), so the next requests do not wait for it.
 */
#include "auth/admit_priv.h"
#include "base/clock.h"
#include "base/mem.h"
#include "db/redis.h"
#include "log/log.h"

enum { CONNECT_MS = 2000, DIGEST = 40, WORDS_MOST = 12 };

static const char script[] = "local n = #KEYS / 2\n"
                             "for i = 1, n do\n"
                             "  local before = tonumber(redis.call('GET', KEYS[2 * i]) or 0)\n"
                             "  local used = tonumber(redis.call('GET', KEYS[2 * i - 1]) or 0)\n"
                             "  used = used + math.floor(before * ARGV[1] / ARGV[2])\n"
                             "  if used >= tonumber(ARGV[3 + i]) then return 1 + i end\n"
                             "end\n"
                             "for i = 1, n do\n"
                             "  if redis.call('INCR', KEYS[2 * i - 1]) == 1 then\n"
                             "    redis.call('EXPIRE', KEYS[2 * i - 1], ARGV[3])\n"
                             "  end\n"
                             "end\n"
                             "return 1\n";

struct shared { /* of one loop */
    struct redis *redis;
    struct redis_ask load;
    char digest[DIGEST + 1]; /* empty: not loaded yet */
};

static struct {
    struct redis_options redis;
    struct shared_options o;
    bool on;
} cfg;

static atomic_uint_fast64_t lost_ms; /* since when, by clock_ms(); 0: it is well */
static atomic_bool away;             /* said so */

bool shared_on(void)
{
    return cfg.on;
}

bool shared_up(void)
{
    return atomic_load_explicit(&lost_ms, memory_order_relaxed) == 0;
}

bool shared_holds_off(void)
{
    uint64_t since = atomic_load_explicit(&lost_ms, memory_order_relaxed);

    return since == 0 || clock_ms() < since + cfg.o.cooldown_ms;
}

static void found(void)
{
    if (unlikely(atomic_load_explicit(&lost_ms, memory_order_relaxed)))
        atomic_store_explicit(&lost_ms, 0, memory_order_relaxed);
}

static void missed(void)
{
    uint64_t well = 0;

    if (atomic_load_explicit(&lost_ms, memory_order_relaxed) == 0)
        atomic_compare_exchange_strong(&lost_ms, &well, clock_ms());
}

/* ---- asking ---- */

struct asked { /* in the request's arena */
    struct redis_ask ask;
    struct shared *s;
    struct op *op;
    uint64_t began_ms;
    ath_str word[WORDS_MOST];
    uint32_t words, windows;
    bool whole;
};

static bool forgotten(const struct redisReply *reply)
{
    return redis_is_error(reply) && str_starts(redis_text(reply), "NOSCRIPT");
}

static int send_it(struct asked *a, bool whole)
{
    a->whole = whole;
    a->word[0] = whole ? ATH_S("EVAL") : ATH_S("EVALSHA");
    a->word[1] = whole ? str_of(script) : str_from(a->s->digest, DIGEST);
    return redis_send(a->s->redis, &a->ask, a->word, a->words);
}

/* V_PASSED, the window that is full, or V_LOST for what is no answer of the script. */
static enum verdict verdict_of(const struct asked *a, const struct redisReply *reply)
{
    uint64_t n = reply ? redis_number(reply) : 0;

    if (n == 1)
        return V_PASSED;
    if (n == 0 || n > 1 + a->windows)
        return V_LOST;
    return n == 2 && cfg.o.global ? V_GLOBAL : V_CLIENT;
}

static void answered(struct redis_ask *ask, const struct redisReply *reply, int rc)
{
    struct asked *a = container_of(ask, struct asked, ask);
    uint64_t took_ms = loop_now_ms(a->op->task->loop) - a->began_ms;
    enum verdict v;

    if (reply && !a->whole && forgotten(reply) && took_ms * 2 < cfg.o.command_ms &&
        send_it(a, true) == 0)
        return;
    v = verdict_of(a, reply);
    if (v != V_LOST)
        found();
    else if (rc != ATH_E_CANCELED)
        missed();
    a->op->done.count = v;
    op_finish(a->op, 0);
}

/* A window and the one before it. */
static void put_keys(struct asked *a, ath_str *to, ath_str name, uint64_t bucket)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct buf b = ARENA_BUF(&a->op->task->arena);
        buf_lit(&b, "athena:admission:");
        buf_str(&b, name);
        buf_char(&b, ':');
        buf_u64(&b, bucket - i);
        to[i] = buf_view(&b);
    }
}

static ath_str client_key(ath_arena *a, ath_str client)
{
    struct buf b = ARENA_BUF(a);

    buf_lit(&b, "client:");
    buf_str(&b, client);
    return buf_view(&b);
}

static void add_number(struct asked *a, uint64_t v)
{
    ath_arena *arena = &a->op->task->arena;
    char room[STR_U64_ROOM];

    a->word[a->words++] = arena_str(arena, str_from_u64(v, room));
}

/* EVALSHA digest keys key ... left length life limit ... */
static void compose(struct asked *a, ath_str client)
{
    uint64_t now_ms = clock_wall_ns() / 1000000u, bucket = now_ms / cfg.o.window_ms;
    uint64_t left_ms = (bucket + 1) * cfg.o.window_ms - now_ms;
    ath_arena *arena = &a->op->task->arena;

    a->windows = (cfg.o.global > 0) + (cfg.o.per_client > 0);
    a->words = 2;
    add_number(a, 2 * a->windows);
    if (cfg.o.global)
        put_keys(a, &a->word[3], ATH_S("global"), bucket);
    if (cfg.o.per_client)
        put_keys(a, &a->word[1 + 2 * a->windows], client_key(arena, client), bucket);
    a->words += 2 * a->windows;
    add_number(a, left_ms);
    add_number(a, cfg.o.window_ms);
    add_number(a, (2 * cfg.o.window_ms + 999) / 1000);
    if (cfg.o.global)
        add_number(a, cfg.o.global);
    if (cfg.o.per_client)
        add_number(a, cfg.o.per_client);
}

int shared_ask(struct req *r, ath_str client, ath_then *then, ath_err *e)
{
    struct shared *s = r->task.loop->slot[LOOP_SLOT_AUTH];
    struct asked *a;
    int rc;

    if (!s || !redis_ready(s->redis)) {
        missed();
        return err_fail(e, ATH_E_UPSTREAM, "Redis is not connected");
    }
    a = ARENA_NEW(&r->task.arena, struct asked);
    a->s = s;
    a->ask.done = answered;
    a->began_ms = loop_now_ms(r->task.loop);
    a->op = op_new(&r->task, then, NULL);
    compose(a, client);
    if ((rc = send_it(a, !s->digest[0])) < 0) { /* too much waits to be written */
        missed();
        a->op->done.count = V_LOST;
        op_finish(a->op, 0);
    }
    return 0;
}

/* ---- connections ---- */

static void loaded(struct redis_ask *ask, const struct redisReply *reply, int rc)
{
    struct shared *s = container_of(ask, struct shared, load);
    ath_str digest = reply && !redis_is_error(reply) ? redis_text(reply) : ATH_S("");

    (void)rc;
    if (digest.n == DIGEST)
        *str_put(s->digest, digest) = 0;
}

static void ready(struct redis *r)
{
    struct shared *s = redis_owner(r);
    ath_str word[] = { ATH_S("SCRIPT"), ATH_S("LOAD"), str_of(script) };

    s->digest[0] = 0;
    s->load = (struct redis_ask){ .done = loaded };
    redis_send(r, &s->load, word, ATH_COUNT(word));
    found();
    if (atomic_exchange(&away, false))
        log_write(ATH_INFO, "athena::admission", "Redis is back and counts the windows again");
}

static void lost(struct redis *r, int rc, const ath_err *why)
{
    (void)r, (void)rc;
    missed();
    if (!atomic_exchange(&away, true))
        log_write(ATH_WARN, "athena::admission",
                  "Redis does not count: %s; each process counts by itself for %llu ms, then "
                  "requests %s",
                  why->message, (unsigned long long)cfg.o.cooldown_ms,
                  cfg.o.open ? "pass" : "are refused");
}

int shared_start(const struct shared_options *o, ath_err *e)
{
    int rc = redis_options_parse(o->url, &cfg.redis, e);

    if (rc < 0)
        return rc;
    cfg.o = *o;
    cfg.redis.connect_ms = CONNECT_MS;
    cfg.redis.command_ms = o->command_ms;
    cfg.redis.backoff_ms = o->cooldown_ms;
    cfg.on = true;
    atomic_store(&lost_ms, clock_ms()); /* memory stands in until it is connected */
    return 0;
}

void shared_end(void)
{
    if (cfg.on)
        redis_options_free(&cfg.redis);
    cfg.on = false;
}

void shared_loop_init(ath_loop *l)
{
    static const struct redis_hooks hooks = { .ready = ready, .lost = lost };
    struct shared *s = MEM_NEW(struct shared);

    l->slot[LOOP_SLOT_AUTH] = s;
    s->redis = redis_open(l, &cfg.redis, &hooks, s);
}

void shared_loop_fini(ath_loop *l)
{
    struct shared *s = l->slot[LOOP_SLOT_AUTH];

    if (!s)
        return;
    l->slot[LOOP_SLOT_AUTH] = NULL;
    redis_close(s->redis);
    free(s);
}
