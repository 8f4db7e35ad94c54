/* Keys: finding the one that was sent, comparing it in constant time, refusing with the contract's
 * words.
 */
#include "server/keys.h"

#include "lib/text.h"

void keys_load(struct keys *k, ath_str configured)
{
    k->admin[0] = configured;
    k->admin[1] = str_trim(str_of(getenv("ATHENA_P12_KEY")));
}

ath_str keys_given(struct req *r)
{
    static const ath_str carrier[] = { { "x-athena-key", 12 }, { "x-api-key", 9 }, { "apikey", 6 } };
    ath_str bearer;

    for (size_t i = 0; i < ATH_COUNT(carrier); i++) {
        ath_str v = str_trim(req_find(r, carrier[i]));
        if (v.n)
            return v;
    }
    bearer = req_find(r, ATH_S("authorization"));
    if (str_starts(bearer, "Bearer ath_"))
        return str_trim(str_after(bearer, 7));
    return (ath_str){ "", 0 };
}

/* Which of the two are set is no secret; which one fits is. */
static bool is_admin(const struct keys *k, ath_str given)
{
    bool first = k->admin[0].n && rand_same(given, k->admin[0]);
    bool second = k->admin[1].n && rand_same(given, k->admin[1]);

    return given.n && (first | second);
}

static bool admin_set(const struct keys *k)
{
    return k->admin[0].n || k->admin[1].n;
}

static int refuse_admin(const struct keys *k, ath_err *e)
{
    if (!admin_set(k))
        return err_raise(e, "admin_key_unset", "ATHENA_KEY_12 environment variable is not set");
    err_raise(e, "admin_key_invalid", "Invalid or missing API key. Use X-Athena-Key.");
    err_detail(e, "body", str_of("{\"error\":\"Invalid or missing API key. Use X-Athena-Key.\"}"));
    return e->rc;
}

/* A key that is not the administrator's, while keys are enforced. */
static int refuse_key(ath_str given, ath_err *e)
{
    if (given.n == 0)
        return err_raise(e, "api_key_required", "Missing API key. Use X-Athena-Key.");
    if (!str_starts(given, "ath_") || str_find(given, '.') == given.n)
        return err_raise(e, "api_key_invalid", "The API key format is invalid.");
    return err_raise(e, "auth_store_unavailable",
                     "Gateway auth store is configured but currently unreachable.");
}

int keys_check(const struct keys *k, struct req *r, ath_err *e)
{
    uint32_t class = r->match.route->def.auth;
    ath_str given;

    r->who = (ath_who){ .size = sizeof(r->who), .client = r->client_name };
    if (class == ATH_AUTH_NONE || class == ATH_AUTH_OWN)
        return 0;
    given = keys_given(r);
    if (unlikely(r->direct_uri.n && given.n == 0))
        return err_raise(e, "api_key_required",
                         "Direct PostgreSQL routing requires X-Athena-Key unless "
                         "ATHENA_ALLOW_DIRECT_PG_URI_WITHOUT_API_KEY=true and the URI includes "
                         "credentials.");
    if (is_admin(k, given)) {
        r->who.flags = ATH_WHO_ADMIN;
        return 0;
    }
    if (class == ATH_AUTH_ADMIN)
        return refuse_admin(k, e);
    if (class == ATH_AUTH_EITHER && !k->store)
        return err_raise(e, "unauthorized", "%s", admin_set(k)
            ? "Invalid or missing API key. Use X-Athena-Key with ATHENA_KEY_12 or configure "
              "gateway.api_key_client."
            : "Set ATHENA_KEY_12 or configure gateway.api_key_client (API key store).");
    if (k->enforced || class == ATH_AUTH_MANAGEMENT || r->direct_uri.n)
        return refuse_key(given, e);
    r->who.flags = ATH_WHO_UNCHECKED;
    return 0;
}

int keys_allow(struct req *r, const ath_right *right, uint32_t n, ath_err *e)
{
    (void)right, (void)n;
    if (r->who.flags & (ATH_WHO_ADMIN | ATH_WHO_UNCHECKED))
        return 0;
    return err_raise(e, "forbidden", "the caller holds no rights");
}
