/* libpq reads the URI; what it has read is written for its own file formats:
 *
 *     service file     [athena] then KEY=VALUE: no line breaks, no blanks at the end, 1000 bytes a
 * line password file    *:*:*:*:PASSWORD with : and \ escaped, no line breaks
 */
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <unistd.h>

#include "lib/buf.h"

enum { LINE_MOST = 1000 };

/* ---- reading ---- */

static void options_free(PQconninfoOption **o)
{
    PQconninfoFree(*o);
}

static bool is_local(ath_str host)
{
    return host.n == 0 || host.p[0] == '/' || host.p[0] == '@' ||
           str_ieq(host, ATH_S("localhost")) || str_is(host, "127.0.0.1") || str_is(host, "::1");
}

static ath_str copy(ath_arena *a, ath_str s)
{
    struct buf b = BUF_ARENA(a);

    buf_str(&b, s);
    return buf_view(&b);
}

static ath_str as_postgres(ath_arena *a, ath_str uri)
{
    struct buf b = BUF_ARENA(a);

    uri = str_trim(uri);
    if (!str_starts(uri, "athena://"))
        return copy(a, uri);
    buf_lit(&b, "postgres://");
    buf_str(&b, str_after(uri, sizeof("athena://") - 1));
    return buf_view(&b);
}

static int add(ath_arena *a, struct target *t, const char *key, ath_str value, ath_err *e)
{
    if (t->words == TARGET_WORDS)
        return ath_fail(e, ATH_E_INPUT, "the URI has too many parameters");
    if (strcmp(key, "service") == 0 || strcmp(key, "servicefile") == 0)
        return ath_fail(e, ATH_E_INPUT,
                        "the URI names a service of libpq's, which is not known here");
    t->key[t->words] = copy(a, str_of(key));
    t->value[t->words++] = copy(a, value);
    return 0;
}

static ath_str value_of(const struct target *t, const char *key)
{
    for (uint32_t i = 0; i < t->words; i++)
        if (str_is(t->key[i], key))
            return t->value[i];
    return (ath_str){ "", 0 };
}

int target_read(ath_arena *a, ath_str uri, struct target *ret, ath_err *e)
{
    __attribute__((cleanup(options_free))) PQconninfoOption *o = NULL;
    int rc = 0;

    *ret = (struct target){ .uri = as_postgres(a, uri) };
    ret->shown = backup_services.secrets->mask(a, ret->uri);
    o = PQconninfoParse(ret->uri.p, NULL);
    if (!o)
        return ath_fail(e, ATH_E_INPUT, "the URI of the database cannot be parsed");
    for (const PQconninfoOption *i = o; i->keyword && rc == 0; i++)
        if (i->val && *i->val)
            rc = add(a, ret, i->keyword, str_of(i->val), e);
    ret->host = value_of(ret, "host");
    ret->host.n = str_find(ret->host, ',');
    ret->local = is_local(ret->host);
    ret->database = value_of(ret, "dbname");
    ret->says_sslmode = value_of(ret, "sslmode").n > 0;
    return rc;
}

int target_of(ath_arena *a, const struct backup_payload *p, ath_str sealed, struct target *ret,
              ath_err *e)
{
    ath_str uri = p->pg_uri;
    int rc = 0;

    if (sealed.n)
        rc = backup_services.secrets->open(a, sealed, &uri, e);
    else if (!uri.n)
        rc = backup_services.clients->uri(a, p->client_name, &uri, e);
    return rc < 0 ? rc : target_read(a, uri, ret, e);
}

/* ---- writing ---- */

static int put_file(const char *path, const struct buf *b, ath_err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t n;

    if (fd < 0)
        return ath_fail(e, ATH_E_RETRY, "could not write \"%s\": %s", path, strerror(errno));
    n = write(fd, b->p, b->n);
    if (close(fd) < 0 || n != (ssize_t)b->n)
        return ath_fail(e, ATH_E_RETRY, "could not write \"%s\": no space left", path);
    return 0;
}

static int check_word(ath_str key, ath_str value, ath_err *e)
{
    bool password = str_is(key, "password");

    if (str_find(value, '\n') < value.n || str_find(value, '\r') < value.n)
        return ath_fail(e, ATH_E_INPUT, "parameter \"%.*s\" of the URI holds a line break",
                        STR_ARG(key));
    if (!password && (value.n != str_trim(value).n || key.n + value.n + 1 > LINE_MOST))
        return ath_fail(e, ATH_E_INPUT,
                        "parameter \"%.*s\" of the URI begins or ends in a blank, or is too long",
                        STR_ARG(key));
    return 0;
}

static void put_password(struct buf *b, ath_str password)
{
    buf_lit(b, "*:*:*:*:");
    for (size_t i = 0; i < password.n; i++) {
        if (password.p[i] == ':' || password.p[i] == '\\')
            buf_char(b, '\\');
        buf_char(b, password.p[i]);
    }
    buf_char(b, '\n');
}

static int put_words(const struct target *t, struct buf *service, struct buf *pass, ath_err *e)
{
    bool has_password = value_of(t, "password").n > 0;

    buf_lit(service, "[athena]\n");
    for (uint32_t i = 0; i < t->words; i++) {
        int rc = check_word(t->key[i], t->value[i], e);
        if (rc < 0)
            return rc;
        if (str_is(t->key[i], "password"))
            put_password(pass, t->value[i]);
        else if (!has_password || !str_is(t->key[i], "passfile"))
            buf_printf(service, "%.*s=%.*s\n", STR_ARG(t->key[i]), STR_ARG(t->value[i]));
    }
    return 0;
}

static void wipe(struct buf *b)
{
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_free(b);
}

int target_sign_in(ath_arena *a, const struct target *t, ath_str dir, struct target_files *ret,
                   ath_err *e)
{
    __attribute__((cleanup(wipe))) struct buf service = BUF_HEAP, pass = BUF_HEAP;
    struct buf service_env = BUF_ARENA(a), pass_env = BUF_ARENA(a);
    int rc;

    buf_printf(&service_env, "PGSERVICEFILE=%.*s/service", STR_ARG(dir));
    buf_printf(&pass_env, "PGPASSFILE=%.*s/pass", STR_ARG(dir));
    *ret = (struct target_files){ .env = { service_env.p } };
    rc = put_words(t, &service, &pass, e);
    if (rc == 0)
        rc = put_file(strchr(service_env.p, '=') + 1, &service, e);
    if (rc < 0 || !pass.n) /* without a password libpq's own file in the home folder counts */
        return rc;
    ret->env[1] = pass_env.p;
    return put_file(strchr(pass_env.p, '=') + 1, &pass, e);
}

static void put_quoted(struct buf *b, ath_str text)
{
    buf_char(b, '\'');
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\'' || text.p[i] == '\\')
            buf_char(b, '\\');
        buf_char(b, text.p[i]);
    }
    buf_char(b, '\'');
}

const char *target_conninfo(ath_arena *a, const struct target *t, ath_str database,
                            const char *sslmode)
{
    struct buf b = BUF_ARENA(a);

    if (!sslmode && t->local && !t->says_sslmode)
        sslmode = "disable";
    buf_lit(&b, "service=athena");
    if (database.n) {
        buf_lit(&b, " dbname=");
        put_quoted(&b, database);
    }
    if (sslmode)
        buf_printf(&b, " sslmode=%s", sslmode);
    return b.p;
}
