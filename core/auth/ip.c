/* Addresses of callers.
 *
 * Most requests come without any forwarding header, or from somebody whose word does not count:
 * they cost a look at the sizes of the names that came. Sets keep all networks in one table, found
 * by prefix and length; the lengths that occur are bits of two masks, one for each family.
 */
#include "auth/ip.h"

#include "base/err.h"
#include "base/mem.h"

enum {
    TRUSTED_MOST = 64,
    HOPS_MOST = 64, /* of X-Forwarded-For that are looked at */
    V4_BITS = 96    /* where IPv4 begins in a mapped address */
};

static struct {
    struct ip_set *trusted;
    bool in_logs, in_rules;
} how;

/* ---- sets ---- */

struct prefix {
    uint64_t high, low;
    uint32_t bits_1; /* its length + 1; 0: a free place */
};

struct ip_set {
    uint64_t v4;    /* bit n: there is a network of n bits of IPv4 */
    uint64_t v6[3]; /* bit n: one of n bits of IPv6 */
    size_t mask;
    struct prefix slot[];
};

static uint64_t word_at(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

/* The first n bits, n <= 64. */
static uint64_t first_bits(uint64_t v, uint32_t n)
{
    return n == 0 ? 0 : v & (UINT64_MAX << (64 - n));
}

static struct prefix prefix_of(uint64_t high, uint64_t low, uint32_t bits)
{
    return (struct prefix){ first_bits(high, bits < 64 ? bits : 64),
                            first_bits(low, bits < 64 ? 0 : bits - 64), bits + 1 };
}

static size_t prefix_hash(const struct prefix *p)
{
    uint64_t h = (p->high ^ p->bits_1) * 0x9e3779b97f4a7c15u;

    h = (h ^ (h >> 32) ^ p->low) * 0xd6e8feb86659fd93u;
    return (size_t)(h ^ (h >> 32));
}

/* Its place, or the free one where it belongs. */
static size_t slot_of(const struct ip_set *s, const struct prefix *p)
{
    size_t i = prefix_hash(p) & s->mask;

    while (s->slot[i].bits_1 && (s->slot[i].high != p->high || s->slot[i].low != p->low ||
                                 s->slot[i].bits_1 != p->bits_1))
        i = (i + 1) & s->mask;
    return i;
}

struct ip_set *ip_set_new(const struct network *net, size_t n)
{
    struct ip_set *s;
    size_t room = 2;

    if (n == 0)
        return NULL;
    while (room < 2 * n)
        room *= 2;
    s = mem_new(sizeof(*s) + room * sizeof(s->slot[0]));
    s->mask = room - 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = net[i].bits;
        struct prefix p = prefix_of(word_at(net[i].address), word_at(net[i].address + 8), bits);
        s->slot[slot_of(s, &p)] = p;
        if (bits >= V4_BITS && address_is_v4(net[i].address))
            s->v4 |= (uint64_t)1 << (bits - V4_BITS);
        else
            s->v6[bits / 64] |= (uint64_t)1 << (bits % 64);
    }
    return s;
}

void ip_set_free(struct ip_set *s)
{
    free(s);
}

/* Is there one among the lengths of `lengths`, counted from `base`? */
static bool has_length(const struct ip_set *s, uint64_t lengths, uint32_t base, uint64_t high,
                       uint64_t low)
{
    while (lengths) {
        struct prefix p = prefix_of(high, low, base + (uint32_t)__builtin_ctzll(lengths));
        if (s->slot[slot_of(s, &p)].bits_1)
            return true;
        lengths &= lengths - 1;
    }
    return false;
}

bool ip_set_has(const struct ip_set *s, const uint8_t address[16])
{
    uint64_t high, low;

    if (!s)
        return false;
    high = word_at(address);
    low = word_at(address + 8);
    if (address_is_v4(address))
        return has_length(s, s->v4, V4_BITS, high, low);
    return has_length(s, s->v6[0], 0, high, low) || has_length(s, s->v6[1], 64, high, low) ||
           has_length(s, s->v6[2], 128, high, low);
}

/* ---- who asks ---- */

int ip_configure(const struct ip_rules *rules, ath_err *e)
{
    struct network net[TRUSTED_MOST];
    ath_str bad;
    int n = networks_read(rules->trusted_proxies, net, TRUSTED_MOST, &bad);

    if (n < 0 && bad.n)
        return err_fail(e, ATH_E_CONFIG, "\"%.*s\" in gateway.trusted_proxies is no network",
                        STR_ARG(bad));
    if (n < 0)
        return err_fail(e, ATH_E_CONFIG, "gateway.trusted_proxies has more than %d networks",
                        TRUSTED_MOST);
    ip_set_free(how.trusted);
    how.trusted = ip_set_new(net, (size_t)n);
    how.in_logs = rules->forwarded_in_logs;
    how.in_rules = rules->forwarded_in_rules;
    return 0;
}

bool ip_peer_trusted(const struct req *r)
{
    return !r->peer_address || ip_set_has(how.trusted, r->peer_address);
}

/* "10.1.2.3", "[2001:db8::1]", and either with a port behind it, as some proxies write them. */
static bool hop_read(ath_str hop, uint8_t ret[16])
{
    size_t end;

    hop = str_trim(hop);
    if (hop.n && hop.p[0] == '[') {
        hop = str_after(hop, 1);
        end = str_find(hop, ']');
        return end < hop.n && address_read(str_from(hop.p, end), ret);
    }
    end = str_find(hop, ':');
    if (end < hop.n && str_find(str_after(hop, end + 1), ':') == hop.n - end - 1)
        hop.n = end;
    return address_read(hop, ret);
}

/* The list's last hop, which is cut off. */
static ath_str hop_last(ath_str *list)
{
    size_t i = list->n;
    ath_str hop;

    while (i > 0 && list->p[i - 1] != ',')
        i--;
    hop = str_after(*list, i);
    list->n = i ? i - 1 : 0;
    return hop;
}

/* One header's hops, from the right. False: the walk is over, `ret` is the caller. */
static bool walk(ath_str list, uint32_t *hops, uint8_t ret[16], bool *ret_found)
{
    uint8_t at[16];

    while (list.n) {
        if (++*hops > HOPS_MOST || !hop_read(hop_last(&list), at))
            return false;
        memcpy(ret, at, sizeof(at));
        *ret_found = true;
        if (!ip_set_has(how.trusted, at))
            return false;
    }
    return true;
}

static bool forwarded_for(const struct req *r, uint8_t ret[16])
{
    const ath_str name = ATH_S("x-forwarded-for");
    uint32_t hops = 0;
    bool found = false;

    for (uint32_t i = r->header_count; i-- > 0;)
        if (str_eq(r->header[i].name, name) && !walk(r->header[i].value, &hops, ret, &found))
            break;
    return found;
}

static bool real_ip(const struct req *r, uint8_t ret[16])
{
    const ath_str name = ATH_S("x-real-ip");

    for (uint32_t i = r->header_count; i-- > 0;)
        if (str_eq(r->header[i].name, name))
            return hop_read(r->header[i].value, ret);
    return false;
}

/* Seldom wrong, and then about what is not told. */
static inline bool may_be_told(const struct req *r)
{
    return r->header_bits & (name_bit(ATH_S("x-real-ip")) | name_bit(ATH_S("x-forwarded-for")));
}

/* Does anybody say anything? */
static bool is_told(const struct req *r)
{
    const ath_str real = ATH_S("x-real-ip"), hops = ATH_S("x-forwarded-for");

    for (uint32_t i = 0; i < r->header_count; i++)
        if (str_same(r->header[i].name, real) || str_same(r->header[i].name, hops))
            return true;
    return false;
}

/* What a trusted proxy says of the caller. */
static bool told(const struct req *r, bool forwarded, uint8_t ret[16])
{
    return unlikely(may_be_told(r)) && is_told(r) && ip_peer_trusted(r) &&
           (real_ip(r, ret) || (forwarded && forwarded_for(r, ret)));
}

static struct req *asked_first(struct req *r)
{
    while (r->call && r->task.parent && req_is(r->task.parent))
        r = req_of(r->task.parent);
    return r;
}

static ath_str in_text(struct req *r, const uint8_t address[16])
{
    char text[ADDRESS_ROOM];
    size_t n = address_write(address, text);

    return arena_str(&r->task.arena, str_from(text, n));
}

static void is_peers(struct req *r)
{
    r->address_bytes = r->peer_address;
    r->address = r->peer.p ? r->peer : ATH_S("");
}

static __attribute__((noinline)) void address_find(struct req *r)
{
    struct req *top = asked_first(r);
    uint8_t said[16];

    if (unlikely(top != r)) {
        r->address = arena_str(&r->task.arena, ip_of(top));
        r->address_bytes = top->address_bytes; /* whose memory a task below it keeps */
        return;
    }
    if (unlikely(told(r, how.in_rules, said))) {
        uint8_t *bytes = arena_raw(&r->task.arena, sizeof(said));
        memcpy(bytes, said, sizeof(said));
        r->address_bytes = bytes;
        r->address = in_text(r, said);
        return;
    }
    is_peers(r);
}

ath_str ip_of(struct req *r)
{
    if (r->address.p)
        return r->address;
    if (likely(!r->call && !may_be_told(r)))
        is_peers(r);
    else
        address_find(r);
    return r->address;
}

bool ip_bytes_of(struct req *r, uint8_t ret[16])
{
    ip_of(r);
    if (!r->address_bytes)
        return false;
    memcpy(ret, r->address_bytes, 16);
    return true;
}

ath_str ip_of_for_logs(struct req *r)
{
    struct req *top = asked_first(r);
    uint8_t said[16];

    return unlikely(told(top, how.in_logs, said)) ? in_text(r, said) : r->peer;
}

/* ---- the policy of a key ---- */

static bool in_either(const struct ip_set *const set[2], const uint8_t address[16])
{
    return ip_set_has(set[0], address) || ip_set_has(set[1], address);
}

static const struct {
    const char *reason, *why;
} refusals[] = {
    { "ip_global_blacklisted", "on the global blacklist" },
    { "ip_blacklisted", "on this API key's blacklist" },
    { "ip_not_in_global_whitelist", "not on the global whitelist for this deployment" },
    { "ip_not_whitelisted", "not on this API key's whitelist" },
};

int ip_refuse(enum ip_refusal which, ath_str ip, const char **ret_reason, ath_err *e)
{
    *ret_reason = refusals[which].reason;
    return err_raise(e, *ret_reason, "Client IP '%.*s' is %s.", STR_ARG(ip), refusals[which].why);
}

int ip_unavailable(const char *scope, const char **ret_reason, ath_err *e)
{
    *ret_reason = "ip_policy_unavailable";
    return err_raise(e, *ret_reason, "API key IP policy could not be evaluated (%s).", scope);
}

static bool is_empty(const struct ip_policy *p)
{
    return !p->white && !p->black && !p->all_white[0] && !p->all_white[1] && !p->all_black[0] &&
           !p->all_black[1] && !p->learning && !p->wanting;
}

/* The contract's order (auth.md 7.1). */
int ip_judge(const struct ip_policy *p, ath_str ip, const uint8_t *at, const char **ret_reason,
             ath_err *e)
{
    *ret_reason = NULL;
    if (is_empty(p))
        return 0;
    if (!at) {
        *ret_reason = "ip_required_for_key";
        return err_raise(e, *ret_reason,
                         "API key IP policy requires a resolvable client IP for this request.");
    }
    if (in_either(p->all_black, at))
        return ip_refuse(IP_ALL_BLACK, ip, ret_reason, e);
    if (ip_set_has(p->black, at))
        return ip_refuse(IP_BLACK, ip, ret_reason, e);
    if (p->learning)
        return 0;
    if ((p->all_white[0] || p->all_white[1]) && !in_either(p->all_white, at))
        return ip_refuse(IP_NOT_ALL_WHITE, ip, ret_reason, e);
    if (p->wanting)
        return ip_unavailable("key", ret_reason, e);
    if (p->white && !ip_set_has(p->white, at))
        return ip_refuse(IP_NOT_WHITE, ip, ret_reason, e);
    return 0;
}

int ip_check(const struct ip_policy *p, struct req *r, const char **ret_reason, ath_err *e)
{
    *ret_reason = NULL;
    if (likely(is_empty(p)))
        return 0;
    ip_of(r);
    return ip_judge(p, r->address, r->address_bytes, ret_reason, e);
}
