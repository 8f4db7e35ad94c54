/* Names are folded to lower case, as they were if nobody quoted them (P18 is for who answers); of a
 * URI only what stands between its authority and its parameters is replaced. */
#include "provision/database.h"

#include <stdlib.h>
#include <string.h>

#include "lib/sqlname.h"

enum { NAME_MOST = 63, HOSTS_MOST = 32 };

const char *const database_option[DATABASE_OPTIONS] = {
    [DATABASE_OWNER] = "owner",           [DATABASE_TEMPLATE] = "template",
    [DATABASE_TABLESPACE] = "tablespace", [DATABASE_ENCODING] = "encoding",
    [DATABASE_COLLATE] = "lc_collate",    [DATABASE_CTYPE] = "lc_ctype",
};

/* ---- names ---- */

static ath_str folded(ath_arena *a, ath_str s)
{
    struct buf b = BUF_ARENA(a);

    for (size_t i = 0; i < s.n; i++)
        buf_char(&b, (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]));
    return buf_view(&b);
}

static bool is_name(ath_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
              (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_'))
            return false;
    return true;
}

static int check_name(ath_arena *a, const char *what, ath_str *name, ath_err *e)
{
    ath_str s = str_trim(*name);

    if (s.n == 0)
        return ath_fail(e, ATH_E_INPUT, "'%s' must not be empty", what);
    if (s.n > NAME_MOST)
        return ath_fail(e, ATH_E_INPUT, "'%s' exceeds PostgreSQL identifier length limit (%d)",
                        what, NAME_MOST);
    if (!is_name(s))
        return ath_fail(e, ATH_E_INPUT, "'%s' may contain only ASCII letters, numbers, and '_'",
                        what);
    *name = folded(a, s);
    return 0;
}

int database_check(ath_arena *a, struct database_order *o, ath_err *e)
{
    if (check_name(a, "database_name", &o->name, e) < 0)
        return ATH_E_INPUT;
    for (size_t i = 0; i < DATABASE_OPTIONS; i++)
        if (o->option[i].p && str_trim(o->option[i]).n == 0)
            return ath_fail(e, ATH_E_INPUT, "advanced option values must not be empty strings");
    for (size_t i = 0; i < DATABASE_ENCODING; i++)
        if (o->option[i].p && check_name(a, database_option[i], &o->option[i], e) < 0)
            return ATH_E_INPUT;
    return 0;
}

ath_str database_create_sql(ath_arena *a, const struct database_order *o)
{
    static const char *const word[DATABASE_OPTIONS] = {
        [DATABASE_OWNER] = " OWNER ",           [DATABASE_TEMPLATE] = " TEMPLATE ",
        [DATABASE_TABLESPACE] = " TABLESPACE ", [DATABASE_ENCODING] = " ENCODING ",
        [DATABASE_COLLATE] = " LC_COLLATE ",    [DATABASE_CTYPE] = " LC_CTYPE ",
    };
    struct buf b = BUF_ARENA(a);

    buf_lit(&b, "CREATE DATABASE ");
    buf_ident(&b, o->name);
    for (size_t i = 0; i < DATABASE_OPTIONS; i++) {
        if (!o->option[i].p)
            continue;
        buf_z(&b, word[i]);
        if (i < DATABASE_ENCODING)
            buf_ident(&b, o->option[i]);
        else
            buf_literal(&b, o->option[i]);
    }
    return buf_view(&b);
}

/* ---- URIs ---- */

struct parts { /* of scheme://[user[:password]@]hosts[/database][?parameters] */
    ath_str scheme, user, hosts, database, parameters;
    bool path; /* it has one */
};

static bool parts_of(ath_str uri, struct parts *ret)
{
    size_t colon = str_find(uri, ':'), end, slash, at = 0;
    ath_str rest, authority;

    *ret = (struct parts){ .scheme = str_from(uri.p, colon) };
    if (!str_is(ret->scheme, "postgres") && !str_is(ret->scheme, "postgresql") &&
        !str_is(ret->scheme, "athena"))
        return false;
    rest = str_after(uri, colon);
    if (!str_starts(rest, "://"))
        return false;
    rest = str_after(rest, 3);
    end = str_find(rest, '?');
    ret->parameters = end < rest.n ? str_after(rest, end + 1) : (ath_str){ "", 0 };
    rest.n = end;
    for (size_t i = 0; i < rest.n; i++) /* libpq: the last @ before the first slash behind it */
        if (rest.p[i] == '@')
            at = i + 1;
    slash = at + str_find(str_after(rest, at), '/');
    ret->path = slash < rest.n;
    ret->database = ret->path ? str_after(rest, slash + 1) : (ath_str){ "", 0 };
    authority = str_from(rest.p, slash);
    ret->user = str_from(authority.p, at ? at - 1 : 0);
    ret->user.n = str_find(ret->user, ':');
    ret->hosts = str_after(authority, at);
    return true;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static ath_str decoded(ath_arena *a, ath_str s)
{
    struct buf b = BUF_ARENA(a);

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            buf_char(&b, (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])));
            i += 2;
        } else {
            buf_char(&b, s.p[i]);
        }
    }
    return buf_view(&b);
}

/* name=value, decoded */
static bool next_parameter(ath_arena *a, ath_str *rest, ath_str *raw, ath_str *name, ath_str *value)
{
    size_t equals;

    if (!str_next(rest, '&', raw))
        return false;
    equals = str_find(*raw, '=');
    *name = decoded(a, str_from(raw->p, equals));
    *value = equals < raw->n ? decoded(a, str_after(*raw, equals + 1)) : (ath_str){ "", 0 };
    return true;
}

int database_uri(ath_arena *a, ath_str uri, ath_str name, ath_str *ret, ath_err *e)
{
    struct buf b = BUF_ARENA(a);
    ath_str rest, raw, key, value;
    struct parts p;
    char sign = '?';

    uri = str_trim(uri);
    if (!parts_of(uri, &p) || !p.path)
        return ath_fail(e, ATH_E_INPUT, "the connection URI of the client names no database");
    buf_str(&b, str_from(uri.p, (size_t)(p.database.p - uri.p)));
    buf_str(&b, name); /* letters, digits and '_' alone: nothing to encode */
    rest = p.parameters;
    while (next_parameter(a, &rest, &raw, &key, &value)) {
        if (raw.n == 0 || str_is(key, "dbname"))
            continue;
        buf_char(&b, sign);
        buf_str(&b, raw);
        sign = '&';
    }
    *ret = buf_view(&b);
    return 0;
}

/* ---- where it leads ---- */

static int by_text(const void *a, const void *b)
{
    const ath_str *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int rc = n ? memcmp(x->p, y->p, n) : 0;

    return rc ? rc : (x->n > y->n) - (x->n < y->n);
}

/* host:port of one, each from its list; the last port goes on for hosts that are left. */
static ath_str endpoint(ath_arena *a, ath_str host, ath_str port)
{
    struct buf b = BUF_ARENA(a);
    size_t colon = str_find(host, host.n && host.p[0] == '[' ? ']' : ':');

    if (host.n && host.p[0] == '[' && colon < host.n)
        colon++;
    if (colon < host.n && host.p[colon] == ':') {
        port = str_after(host, colon + 1);
        host.n = colon;
    }
    buf_str(&b, folded(a, decoded(a, host)));
    buf_char(&b, ':');
    buf_str(&b, port.n ? port : ATH_S("5432"));
    return buf_view(&b);
}

static ath_str server_of(ath_arena *a, ath_str user, ath_str hosts, ath_str ports)
{
    struct buf b = BUF_ARENA(a);
    ath_str each[HOSTS_MOST], host, port = { "", 0 };
    size_t n = 0;

    while (n < HOSTS_MOST && str_next(&hosts, ',', &host)) {
        str_next(&ports, ',', &port);
        each[n++] = endpoint(a, host, port);
    }
    qsort(each, n, sizeof(each[0]), by_text);
    buf_str(&b, folded(a, user));
    for (size_t i = 0; i < n; i++) {
        if (i && str_eq(each[i], each[i - 1]))
            continue;
        buf_char(&b, i ? ',' : '@');
        buf_str(&b, each[i]);
    }
    return buf_view(&b);
}

/* Parameters win over what stands before them, as with libpq. */
bool database_place(ath_arena *a, ath_str uri, struct database_place *ret)
{
    ath_str rest, raw, key, value, user, ports = { "", 0 };
    struct parts p;

    if (!parts_of(str_trim(uri), &p))
        return false;
    user = decoded(a, p.user);
    ret->database = decoded(a, p.database);
    rest = p.parameters;
    while (next_parameter(a, &rest, &raw, &key, &value)) {
        if (str_is(key, "user"))
            user = value;
        else if (str_is(key, "host") || str_is(key, "hostaddr"))
            p.hosts = value;
        else if (str_is(key, "port"))
            ports = value;
        else if (str_is(key, "dbname"))
            ret->database = value;
    }
    ret->server = server_of(a, user, p.hosts, ports);
    return true;
}
