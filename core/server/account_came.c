/* What came with a request, without its secrets: headers, query, the caller's address, the key.
 *
 * Headers are a JSON object, the query stays a text; in both the value of a name that is a secret's
 * is masked, and so are passwords in URIs. What somebody says of a caller counts where that
 * somebody is a proxy that the operator trusts. */
#include "server/account_priv.h"

#include "auth/auth.h"
#include "lib/json.h"

static const ath_str mask = { "[REDACTED]", 10 }, not_found = { "NOT_FOUND", 9 };

static struct {
    bool enforced;
    ath_str skip;
} how;

void account_configure(const struct account_options *o)
{
    how.enforced = o->enforced;
    how.skip = o->skip_user_agents;
}

bool account_skipped(const struct req *r)
{
    ath_str rest = how.skip, one, agent;

    if (likely(how.skip.n == 0))
        return false;
    agent = req_find(r, ATH_S("user-agent"));
    while (agent.n && str_next(&rest, ',', &one))
        if (str_eq(str_trim(one), agent))
            return true;
    return false;
}

/* ---- headers and query ---- */

/* Names of headers come again and again. They are told apart by a place of their own, mostly. */
enum { PLACES = 64, NAME_MOST = 30 };

static size_t place_of(ath_str name)
{
    return name.n ? (name.n * 7 + (uint8_t)name.p[0] * 3 + (uint8_t)name.p[name.n - 1]) % PLACES
                  : 0;
}

/* Looking into a name costs more than all else here, so each place keeps its last verdict. */
static bool is_secret(ath_str name)
{
    static _Thread_local struct {
        char name[NAME_MOST];
        uint8_t n;
        bool secret;
    } verdict[PLACES];
    size_t at = place_of(name);

    if (name.n == 0 || name.n > NAME_MOST)
        return log_secret_name(name);
    if (!str_same(str_from(verdict[at].name, verdict[at].n), name)) {
        verdict[at].secret = log_secret_name(name);
        verdict[at].n = (uint8_t)name.n;
        memcpy(verdict[at].name, name.p, name.n);
    }
    return verdict[at].secret;
}

static bool has(ath_str text, const char *word)
{
    return memmem(text.p, text.n, word, strlen(word)) != NULL;
}

static bool has_uri(ath_str text)
{
    return text.n && memchr(text.p, ':', text.n) && has(text, "://");
}

/* No text of PostgreSQL's may hold a NUL. */
static __attribute__((noinline)) void put_mended(struct buf *b, ath_str text)
{
    char room[VALUE_MOST];

    for (size_t i = 0; i < text.n; i++)
        room[i] = text.p[i] ? text.p[i] : '?';
    buf_json(b, str_from(room, text.n));
}

void account_put_string(struct buf *b, ath_str text)
{
    ath_str cut = str_from(text.p, text.n < VALUE_MOST ? text.n : VALUE_MOST);

    if (unlikely(!buf_json_plain(b, cut)))
        put_mended(b, cut);
}

static __attribute__((noinline)) void put_redacted(struct buf *b, ath_str value)
{
    struct buf clean = BUF_HEAP;

    log_redact(&clean, value);
    account_put_string(b, buf_view(&clean));
    buf_free(&clean);
}

static void put_header(struct buf *b, ath_str name, ath_str value)
{
    account_put_string(b, name);
    buf_char(b, ':');
    if (has_uri(value))
        put_redacted(b, value);
    else
        account_put_string(b, value);
}

/* Nearly every header is a name and a plain value that is short and no URI; false: it was not. */
static bool put_plain_header(struct buf *b, ath_str name, ath_str value)
{
    char *at = buf_room(b, name.n + value.n + 5), *to = at + 1 + name.n;

    if (value.n > VALUE_MOST || has_uri(value) || !plain_put(at + 1, name, PLAIN_JSON) ||
        !plain_put(to + 3, value, PLAIN_JSON))
        return false;
    at[0] = '"';
    memcpy(to, "\":\"", 3);
    to[3 + value.n] = '"';
    buf_end(b, to + 4 + value.n);
    return true;
}

static bool came_before(const struct req *r, uint32_t at)
{
    for (uint32_t i = 0; i < at; i++)
        if (str_eq(r->header[i].name, r->header[at].name))
            return true;
    return false;
}

void account_put_headers(struct buf *b, const struct req *r)
{
    uint64_t places = 0;
    uint32_t i = 0;

    buf_char(b, '{');
    for (; i < r->header_count && b->n < JSON_MOST; i++) {
        const ath_pair *h = &r->header[i];
        uint64_t place = (uint64_t)1 << place_of(h->name);
        ath_str value;
        if (unlikely(places & place) && came_before(r, i))
            continue;
        places |= place;
        if (i)
            buf_char(b, ',');
        value = is_secret(h->name) ? mask : h->value;
        if (unlikely(!put_plain_header(b, h->name, value)))
            put_header(b, h->name, value);
    }
    if (i < r->header_count)
        buf_json_int(b, "[CUT]", r->header_count - i);
    buf_char(b, '}');
}

static bool parameter_is_secret(ath_str key, ath_str value)
{
    bool uri = has(value, "://") || has(value, "%3A%2F%2F") || has(value, "%3a%2f%2f");

    return is_secret(key) ||
           (uri && (has(value, "@") || has(value, "%40"))); /* with a password in it */
}

/* Each secret as key=[REDACTED]. */
void account_put_query(struct buf *b, ath_str query)
{
    ath_str rest = query, pair;

    while (b->n < TEXT_MOST && str_next(&rest, '&', &pair)) {
        size_t eq = str_find(pair, '=');
        if (b->n)
            buf_char(b, '&');
        if (eq < pair.n && parameter_is_secret(str_from(pair.p, eq), str_after(pair, eq + 1))) {
            buf_mem(b, pair.p, eq + 1);
            buf_str(b, mask);
        } else {
            buf_str(b, pair);
        }
    }
}

ath_str account_url(struct account *a, ath_str host)
{
    ath_str proto = str_trim(req_find(a->r, ATH_S("x-forwarded-proto")));
    char text[512], *at;

    if (host.n == 0)
        return not_found;
    if (likely(proto.n == 0) || !ip_peer_trusted(a->r))
        proto = ATH_S("http");
    at = str_put(text, str_from(proto.p, proto.n < 16 ? proto.n : 16));
    at = str_put(at, ATH_S("://"));
    at = str_put(at, str_from(host.p, host.n < 400 ? host.n : 400));
    return account_put(a, str_from(text, (size_t)(at - text)));
}

/* ---- the key ---- */

/* Routes that ask for no key have left nothing. */
struct verdict account_verdict(struct req *r)
{
    const struct auth *a = r->auth;
    struct verdict v = { .presented = { NULL, 0 },
                         .reason = ATH_S("api_key_not_enforced"),
                         .enforced = how.enforced };

    if (likely(r->who.flags & ATH_WHO_ADMIN)) {
        v.reason = ATH_S("static_admin_key");
        v.authenticated = v.authorized = v.hidden = true;
    } else if (a) {
        if (a->reason)
            v.reason = str_of(a->reason);
        v.presented = a->public_id;
        v.authenticated = a->authenticated;
        v.authorized = a->authorized;
        v.enforced = a->enforced;
        v.hidden = a->presented;
    }
    return v;
}
