/* Reading a caller's URI: libpq takes it apart, a list says which parts may be there. */
#include "db/directuri.h"

#include <libpq-fe.h>
#include <string.h>

#include "base/compiler.h"
#include "base/err.h"
#include "io/resolve.h"

static bool begins(ath_str s, ath_str prefix)
{
    return s.n >= prefix.n && str_ieq(str_from(s.p, prefix.n), prefix);
}

bool direct_normalise(ath_str uri, struct buf *ret)
{
    static const char *const schemes[] = { "postgres://", "postgresql://", "jdbc:postgresql://" };
    ath_str rest = { NULL, 0 }, query, part;
    size_t to;
    char before = '?';

    uri = str_trim(uri);
    for (size_t i = 0; i < ATH_COUNT(schemes) && !rest.p; i++)
        if (begins(uri, str_of(schemes[i])))
            rest = str_after(uri, strlen(schemes[i]));
    if (!rest.p || memchr(rest.p, 0, rest.n))
        return false;
    to = str_find(rest, '?');
    buf_lit(ret, "postgres://");
    buf_mem(ret, rest.p, to);
    query = to < rest.n ? str_after(rest, to + 1) : str_from("", 0);
    while (str_next(&query, '&', &part)) {
        if (part.n == 0 || str_starts(part, "channel_binding="))
            continue;
        buf_char(ret, before);
        buf_str(ret, part);
        before = '&';
    }
    return true;
}

/* ---- what may be in it ---- */

static int refuse(ath_err *e, const char *what)
{
    return err_raise(e, "invalid_target", "%s", what);
}

static int check_param(const char *key, ath_err *e)
{
    static const char *const known[] = { "user",
                                         "password",
                                         "dbname",
                                         "host",
                                         "port",
                                         "sslmode",
                                         "options",
                                         "connect_timeout",
                                         "application_name",
                                         "client_encoding",
                                         "target_session_attrs" };

    for (size_t i = 0; i < ATH_COUNT(known); i++)
        if (strcmp(key, known[i]) == 0)
            return 0;
    return err_raise(e, "invalid_direct_uri", "parameter \"%s\" is not accepted in a direct URI",
                     key);
}

/* ---- where it leads ---- */

static bool is_under(ath_str host, ath_str entry)
{
    if (str_starts(entry, "*."))
        entry = str_after(entry, 2);
    if (entry.n == 0 || host.n < entry.n)
        return false;
    if (!str_ieq(str_after(host, host.n - entry.n), entry))
        return false;
    return host.n == entry.n || host.p[host.n - entry.n - 1] == '.';
}

static bool is_allowed(ath_str host, const char *list)
{
    ath_str rest = str_of(list ? list : ""), entry;
    bool any = true;

    while (str_next(&rest, ',', &entry)) {
        entry = str_trim(entry);
        if (entry.n == 0)
            continue;
        any = false;
        if (is_under(host, entry))
            return true;
    }
    return any;
}

static bool is_local_name(ath_str host)
{
    return is_under(host, ATH_S("localhost"));
}

static int check_host(const struct db_host *h, const struct direct_rules *rules, ath_err *e)
{
    ath_str name = str_of(h->name);
    union address a;

    if (name.n && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0)
        return refuse(e, "Direct PostgreSQL URI must include a host");
    if (*h->name == '/' || *h->name == '@')
        return refuse(e, "Direct PostgreSQL unix socket hosts are not allowed");
    if (!rules->allow_private &&
        (is_local_name(name) || (address_parse(name, &a) && address_class(&a) != ADDRESS_PUBLIC)))
        return refuse(e, "Direct PostgreSQL private or local hosts are blocked by policy");
    if (!is_allowed(name, rules->hosts))
        return refuse(e, "Direct PostgreSQL host is not one of the allowed ones");
    return 0;
}

/* ---- together ---- */

static void options_free(PQconninfoOption **o)
{
    PQconninfoFree(*o);
}

static int check_params(const char *uri, ath_err *e)
{
    ATH_CLEANUP(options_free) PQconninfoOption *o = PQconninfoParse(uri, NULL);

    if (!o)
        return err_raise(e, "invalid_direct_uri", "the URI cannot be parsed");
    for (const PQconninfoOption *i = o; i->keyword; i++)
        if (i->val && check_param(i->keyword, e) < 0)
            return e->rc;
    return 0;
}

static bool has(const struct db_target *t, const char *key)
{
    for (size_t i = 0; i < t->params; i++)
        if (strcmp(t->key[i], key) == 0)
            return *t->value[i];
    return false;
}

/* libpq would look for what the URI does not say: in the environment, in a home folder, in a ticket
 * cache. An empty value counts as unsaid, so each is given one that leads nowhere. */
static void close_doors(struct db_target *t)
{
    if (!has(t, "password"))
        target_param(t, "password", "none");
    target_param(t, "passfile", "/dev/null/none");
    target_param(t, "sslcert", "/dev/null/none");
    if (PQlibVersion() >= 160000) {
        target_param(t, "sslcertmode", "disable");
        target_param(t, "require_auth", "none,password,md5,scram-sha-256");
    }
}

int direct_parse(const char *uri, const struct direct_rules *rules, uint64_t statement_timeout_ms,
                 struct db_target **ret, ath_err *e)
{
    struct db_target *t;
    int rc = check_params(uri, e);

    if (rc < 0)
        return rc;
    if (target_parse(uri, statement_timeout_ms, &t, e) < 0)
        return err_raise(e, "invalid_direct_uri", "the URI cannot be parsed");
    if (t->hosts == 0)
        rc = refuse(e, "Direct PostgreSQL URI must include a host");
    for (size_t i = 0; i < t->hosts && rc == 0; i++)
        rc = check_host(&t->host[i], rules, e);
    if (rc == 0 && !has(t, "user"))
        rc = err_raise(e, "invalid_direct_uri", "a direct URI names its user");
    if (rc < 0) {
        target_unref(t);
        return rc;
    }
    t->guarded = !rules->allow_private;
    close_doors(t);
    *ret = t;
    return 0;
}
