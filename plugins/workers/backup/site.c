/* What a server says of itself comes from one trip to its maintenance database. The first that lets
 * us in is used: `postgres`, then `template1`, then the database of the URI itself, which is enough
 * to restore in place. */
#include "site.h"

#include "lib/sqlname.h"

/* ---- statements ---- */

static void put_percent(struct buf *b, ath_str text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '_' || c == '-' || c == '.';
        if (plain) {
            buf_char(b, (char)c);
        } else {
            buf_char(b, '%');
            buf_char(b, hex[c >> 4]);
            buf_char(b, hex[c & 15]);
        }
    }
}

/* A parameter of libpq's keyword form. */
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

/* Of parameters that are named twice libpq takes the last one, in both forms. */
ath_str site_uri(ath_arena *a, ath_str uri, ath_str database)
{
    struct buf b = BUF_ARENA(a);

    if (!memmem(uri.p, uri.n, "://", 3)) {
        buf_str(&b, uri);
        buf_lit(&b, " dbname=");
        put_quoted(&b, database);
        return buf_view(&b);
    }
    buf_str(&b, uri);
    buf_char(&b, str_find(uri, '?') < uri.n ? '&' : '?');
    buf_lit(&b, "dbname=");
    put_percent(&b, database);
    return buf_view(&b);
}

int site_ask(ath_task *t, const struct site *s, ath_str database, const ath_stmt *stmt, uint32_t n,
             uint32_t flags, ath_then *then, void *arg, ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .flags = flags | ATH_PG_OPERATOR,
                    .uri = site_uri(ath_arena_of(t), s->uri, database.n ? database : s->via),
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .stmt_count = n };

    return ath_host_->pg->query(t, &q, then, arg, e);
}

int site_command(ath_task *t, const struct site *s, const struct buf *sql, ath_then *then,
                 void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = sql->p };

    return site_ask(t, s, ATH_S(""), &stmt, 1, ATH_PG_ALONE, then, arg, e);
}

/* ---- what it says ---- */

/* Columns of pg_database differ from version to version; as JSON those that are not there are null.
 */
static const char look_sql[] =
    "select current_setting('server_version_num')::int4 / 10000,"
    " (select system_identifier::text from pg_control_system()), current_user,"
    " r.rolsuper, r.rolcreatedb, d.oid, pg_get_userbyid(d.datdba),"
    " coalesce(pg_has_role(current_user, d.datdba, 'USAGE'), false), d.datconnlimit,"
    " d.datacl is not null, shobj_description(d.oid, 'pg_database'), pg_database_size(d.oid),"
    " pg_encoding_to_char(d.encoding), j->>'datcollate', j->>'datctype', j->>'datlocprovider',"
    " coalesce(j->>'datlocale', j->>'daticulocale'), j->>'daticurules', s.spcname"
    " from pg_roles r left join pg_database d on d.datname = $1"
    " left join pg_tablespace s on s.oid = d.dattablespace"
    " left join lateral to_jsonb(d) j on true where r.rolname = current_user";

static void word(struct buf *b, const char *what, ath_str value)
{
    if (!value.p)
        return;
    buf_z(b, what);
    buf_literal(b, value);
}

static void provider(struct buf *b, char kind, ath_str locale, ath_str rules)
{
    if (kind == 'i') {
        buf_lit(b, " LOCALE_PROVIDER icu");
        word(b, " ICU_LOCALE ", locale);
        word(b, " ICU_RULES ", rules);
    } else if (kind == 'b') {
        buf_lit(b, " LOCALE_PROVIDER builtin");
        word(b, " BUILTIN_LOCALE ", locale);
    } else if (kind == 'c') {
        buf_lit(b, " LOCALE_PROVIDER libc");
    }
}

/* What follows the name in CREATE DATABASE. */
static ath_str create_like(ath_arena *a, const ath_rows *r)
{
    struct buf b = BUF_ARENA(a);
    ath_str kind = ath_cell(r, 0, 15);

    buf_lit(&b, " TEMPLATE template0");
    if (!ath_cell(r, 0, 5).n)
        return buf_view(&b);
    buf_lit(&b, " OWNER ");
    buf_ident(&b, ath_cell(r, 0, 6));
    word(&b, " ENCODING ", ath_cell(r, 0, 12));
    word(&b, " LC_COLLATE ", ath_cell(r, 0, 13));
    word(&b, " LC_CTYPE ", ath_cell(r, 0, 14));
    provider(&b, kind.n ? kind.p[0] : 0, ath_cell(r, 0, 16), ath_cell(r, 0, 17));
    buf_lit(&b, " TABLESPACE ");
    buf_ident(&b, ath_cell(r, 0, 18));
    return buf_view(&b);
}

static bool yes(const ath_rows *r, uint32_t col)
{
    return str_is(ath_cell(r, 0, col), "t");
}

static void take(struct site *s, const ath_rows *rows)
{
    const ath_rows *r = ath_host_->pg->keep(s->home, rows);
    int64_t major = 0, limit = -1;

    str_i64(ath_cell(r, 0, 0), &major);
    str_i64(ath_cell(r, 0, 8), &limit);
    s->major = (uint32_t)major;
    s->server = ath_cell(r, 0, 1);
    s->user = ath_cell(r, 0, 2);
    s->super = yes(r, 3);
    s->creates = yes(r, 4);
    s->oid = ath_cell(r, 0, 5);
    s->owner = ath_cell(r, 0, 6);
    s->owns = yes(r, 7);
    s->limit = (int32_t)limit;
    s->listed = yes(r, 9);
    s->comment = ath_cell(r, 0, 10);
    s->size = ath_cell(r, 0, 11);
    s->create = create_like(ath_arena_of(s->home), r);
}

/* A database that is to be renamed is no place to say so. */
static ath_str place(const struct site *s, uint32_t i)
{
    const ath_str places[] = { ATH_S("postgres"), ATH_S("template1"), s->database };

    return places[i];
}

int site_look(ath_task *t, struct site *s, ath_then *then, void *arg, ath_err *e)
{
    ath_str *param = ath_new(ath_arena_of(t), sizeof(*param));
    ath_stmt stmt = { .sql = look_sql, .param = param, .param_count = 1 };

    while (s->tries < 2 && str_eq(place(s, s->tries), s->database))
        s->tries++;
    s->via = place(s, s->tries);
    *param = s->database;
    return site_ask(t, s, ATH_S(""), &stmt, 1, ATH_PG_READ, then, arg, e);
}

int site_looked(struct site *s, const ath_done *d, ath_err *e)
{
    if (d->rc == ATH_E_CANCELED || d->rc == ATH_E_TIMEOUT)
        return d->rc;
    if (d->rc < 0)
        return ++s->tries < 3 ? FLOW_AGAIN : d->rc;
    if (!ath_host_->pg->count(d->rows))
        return ath_fail(e, ATH_E_UPSTREAM, "the server says nothing of the role that signed in");
    take(s, d->rows);
    return 0;
}

int site_may_swap(const struct site *s, ath_err *e)
{
    const char *lacks = NULL;

    if (!s->super && !s->creates)
        lacks = "has no right to create databases (CREATEDB)";
    else if (s->oid.n && !s->super && !s->owns)
        lacks = "does not own the database";
    else if (str_eq(s->via, s->database))
        lacks =
            "is let into no database from which this one could be renamed (postgres, template1)";
    if (!lacks)
        return 0;
    return ath_fail(
        e, ATH_E_DENIED,
        "role \"%.*s\" %s, which a restore into a new database that then takes the place "
        "of \"%.*s\" needs: grant it, or ask for \"mode\": \"in_place\", which "
        "overwrites the live one",
        STR_ARG(s->user), lacks, STR_ARG(s->database));
}

/* ---- the control plane is no target (D-43) ---- */

static const char self_sql[] = "select (select system_identifier::text from pg_control_system()),"
                               " current_database()";

int site_guard(ath_task *t, const char *part, ath_then *then, void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = self_sql };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_READ,
                    .client = str_of(part),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };
    int rc = ath_host_->pg->query(t, &q, then, arg, e);

    return rc < 0 && str_is(ath_host_->err->get(e, "code"), "feature_unavailable") ? FLOW_NEXT : rc;
}

int site_guarded(const struct site *s, const char *part, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (!str_eq(ath_cell(d->rows, 0, 0), s->server) ||
        !str_eq(ath_cell(d->rows, 0, 1), s->database))
        return 0;
    return ath_fail(e, ATH_E_DENIED,
                    "database \"%.*s\" is the %s database of this installation: a restore into it "
                    "needs \"allow_control_plane\": true",
                    STR_ARG(s->database), part[1] == 'a' ? "auth" : "logging");
}
