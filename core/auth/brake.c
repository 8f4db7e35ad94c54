/* The brake against guessing.
 *
 * Failures of an address are one number, the time at which all of them would be forgiven (the
 * "theoretical arrival time" of GCRA): each failure moves it by one interval. Addresses lie in sets
 * of eight, found by a digest under a key of this process; a set has one of 64 locks. That is
 * touched by failures, and by requests only while somebody is braked.
 *
 * Which keys worked from where is a table of digests without locks: a place holds part of the
 * digest and the quarter of a minute in which it was seen last. Who loses his place there is braked
 * like anybody.
 */
#include "auth/brake.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "log/log.h"
#include "log/metric.h"

enum {
    SETS = 8192,
    WAYS = 8,
    LOCKS = 64,
    PLACES = 16384,
    EXEMPT_MOST = 64,
    PUBLIC_ID_MOST = 64,
    QUARTER_MINUTE_MS = 15000,
    KEPT_QUARTERS = 60, /* a quarter of an hour */
    MINUTE_US = 60000000,
    DEBT_MOST_US = 10 * MINUTE_US /* what comes at once is not held against anybody for longer */
};

struct failures { /* of an address; IPv4: high 0, IPv6: low 0 */
    uint64_t high, low;
    uint64_t forgiven_us; /* 0: a free place */
    uint64_t said_us;     /* when the log was told last */
};

static struct {
    uint64_t interval_us,
        grace_us; /* interval 0: off; grace: what the failures of a burst but one take */
    uint64_t seed[2];
    struct ip_set *exempt;
    struct failures *failures; /* SETS * WAYS */
    _Atomic uint64_t *passed;  /* PLACES */
    pthread_mutex_t lock[LOCKS];
    uint32_t refused_metric;
    bool counted;
} brake;

_Atomic uint64_t brake_until_us;

static uint64_t now_us(void)
{
    return clock_ns() / 1000u;
}

/* ---- set up ---- */

static int counters(ath_err *e)
{
    static const ath_metric refused = {
        .name = "athena_auth_braked_total",
        .kind = ATH_M_COUNTER,
        .help = "Requests refused because too many credentials from their address had failed.",
    };
    int rc;

    if (brake.counted)
        return 0;
    if ((rc = metric_register(&refused, &brake.refused_metric, e)) < 0)
        return rc;
    for (int i = 0; i < LOCKS; i++)
        pthread_mutex_init(&brake.lock[i], NULL);
    rand_secret(brake.seed, sizeof(brake.seed));
    brake.counted = true;
    return 0;
}

static int exempt_read(ath_str list, ath_err *e)
{
    struct network net[EXEMPT_MOST];
    ath_str bad;
    int n = networks_read(list, net, EXEMPT_MOST, &bad);

    if (n < 0 && bad.n)
        return err_fail(e, ATH_E_CONFIG, "\"%.*s\" in gateway.auth_failures_exempt is no network",
                        STR_ARG(bad));
    if (n < 0)
        return err_fail(e, ATH_E_CONFIG, "gateway.auth_failures_exempt has more than %d networks",
                        EXEMPT_MOST);
    brake.exempt = ip_set_new(net, (size_t)n);
    return 0;
}

int brake_configure(const struct brake_rules *rules, ath_err *e)
{
    int rc;

    brake_stop();
    if ((rc = counters(e)) < 0 || (rc = exempt_read(rules->exempt, e)) < 0)
        return rc;
    if (rules->per_minute == 0)
        return 0;
    brake.interval_us = MINUTE_US / rules->per_minute;
    brake.interval_us += !brake.interval_us;
    brake.grace_us = brake.interval_us * (rules->burst ? rules->burst - 1 : 0);
    brake.failures = mem_new(SETS * WAYS * sizeof(brake.failures[0]));
    brake.passed = mem_new(PLACES * sizeof(brake.passed[0]));
    return 0;
}

void brake_stop(void)
{
    brake.interval_us = 0;
    atomic_store(&brake_until_us, 0);
    ip_set_free(brake.exempt);
    free(brake.failures);
    free(brake.passed);
    brake.exempt = NULL;
    brake.failures = NULL;
    brake.passed = NULL;
}

/* ---- digests ---- */

static uint64_t word_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

struct caller {
    uint64_t high, low, digest;
};

/* False: not known. */
static inline bool caller_of(struct req *r, struct caller *ret)
{
    uint8_t at[16];
    bool v4;

    if (!ip_bytes_of(r, at))
        return false;
    v4 = address_is_v4(at);
    ret->high = v4 ? 0 : word_at(at);
    ret->low = v4 ? word_at(at + 8) : 0;
    ret->digest = mix(ret->high ^ ret->low ^ brake.seed[0], brake.seed[1] | 1);
    return true;
}

uint64_t brake_id(ath_str public_id)
{
    uint64_t h = public_id.n;
    uint64_t piece;

    while (public_id.n) {
        size_t n = public_id.n < sizeof(piece) ? public_id.n : sizeof(piece);
        piece = 0;
        memcpy(&piece, public_id.p, n);
        h = mix(h ^ piece, brake.seed[1] | 1) ^ brake.seed[0];
        public_id = str_after(public_id, n);
    }
    return h;
}

/* What no address looks like: an IPv6 caller has no lower half, and an IPv4 one no upper. */
static void at_door(struct caller *c, enum brake_door door)
{
    if (door == BRAKE_OPEN && c->low)
        c->high = 1;
    else if (door == BRAKE_OPEN)
        c->low = 1;
}

static uint64_t use_digest(const struct caller *c, uint64_t id)
{
    return mix(c->digest ^ id, brake.seed[0] | 1);
}

/* ---- keys that work ---- */

/* The upper half of what a place holds is the digest's, the lower half a time. */
static _Atomic uint64_t *place_of(uint64_t digest)
{
    return &brake.passed[digest % PLACES];
}

static uint32_t quarter_minute(uint64_t ms)
{
    return (uint32_t)(ms / QUARTER_MINUTE_MS);
}

void brake_passed(struct req *r, uint64_t id, uint64_t now_ms)
{
    struct caller c;
    uint64_t digest, now;

    if (unlikely(!brake.interval_us || !caller_of(r, &c)))
        return;
    digest = use_digest(&c, id);
    now = (digest & ~(uint64_t)UINT32_MAX) | quarter_minute(now_ms);
    if (unlikely(atomic_load_explicit(place_of(digest), memory_order_relaxed) != now))
        atomic_store_explicit(place_of(digest), now, memory_order_relaxed);
}

/* Has the key of this id worked from there lately? */
static bool used_lately(const struct caller *c, ath_str given)
{
    uint64_t digest, seen;
    ath_str id;

    if (!str_starts(given, "ath_"))
        return false;
    id = str_after(given, 4);
    id.n = str_find(id, '.');
    if (id.n == 0 || id.n > PUBLIC_ID_MOST)
        return false;
    digest = use_digest(c, brake_id(id));
    seen = atomic_load_explicit(place_of(digest), memory_order_relaxed);
    return seen >> 32 == digest >> 32 &&
           quarter_minute(now_us() / 1000) - (uint32_t)seen <= KEPT_QUARTERS;
}

/* ---- failures ---- */

static pthread_mutex_t *lock_of(const struct caller *c)
{
    return &brake.lock[c->digest % SETS % LOCKS];
}

/* Its place, or the one of its set that is free soonest. Under the lock. */
static struct failures *failures_of(const struct caller *c)
{
    struct failures *set = &brake.failures[c->digest % SETS * WAYS], *found = set;

    for (int i = 0; i < WAYS; i++) {
        if (set[i].forgiven_us && set[i].high == c->high && set[i].low == c->low)
            return &set[i];
        if (set[i].forgiven_us < found->forgiven_us)
            found = &set[i];
    }
    return found;
}

static bool is_of(const struct failures *f, const struct caller *c)
{
    return f->forgiven_us && f->high == c->high && f->low == c->low;
}

/* Somebody is braked until then. */
static void until(uint64_t us)
{
    uint64_t was = atomic_load(&brake_until_us);

    while (was < us && !atomic_compare_exchange_weak(&brake_until_us, &was, us))
        ;
}

void brake_failed(struct req *r, enum brake_door door)
{
    struct failures *f;
    struct caller c;
    uint64_t now, owed;

    if (!brake.interval_us || !caller_of(r, &c) || ip_set_has(brake.exempt, r->address_bytes))
        return;
    at_door(&c, door);
    now = now_us();
    pthread_mutex_lock(lock_of(&c));
    f = failures_of(&c);
    if (!is_of(f, &c))
        *f = (struct failures){ .high = c.high, .low = c.low };
    owed = (f->forgiven_us > now ? f->forgiven_us - now : 0) + brake.interval_us;
    if (owed > brake.grace_us + brake.interval_us + DEBT_MOST_US)
        owed = brake.grace_us + brake.interval_us + DEBT_MOST_US;
    f->forgiven_us = now + owed;
    pthread_mutex_unlock(lock_of(&c));
    if (owed > brake.grace_us)
        until(now + owed - brake.grace_us);
}

/* How long this caller has to wait; *ret_say: the log is to be told. */
static uint64_t wait_us(const struct caller *c, uint64_t now, bool *ret_say)
{
    struct failures *f;
    uint64_t wait = 0;

    pthread_mutex_lock(lock_of(c));
    f = failures_of(c);
    if (is_of(f, c) && f->forgiven_us > now + brake.grace_us) {
        wait = f->forgiven_us - now - brake.grace_us;
        *ret_say = !f->said_us || now - f->said_us >= MINUTE_US;
        if (*ret_say)
            f->said_us = now;
    }
    pthread_mutex_unlock(lock_of(c));
    return wait;
}

static int refuse(struct req *r, uint64_t wait, bool say, ath_err *e)
{
    char text[STR_U64_ROOM];

    metric_put(brake.refused_metric, NULL, 1);
    if (say)
        log_write(ATH_WARN, "athena::auth",
                  "too many credentials from %.*s have failed, its requests with one are refused "
                  "for now",
                  STR_ARG(r->address));
    err_raise(e, "auth_failures_exceeded",
              "Too many failed credentials from this address; try again later.");
    err_detail(e, "retry_after", str_from_u64((wait + 999999) / 1000000, text));
    return e->rc;
}

int brake_look(struct req *r, ath_str given, enum brake_door door, ath_err *e)
{
    uint64_t now = now_us(), until_us = atomic_load(&brake_until_us), wait;
    struct caller c;
    bool say = false;

    if (until_us <= now) { /* all have waited; somebody may just have been braked anew */
        atomic_compare_exchange_strong(&brake_until_us, &until_us, 0);
        return 0;
    }
    if (!caller_of(r, &c))
        return 0;
    at_door(&c, door);
    if ((wait = wait_us(&c, now, &say)) == 0 || used_lately(&c, given))
        return 0;
    return refuse(r, wait, say, e);
}
