/* Finding the key that was sent, and the administrators' own.
 *
 * The administrators' keys are compared whole in constant time, without a digest: nothing of theirs
 * is in the time but the length of what was sent.
 */
#include "auth/keys.h"

#include <ctype.h>

#include "base/err.h"
#include "base/mem.h"
#include "lib/text.h"

enum { CARRIERS_MOST = 8 };

static struct {
    ath_str admin[2]; /* n 0: unset */
    bool alike;       /* one of them has the form of a gateway's key */
    ath_str carrier[CARRIERS_MOST];
    uint32_t carriers;
} keys = { .carrier = { { "x-athena-key", 12 }, { "x-api-key", 9 }, { "apikey", 6 } },
           .carriers = 3 };

static bool is_header_name(ath_str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '-' && name.p[i] != '_')
            return false;
    return name.n > 0;
}

static ath_str lower(ath_str name)
{
    char *p = mem_dup_str(name);

    for (size_t i = 0; i < name.n; i++)
        p[i] = (char)tolower((unsigned char)p[i]);
    return str_from(p, name.n);
}

static void forget_carriers(void)
{
    static bool ours;

    for (uint32_t i = 0; ours && i < keys.carriers; i++)
        free((char *)(uintptr_t)keys.carrier[i].p);
    keys.carriers = 0;
    ours = true;
}

static int load_carriers(ath_str list, ath_err *e)
{
    ath_str name;

    if (list.n == 0)
        return 0;
    forget_carriers();
    while (str_next(&list, ',', &name)) {
        name = str_trim(name);
        if (!is_header_name(name))
            return err_fail(e, ATH_E_CONFIG,
                            "\"%.*s\" in gateway.key_carriers is no name of a header",
                            STR_ARG(name));
        if (keys.carriers == CARRIERS_MOST)
            return err_fail(e, ATH_E_CONFIG, "gateway.key_carriers names more than %d headers",
                            CARRIERS_MOST);
        keys.carrier[keys.carriers++] = lower(name);
    }
    return 0;
}

int keys_load(const struct key_rules *rules, ath_err *e)
{
    keys.admin[0] = str_trim(rules->admin);
    keys.admin[1] = str_trim(str_of(getenv("ATHENA_P12_KEY")));
    keys.alike = str_starts(keys.admin[0], "ath_") || str_starts(keys.admin[1], "ath_");
    return load_carriers(rules->carriers, e);
}

bool keys_admin_short(void)
{
    return (keys.admin[0].n && keys.admin[0].n < ADMIN_KEY_MIN) ||
           (keys.admin[1].n && keys.admin[1].n < ADMIN_KEY_MIN);
}

ath_str keys_given(struct req *r)
{
    ath_str bearer;

    for (uint32_t i = 0; i < keys.carriers; i++) {
        ath_str v = str_trim(req_find(r, keys.carrier[i]));
        if (v.n)
            return v;
    }
    bearer = req_find(r, ATH_S("authorization"));
    if (str_starts(bearer, "Bearer ath_"))
        return str_trim(str_after(bearer, 7));
    return (ath_str){ "", 0 };
}

bool keys_admin_set(void)
{
    return keys.admin[0].n || keys.admin[1].n;
}

/* Which of the two are set is no secret, nor is their form; which one fits is. */
bool keys_is_admin(ath_str given)
{
    bool first, second;

    if (given.n == 0 || (!keys.alike && str_starts(given, "ath_")))
        return false;
    first = keys.admin[0].n && rand_same(given, keys.admin[0]);
    second = keys.admin[1].n && rand_same(given, keys.admin[1]);
    return first | second;
}

bool keys_split(ath_str given, ath_str *ret_id, ath_str *ret_secret)
{
    ath_str rest;
    size_t dot;

    if (!str_starts(given, "ath_"))
        return false;
    rest = str_after(given, 4);
    dot = str_find(rest, '.');
    if (dot == rest.n)
        return false;
    *ret_id = str_from(rest.p, dot);
    *ret_secret = str_after(rest, dot + 1);
    return true;
}
