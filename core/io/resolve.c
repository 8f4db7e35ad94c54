/* Names: one entry per name asked for, kept a while after its answer. Waiting ones hang on their
 * entry and are told from the loop's deferred work, also when the answer was there already. */
#include "io/resolve.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/io_priv.h"
#include "lib/text.h"

enum { KEEP_MS = 5000, KEEP_FAILED_MS = 1000, MOST_ENTRIES = 256, LONGEST_NAME = 255 };

struct entry {
    uv_getaddrinfo_t req;
    struct resolver *in;
    char name[LONGEST_NAME + 1];
    bool running;
    uint64_t until_ms;
    struct list waiting; /* struct resolve */
    struct addresses a;
    int rc;
    ath_err err;
};

struct resolver {
    ath_loop *loop;
    struct map entries;
    struct list told; /* struct answer */
    struct deferred tell;
};

/* ---- addresses ---- */

bool address_parse(ath_str text, union address *ret)
{
    char z[ADDRESS_TEXT];

    if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
        text = str_from(text.p + 1, text.n - 2);
    if (text.n == 0 || text.n >= sizeof(z))
        return false;
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, z, &ret->v4.sin_addr) == 1) {
        ret->any.sa_family = AF_INET;
        return true;
    }
    if (inet_pton(AF_INET6, z, &ret->v6.sin6_addr) == 1) {
        ret->any.sa_family = AF_INET6;
        return true;
    }
    return false;
}

void address_text(const union address *a, char ret[ADDRESS_TEXT])
{
    ret[0] = 0;
    if (a->any.sa_family == AF_INET)
        inet_ntop(AF_INET, &a->v4.sin_addr, ret, ADDRESS_TEXT);
    else
        inet_ntop(AF_INET6, &a->v6.sin6_addr, ret, ADDRESS_TEXT);
}

static enum address_class class_of_v4(uint32_t ip)
{
    static const struct {
        uint32_t net;
        int bits;
        enum address_class is;
    } table[] = {
        { 0x00000000, 8, ADDRESS_LOOPBACK },    /* 0/8: this host */
        { 0x7f000000, 8, ADDRESS_LOOPBACK },    /* 127/8 */
        { 0x0a000000, 8, ADDRESS_PRIVATE },     /* 10/8 */
        { 0xac100000, 12, ADDRESS_PRIVATE },    /* 172.16/12 */
        { 0xc0a80000, 16, ADDRESS_PRIVATE },    /* 192.168/16 */
        { 0x64400000, 10, ADDRESS_PRIVATE },    /* 100.64/10: carriers' NAT */
        { 0xa9fe0000, 16, ADDRESS_LINK_LOCAL }, /* 169.254/16 */
        { 0xc0000000, 24, ADDRESS_SPECIAL },    /* 192.0.0/24 */
        { 0xc0000200, 24, ADDRESS_SPECIAL },    /* 192.0.2/24: documentation */
        { 0xc6120000, 15, ADDRESS_SPECIAL },    /* 198.18/15: benchmarks */
        { 0xc6336400, 24, ADDRESS_SPECIAL },    /* 198.51.100/24 */
        { 0xcb007100, 24, ADDRESS_SPECIAL },    /* 203.0.113/24 */
        { 0xe0000000, 3, ADDRESS_SPECIAL },     /* 224/4 multicast, 240/4 reserved */
    };

    for (size_t i = 0; i < ATH_COUNT(table); i++)
        if (((ip ^ table[i].net) >> (32 - table[i].bits)) == 0)
            return table[i].is;
    return ADDRESS_PUBLIC;
}

static uint32_t big32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static enum address_class class_of_v6(const uint8_t *p)
{
    static const uint8_t zero[16], mapped[12] = { [10] = 0xff, [11] = 0xff },
                                   nat64[12] = { 0x00, 0x64, 0xff, 0x9b };

    if (memcmp(p, zero, 15) == 0 && p[15] <= 1)
        return ADDRESS_LOOPBACK; /* :: and ::1 */
    if (memcmp(p, mapped, 12) == 0 || memcmp(p, nat64, 12) == 0 || memcmp(p, zero, 12) == 0)
        return class_of_v4(big32(p + 12));
    if (p[0] == 0x20 && p[1] == 0x02)
        return class_of_v4(big32(p + 2)); /* 6to4 */
    if ((p[0] & 0xfe) == 0xfc)
        return ADDRESS_PRIVATE;
    if (p[0] == 0xfe && (p[1] & 0xc0) == 0x80)
        return ADDRESS_LINK_LOCAL;
    if ((p[0] & 0xe0) != 0x20 || big32(p) == 0x20010db8)
        return ADDRESS_SPECIAL; /* global unicast is 2000::/3, without its documentation */
    return ADDRESS_PUBLIC;
}

enum address_class address_class(const union address *a)
{
    if (a->any.sa_family == AF_INET)
        return class_of_v4(ntohl(a->v4.sin_addr.s_addr));
    return class_of_v6(a->v6.sin6_addr.s6_addr);
}

/* ---- look-ups ---- */

/* An answer on its way: to all that waited for one entry. */
struct answer {
    struct list node;
    struct list waiting;
    struct addresses a;
    int rc;
    ath_err err;
};

static void tell_all(void *arg)
{
    struct resolver *in = arg;
    struct list *node, *who;

    while ((node = list_pop(&in->told))) {
        struct answer *ans = list_entry(node, struct answer, node);

        while ((who = list_pop(&ans->waiting))) {
            struct resolve *r = list_entry(who, struct resolve, node);
            r->done(r, ans->rc, ans->rc < 0 ? NULL : &ans->a, ans->rc < 0 ? &ans->err : NULL);
        }
        free(ans);
    }
}

static struct answer *answer_new(struct resolver *in)
{
    struct answer *ans = MEM_NEW(struct answer);

    list_init(&ans->waiting);
    err_reset(&ans->err);
    list_push(&in->told, &ans->node);
    loop_defer(in->loop, &in->tell);
    return ans;
}

static void answer_entry(struct entry *en)
{
    struct answer *ans = answer_new(en->in);

    ans->a = en->a;
    ans->rc = en->rc;
    if (en->rc < 0)
        err_copy(&ans->err, &en->err);
    list_take(&ans->waiting, &en->waiting);
}

static void entry_free(struct entry *en)
{
    map_remove(&en->in->entries, str_of(en->name));
    free(en);
}

static void take_addresses(struct entry *en, const struct addrinfo *list)
{
    en->a.n = 0;
    for (; list && en->a.n < RESOLVE_MOST; list = list->ai_next)
        if (list->ai_addrlen <= sizeof(union address))
            memcpy(&en->a.at[en->a.n++], list->ai_addr, list->ai_addrlen);
}

static void on_answer(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct entry *en = req->data;

    en->running = false;
    en->rc = 0;
    take_addresses(en, list);
    uv_freeaddrinfo(list);
    if (status < 0 || en->a.n == 0)
        en->rc = err_fail(&en->err, ATH_E_UPSTREAM, "could not resolve host \"%s\": %s", en->name,
                          uv_strerror(status < 0 ? status : UV_EAI_NODATA));
    en->until_ms = loop_now_ms(en->in->loop) + (en->rc < 0 ? KEEP_FAILED_MS : KEEP_MS);
    answer_entry(en);
}

/* What is kept no longer, and when that is not enough, whatever nobody waits for. */
static void make_room(struct resolver *in)
{
    uint64_t now = loop_now_ms(in->loop);

    for (int round = 0; round < 2 && in->entries.n >= MOST_ENTRIES; round++) {
        struct entry *old[MOST_ENTRIES], *en;
        size_t at = 0, n = 0;

        while (n < MOST_ENTRIES && (en = map_next(&in->entries, &at)))
            if (!en->running && (round == 1 || en->until_ms <= now))
                old[n++] = en;
        while (n > 0)
            entry_free(old[--n]);
    }
}

static struct resolver *resolver_of(ath_loop *l)
{
    if (!l->resolver) {
        l->resolver = MEM_NEW(struct resolver);
        l->resolver->loop = l;
        list_init(&l->resolver->told);
        deferred_init(&l->resolver->tell, tell_all, l->resolver);
    }
    return l->resolver;
}

void resolver_free(ath_loop *l)
{
    struct resolver *in = l->resolver;
    struct list *node;
    struct entry *en;
    size_t at = 0;

    if (!in)
        return;
    while ((node = list_pop(&in->told)))
        free(list_entry(node, struct answer, node));
    while ((en = map_next(&in->entries, &at)))
        free(en);
    map_free(&in->entries);
    free(in);
    l->resolver = NULL;
}

static void entry_start(struct entry *en)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    int rc = uv_getaddrinfo(&en->in->loop->uv, &en->req, on_answer, en->name, NULL, &hints);

    en->req.data = en;
    en->running = rc == 0;
    if (rc < 0) {
        en->rc = err_fail(&en->err, ATH_E_UPSTREAM, "could not resolve host \"%s\": %s", en->name,
                          uv_strerror(rc));
        en->until_ms = 0;
        answer_entry(en);
    }
}

static struct entry *entry_of(struct resolver *in, ath_str host)
{
    struct entry *en = map_get(&in->entries, host);

    if (en)
        return en;
    make_room(in);
    en = MEM_NEW(struct entry);
    en->in = in;
    memcpy(en->name, host.p, host.n);
    list_init(&en->waiting);
    err_reset(&en->err);
    map_put(&in->entries, str_of(en->name), en);
    return en;
}

void resolve_start(ath_loop *l, struct resolve *r, ath_str host)
{
    struct resolver *in = resolver_of(l);
    union address literal;
    struct answer *ans;
    struct entry *en;

    list_init(&r->node);
    if (address_parse(host, &literal)) {
        ans = answer_new(in);
        ans->a.at[ans->a.n++] = literal;
        list_push(&ans->waiting, &r->node);
        return;
    }
    if (host.n == 0 || host.n > LONGEST_NAME || memchr(host.p, 0, host.n)) {
        ans = answer_new(in);
        ans->rc = err_fail(&ans->err, ATH_E_INPUT, "\"%.*s\" is no host name",
                           (int)(host.n < 64 ? host.n : 64), host.n ? host.p : "");
        list_push(&ans->waiting, &r->node);
        return;
    }
    en = entry_of(in, host);
    list_push(&en->waiting, &r->node);
    if (en->running)
        return;
    if (en->until_ms > loop_now_ms(l))
        answer_entry(en);
    else
        entry_start(en);
}

void resolve_cancel(struct resolve *r)
{
    list_unlink(&r->node);
}
