/* registry_reconnect_worker: says which clients' databases have come back, and in which tick.
 *
 * Nothing has to be opened here. The pools of a process try by themselves, every two seconds at
 * most, as long as a database is away, in each process and whoever asks; a pool is looked up anew
 * by each trip, so nobody holds one that is closed. What is left is to tell operators: a client
 * that was seen without a connection and has one again.
 */
#include "upkeep.h"

#include <stdlib.h>

#include "lib/jsonread.h"

enum { VALUES_MOST = 1000000 };

struct seen { /* of one client */
    char *name;
    bool up, lost; /* lost: it was up once, and is wanted */
};

struct reconnect {
    struct seen *seen; /* in the order of the last document */
    size_t n;
};

struct reconnect *reconnect_new(void)
{
    return calloc(1, sizeof(struct reconnect));
}

static void forget(struct seen *seen, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(seen[i].name);
    free(seen);
}

void reconnect_free(struct reconnect *k)
{
    if (!k)
        return;
    forget(k->seen, k->n);
    free(k);
}

static bool is_true(const struct json *pool, const char *key)
{
    const struct json *v = json_get(pool, key);

    return v && v->type == JSON_TRUE;
}

/* Documents have the same order, so it stands where it was, or little further. */
static const struct seen *find(const struct reconnect *k, ath_str name, size_t *at)
{
    for (size_t i = 0; i < k->n; i++) {
        const struct seen *s = &k->seen[(*at + i) % k->n];
        if (!str_eq(str_of(s->name), name))
            continue;
        *at = (*at + i + 1) % k->n;
        return s;
    }
    return NULL;
}

static void say(ath_task *t, ath_str name)
{
    ath_fact fact = { ATH_S("client_name"), name, ATH_V_PLAIN, 0 };
    ath_event ev = { .size = sizeof(ev),
                     .level = ATH_INFO,
                     .fact_count = 1,
                     .source = ATH_S("athena::pool"),
                     .message = ATH_S("Reconnected Postgres client"),
                     .fact = &fact };

    ath_host_->log->event(ath_self_, t, &ev);
}

static void look(ath_task *t, const struct seen *before, const struct json *pool, struct seen *ret)
{
    ath_str name = json_text(json_get(pool, "client_name"));
    bool wanted = is_true(pool, "active") && !is_true(pool, "frozen");

    ret->up = is_true(pool, "connected");
    ret->lost = wanted && !ret->up && before && (before->up || before->lost);
    if (before && before->lost && ret->up)
        say(t, name);
    ret->name = strndup(name.p, name.n);
}

int reconnect_run(ath_job *t, ath_err *e)
{
    const struct upkeep *u = ath_state_of(t);
    struct reconnect *k = u->reconnect;
    struct json_error why;
    const struct json *pools = json_get(
        json_read(ath_host_->inspect(t, "pools"), JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why),
        "pools");
    struct seen *now;
    size_t n = 0, at = 0;

    if (!pools)
        return ath_fail(e, ATH_E_BUG, "the pools of this process are not known");
    now = calloc(pools->count + 1, sizeof(*now));
    if (!now)
        return ath_fail(e, ATH_E_MEMORY, "out of memory");
    json_each(p, pools)
    {
        look(t, find(k, json_text(json_get(p, "client_name")), &at), p, &now[n]);
        n += now[n].name != NULL;
    }
    forget(k->seen, k->n);
    k->seen = now;
    k->n = n;
    return upkeep_done(t);
}
