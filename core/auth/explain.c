/* Lines in the order of the check; each asks the function that the check itself asks. */
#include "auth/explain.h"

#include <time.h>

#include "base/err.h"
#include "lib/json.h"

enum { NAMES_SHOWN = 12 };

enum verdict { NO, YES, NOTE };

struct explanation {
    const struct explain_ask *ask;
    const struct auth_key *key;
    const struct explain_facts *facts;
    struct buf lines, why; /* why: of the line that is written */
    struct buf summary;    /* the first "no" */
};

static void line(struct explanation *x, const char *check, enum verdict v)
{
    static const char *const words[] = { [NO] = "no", [YES] = "yes", [NOTE] = "note" };

    buf_char(&x->lines, x->lines.n ? ',' : '[');
    buf_char(&x->lines, '{');
    buf_json_str(&x->lines, "check", str_of(check));
    buf_json_str(&x->lines, "verdict", str_of(words[v]));
    buf_json_str(&x->lines, "why", buf_view(&x->why));
    buf_char(&x->lines, '}');
    if (v == NO && !x->summary.n)
        buf_str(&x->summary, buf_view(&x->why));
    buf_reset(&x->why);
}

/* ---- the store and its switches ---- */

static void on_store(struct explanation *x)
{
    static const char *const words[] = {
        [STORE_NONE] = "no auth client is configured: there are no keys",
        [STORE_STARTING] = "the key store was not read yet",
        [STORE_WELL] = "the key store is followed",
        [STORE_STALE] = "the key store cannot be asked; what is known of it still holds",
        [STORE_LOST] = "the key store is lost: gateway.api_key_fail_mode decides about requests",
    };

    buf_z(&x->why, words[x->facts->store]);
    line(x, "store", x->facts->store == STORE_WELL ? YES : NOTE);
}

static void on_enforced(struct explanation *x)
{
    ath_str client = x->ask->client;
    int on = x->facts->enforced;

    buf_z(&x->why, on < 0 ? "it is not known whether keys are asked for"
                   : on   ? "keys are asked for"
                          : "keys are not asked for");
    if (client.n)
        buf_printf(&x->why, " of client \"%.*s\"", STR_ARG(client));
    if (on == 0)
        buf_lit(&x->why, ": what refuses is only logged, where a route is open without keys");
    line(x, "enforced", on > 0 ? YES : NOTE);
}

/* ---- the key ---- */

static void put_time(struct buf *b, int64_t us)
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    char text[40];

    if (gmtime_r(&s, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
        buf_z(b, text);
}

static void on_key(struct explanation *x)
{
    int64_t at = x->key->expires_us;
    bool over = auth_key_expired(x->key, x->facts->now_us);

    buf_z(&x->why, x->key->active ? "it is active" : "The API key has been disabled.");
    line(x, "active", x->key->active ? YES : NO);
    buf_z(&x->why, over ? "The API key has expired." : at ? "it expires" : "it never expires");
    if (at) {
        buf_z(&x->why, over ? " (" : " at ");
        put_time(&x->why, at);
        buf_z(&x->why, over ? ")" : "");
    }
    line(x, "expiry", over ? NO : YES);
}

static void on_client(struct explanation *x)
{
    bool fits = auth_key_is_for(x->key, x->ask->client);
    ath_str shown = x->key->client_shown;

    if (x->key->client.n == 0)
        buf_lit(&x->why, "it is bound to no client");
    else if (fits)
        buf_printf(&x->why, "it is bound to client \"%.*s\"", STR_ARG(shown));
    else
        buf_printf(&x->why, "The API key is scoped to client '%.*s', not '%.*s'.", STR_ARG(shown),
                   STR_ARG(x->ask->client));
    line(x, "client", fits ? YES : NO);
}

/* ---- rights ---- */

static void put_required(const struct explain_ask *ask, struct buf *b)
{
    if (ask->right.table.n)
        right_name(b, &ask->right);
    else
        buf_str(b, ask->name);
}

static void put_granted(struct buf *b, const struct right_set *s)
{
    const ath_str *name;
    uint32_t n = right_set_names(s, &name);

    buf_z(b, n ? " It has: " : " It has none.");
    for (uint32_t i = 0; i < n && i < NAMES_SHOWN; i++)
        buf_printf(b, "%s%.*s", i ? ", " : "", STR_ARG(name[i]));
    if (n > NAMES_SHOWN)
        buf_printf(b, " and %u more", n - NAMES_SHOWN);
}

static void on_right(struct explanation *x)
{
    const struct explain_ask *ask = x->ask;
    const ath_str *by = ask->right.table.n ? right_allowing(x->key->rights, &ask->right)
                                           : right_covering(x->key->rights, ask->name);

    if (by)
        buf_printf(&x->why, "\"%.*s\" is granted and covers ", STR_ARG(*by));
    else
        buf_lit(&x->why, "Missing required rights: ");
    put_required(ask, &x->why);
    if (ask->right.table.n)
        buf_printf(&x->why, "%s table %.*s.%.*s", by ? " on" : ", for", STR_ARG(ask->right.schema),
                   STR_ARG(ask->right.table));
    if (!by) {
        buf_char(&x->why, '.');
        put_granted(&x->why, x->key->rights);
    }
    line(x, "right", by ? YES : NO);
}

/* ---- addresses ---- */

static bool is_listed(const struct ip_policy *p)
{
    return p->white || p->black || p->all_white[0] || p->all_white[1] || p->all_black[0] ||
           p->all_black[1];
}

/* 0, or the refusal. */
static int judge_address(const struct explanation *x, ath_err *e)
{
    const struct explain_ask *ask = x->ask;
    const char *reason;

    if (x->facts->untold)
        return ip_unavailable(x->facts->untold, &reason, e);
    return ask->address.p ? ip_judge(x->facts->policy, ask->address, ask->bytes, &reason, e) : 0;
}

static void on_address(struct explanation *x)
{
    const struct ip_policy *p = x->facts->policy;
    ath_str address = x->ask->address;
    ath_err e;

    err_reset(&e);
    if (judge_address(x, &e) < 0) {
        buf_mem(&x->why, e.message, e.message_n);
        line(x, "address", NO);
        return;
    }
    if (!address.p) {
        buf_z(&x->why, is_listed(p) || p->wanting
                           ? "there are lists of addresses: ask with one to know"
                           : "no list of addresses holds for it");
        line(x, "address", NOTE);
        return;
    }
    buf_printf(&x->why, "%.*s %s", STR_ARG(address),
               p->learning    ? "is on no blacklist, and the key still learns its addresses"
               : is_listed(p) ? "may use it, by the lists of addresses"
                              : "may use it: no list of addresses holds for it");
    line(x, "address", YES);
}

/* ---- together ---- */

void explain(const struct explain_ask *ask, const struct auth_key *k, const struct explain_facts *f,
             struct buf *b)
{
    struct explanation x = { .ask = ask, .key = k, .facts = f };
    struct buf required = BUF_HEAP;

    on_store(&x);
    on_enforced(&x);
    on_key(&x);
    on_client(&x);
    on_right(&x);
    on_address(&x);
    buf_char(b, '{');
    buf_json_bool(b, "allowed", x.summary.n == 0);
    buf_json_key(b, "enforced");
    buf_z(b, f->enforced < 0 ? "null" : f->enforced ? "true" : "false");
    buf_json_key(b, "lines");
    buf_str(b, buf_view(&x.lines));
    buf_char(b, ']');
    put_required(ask, &required);
    buf_json_str(b, "required", buf_view(&required));
    buf_json_str(b, "summary", x.summary.n ? buf_view(&x.summary) : ATH_S("allowed"));
    buf_char(b, '}');
    buf_free(&required);
    buf_free(&x.lines);
    buf_free(&x.why);
    buf_free(&x.summary);
}
