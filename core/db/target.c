/* A URI to libpq's keywords. PQconninfoParse() does the reading; what is added here: the session's
 * settings, so that they travel in the start-up packet and cost no trip, keepalives, and the list
 * of hosts taken apart for the resolver.
 */
#include "db/target.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <libpq-fe.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/mem.h"
#include "lib/buf.h"

/* What every session of ours runs with: values look the same whatever role or database say. */
#define SESSION_OPTIONS                                                                            \
    "-c DateStyle=ISO,MDY -c TimeZone=UTC -c IntervalStyle=postgres -c bytea_output=hex "          \
    "-c extra_float_digits=1 -c standard_conforming_strings=on"

/* Given to libpq unless the URI says otherwise. */
static const struct {
    const char *key, *value;
} defaults[] = {
    { "fallback_application_name", "athena" },
    { "gssencmode", "disable" }, /* a try would cost a trip, and may read files */
    { "keepalives_idle", "30" },
    { "keepalives_interval", "10" },
    { "keepalives_count", "3" },
    { "tcp_user_timeout", "30000" },
};

static void options_free(PQconninfoOption **o)
{
    PQconninfoFree(*o);
}

static const char *option(const PQconninfoOption *o, const char *key)
{
    for (; o->keyword; o++)
        if (strcmp(o->keyword, key) == 0)
            return o->val;
    return NULL;
}

void target_param(struct db_target *t, const char *key, const char *value)
{
    if (t->params + 1 >= TARGET_PARAMS)
        return;
    t->key[t->params] = mem_dup_z(key);
    t->value[t->params++] = mem_dup_z(value);
}

/* The i-th entry of a comma list, or of a list of one that stands for all. NULL: no such entry. */
static char *list_entry(const char *list, size_t i, bool one_for_all)
{
    ath_str rest = str_of(list), piece;
    size_t at = 0;

    if (!list)
        return NULL;
    if (one_for_all && !strchr(list, ','))
        return mem_dup_z(list);
    for (;;) {
        size_t n = str_find(rest, ',');
        piece = str_from(rest.p, n);
        if (at++ == i)
            return mem_dup_str(piece);
        if (n == rest.n)
            return NULL;
        rest = str_after(rest, n + 1);
    }
}

static size_t list_length(const char *list)
{
    size_t n = list && *list ? 1 : 0;

    for (; list && *list; list++)
        n += *list == ',';
    return n;
}

static bool is_address(const char *name)
{
    unsigned char at[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, name, at) == 1 || inet_pton(AF_INET6, name, at) == 1;
}

static int port_check(const char *port, ath_err *e)
{
    int64_t n;

    if (*port && (!str_i64(str_of(port), &n) || n < 1 || n > 65535))
        return err_fail(e, ATH_E_CONFIG, "port of the connection URI is not in 1..65535");
    return 0;
}

static int host_add(struct db_target *t, const PQconninfoOption *o, size_t i, ath_err *e)
{
    struct db_host *h = &t->host[t->hosts++];

    h->name = list_entry(option(o, "host"), i, false);
    h->addr = list_entry(option(o, "hostaddr"), i, false);
    h->port = list_entry(option(o, "port"), i, true);
    if (!h->name)
        h->name = mem_dup_z("");
    if (!h->port)
        h->port = mem_dup_z("");
    if (h->addr && !*h->addr)
        mem_freep(&h->addr);
    if (!h->addr && is_address(h->name))
        h->addr = mem_dup_z(h->name);
    h->lookup = !h->addr && *h->name && *h->name != '/' && *h->name != '@';
    return port_check(h->port, e);
}

static int hosts_read(struct db_target *t, const PQconninfoOption *o, ath_err *e)
{
    size_t names = list_length(option(o, "host")), addrs = list_length(option(o, "hostaddr"));
    size_t n = names > addrs ? names : addrs, ports = list_length(option(o, "port"));
    int rc = 0;

    if (n == 0 && ports > 0)
        n = 1;
    if (n > TARGET_HOSTS)
        return err_fail(e, ATH_E_CONFIG, "connection URI names %zu hosts, at most %d are allowed",
                        n, TARGET_HOSTS);
    if ((names && addrs && names != addrs) || (ports > 1 && ports != n))
        return err_fail(e, ATH_E_CONFIG,
                        "connection URI has %zu hosts, but %zu addresses and %zu ports", names,
                        addrs, ports);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = host_add(t, o, i, e);
    return rc;
}

static void session_options(struct db_target *t, const char *own, uint64_t statement_timeout_ms)
{
    struct buf b = BUF_HEAP;

    if (own && *own) {
        buf_z(&b, own);
        buf_char(&b, ' ');
    }
    buf_lit(&b, SESSION_OPTIONS); /* behind the URI's own options: the last one wins */
    if (statement_timeout_ms) {
        buf_lit(&b, " -c statement_timeout=");
        buf_u64(&b, statement_timeout_ms);
    }
    target_param(t, "options", b.p);
    buf_free(&b);
}

static void params_read(struct db_target *t, const PQconninfoOption *o,
                        uint64_t statement_timeout_ms)
{
    static const char *const apart[] = { "host", "hostaddr", "port", "options", "client_encoding" };
    const char *want = option(o, "target_session_attrs");

    for (const PQconninfoOption *i = o; i->keyword; i++) {
        bool keep = i->val != NULL;
        for (size_t k = 0; k < ATH_COUNT(apart); k++)
            keep = keep && strcmp(i->keyword, apart[k]) != 0;
        if (keep)
            target_param(t, i->keyword, i->val);
    }
    for (size_t k = 0; k < ATH_COUNT(defaults); k++)
        if (!option(o, defaults[k].key))
            target_param(t, defaults[k].key, defaults[k].value);
    target_param(t, "client_encoding", "UTF8");
    session_options(t, option(o, "options"), statement_timeout_ms);
    t->writable = want && (strcmp(want, "read-write") == 0 || strcmp(want, "primary") == 0);
}

/* libpq knows two of the three schemes. */
static char *uri_for_libpq(ath_str uri)
{
    struct buf b = BUF_HEAP;

    if (!str_starts(uri, "athena://"))
        return mem_dup_str(uri);
    buf_lit(&b, "postgresql://");
    buf_str(&b, str_after(uri, strlen("athena://")));
    return b.p;
}

static void wipe(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void wipe_at(char **secret)
{
    wipe(*secret);
}

int target_parse(const char *uri, uint64_t statement_timeout_ms, struct db_target **ret, ath_err *e)
{
    ATH_CLEANUP(wipe_at) char *text = NULL;
    ATH_CLEANUP(options_free) PQconninfoOption *o = NULL;
    ath_str s = str_trim(str_of(uri));
    struct db_target *t;
    char *why = NULL;

    if (s.n == 0)
        return err_fail(e, ATH_E_CONFIG, "connection string is empty");
    if (!str_starts(s, "postgres://") && !str_starts(s, "postgresql://") &&
        !str_starts(s, "athena://"))
        return err_fail(e, ATH_E_CONFIG,
                        "expected athena://, postgres://, or postgresql:// after resolving env "
                        "references (see config.yaml)");
    text = uri_for_libpq(s);
    o = PQconninfoParse(text, &why);
    if (!o) {
        wipe(why); /* it repeats the URI */
        return err_fail(e, ATH_E_CONFIG, "connection URI cannot be parsed");
    }
    t = MEM_NEW(struct db_target);
    atomic_init(&t->refs, 1);
    params_read(t, o, statement_timeout_ms);
    if (hosts_read(t, o, e) < 0) {
        target_unref(t);
        return ATH_E_CONFIG;
    }
    *ret = t;
    return 0;
}

struct db_target *target_ref(struct db_target *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void target_unref(struct db_target *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < t->params; i++) {
        free(t->key[i]);
        wipe(t->value[i]);
    }
    for (size_t i = 0; i < t->hosts; i++) {
        free(t->host[i].name);
        free(t->host[i].addr);
        free(t->host[i].port);
    }
    free(t);
}
