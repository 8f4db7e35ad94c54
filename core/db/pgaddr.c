/* One host after the other through uv_getaddrinfo(); each address becomes an entry of its own, so
 * that libpq tries them in turn. The request outlives a cancel: it frees itself.
 */
#include "db/pgaddr.h"

#include <stdlib.h>

#include "base/mem.h"

enum { ADDRESSES = 64 }; /* of all hosts together */

struct entry {
    char *host, *addr, *port;
};

struct lookup {
    struct pgaddr out; /* first: what callers hold */
    uv_getaddrinfo_t req;
    ath_loop *loop;
    struct db_target *target;
    size_t next; /* the host to look up */
    struct entry entry[ADDRESSES];
    size_t entries;
    uint32_t rotate;
    pgaddr_fn *fn; /* NULL: cancelled */
    void *arg;
    char why[256];
};

static void lookup_free(struct lookup *k)
{
    for (size_t i = 0; i < k->entries; i++) {
        free(k->entry[i].host);
        free(k->entry[i].addr);
        free(k->entry[i].port);
    }
    buf_free(&k->out.host);
    buf_free(&k->out.addr);
    buf_free(&k->out.port);
    target_unref(k->target);
    free(k);
}

static void entry_add(struct lookup *k, const struct db_host *h, const char *addr)
{
    if (k->entries == ADDRESSES)
        return;
    k->entry[k->entries++] =
        (struct entry){ mem_dup_z(h->name), mem_dup_z(addr ? addr : ""), mem_dup_z(h->port) };
}

static void finish(struct lookup *k)
{
    for (size_t i = 0; i < k->entries; i++) {
        const struct entry *en = &k->entry[(i + k->rotate) % k->entries];
        if (i) {
            buf_char(&k->out.host, ',');
            buf_char(&k->out.addr, ',');
            buf_char(&k->out.port, ',');
        }
        buf_z(&k->out.host, en->host);
        buf_z(&k->out.addr, en->addr);
        buf_z(&k->out.port, en->port);
    }
    if (k->fn)
        k->fn(k->arg, &k->out, k->entries == 0 && k->target->hosts ? k->why : NULL);
    lookup_free(k);
}

static void step(struct lookup *k);

static void on_answer(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct lookup *k = container_of(req, struct lookup, req);
    const struct db_host *h = &k->target->host[k->next++];

    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        char text[64] = "";
        if (a->ai_family == AF_INET)
            uv_ip4_name((const struct sockaddr_in *)(const void *)a->ai_addr, text, sizeof(text));
        else if (a->ai_family == AF_INET6)
            uv_ip6_name((const struct sockaddr_in6 *)(const void *)a->ai_addr, text, sizeof(text));
        if (*text)
            entry_add(k, h, text);
    }
    if (list)
        uv_freeaddrinfo(list);
    if (status < 0)
        (void)snprintf(k->why, sizeof(k->why), "could not resolve host \"%s\": %s", h->name,
                       uv_strerror(status));
    step(k);
}

static void step(struct lookup *k)
{
    static const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };

    while (k->fn && k->next < k->target->hosts) {
        const struct db_host *h = &k->target->host[k->next];
        if (h->lookup &&
            uv_getaddrinfo(&k->loop->uv, &k->req, on_answer, h->name, NULL, &hints) == 0)
            return;
        if (!h->lookup)
            entry_add(k, h, h->addr);
        k->next++;
    }
    finish(k);
}

void pgaddr_start(ath_loop *l, struct db_target *t, uint32_t rotate, pgaddr_fn *fn, void *arg,
                  struct pgaddr **at)
{
    struct lookup *k = MEM_NEW(struct lookup);

    k->loop = l;
    k->target = target_ref(t);
    k->rotate = rotate;
    k->fn = fn;
    k->arg = arg;
    *at = &k->out;
    step(k);
}

void pgaddr_cancel(struct pgaddr *a)
{
    struct lookup *k = container_of(a, struct lookup, out);

    k->fn = NULL;
    uv_cancel((uv_req_t *)&k->req);
}
