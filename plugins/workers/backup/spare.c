/* Names and what a database has besides its contents. Statements that take no parameters are made
 * of quoted names and literals, all from the server's own catalogue. */
#include "spare.h"

#include "lib/sqlname.h"

enum { RANDOM = 16, WORD_MOST = 40 };

/* ---- names ---- */

/* The longest head of at most `most` bytes that cuts no character. */
static ath_str head(ath_str s, size_t most)
{
    if (s.n <= most)
        return s;
    while (most && ((unsigned char)s.p[most] & 0xC0) == 0x80)
        most--;
    return str_from(s.p, most);
}

ath_str spare_name(ath_arena *a, ath_str database, const char *word, ath_str job, uint64_t random)
{
    struct buf tail = BUF_ARENA(a), b = BUF_ARENA(a);
    char digits[RANDOM];

    str_put_hex(digits, random);
    buf_printf(&tail, "_athena_%s_%.*s_%.*s", word, STR_ARG(head(job, WORD_MOST / 2)), RANDOM,
               digits);
    buf_str(&b, head(database, SPARE_NAME - tail.n));
    buf_str(&b, buf_view(&tail));
    return buf_view(&b);
}

/* ---- the control plane's rows ---- */

static int control(ath_task *t, const char *sql, const ath_str *param, uint32_t n, ath_then *then,
                   void *arg, ath_err *e)
{
    ath_str *kept = ath_new(ath_arena_of(t), n * sizeof(*kept));
    ath_stmt stmt = { .sql = sql, .param = kept, .param_count = n };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_FENCED,
                    .client = ATH_S("@control"),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    memcpy(kept, param, n * sizeof(*kept));
    return ath_host_->pg->query(t, &q, then, arg, e);
}

int spare_note(ath_task *t, struct spare *x, const char *purpose, ath_then *then, void *arg,
               ath_err *e)
{
    return control(t,
                   "insert into athena_backup_scratch (name, job_id, purpose, server, database,"
                   " client_name, target_sealed) values ($1, $2, $3, $4, $5, $6, $7)",
                   (ath_str[]){ x->name, x->job, str_of(purpose), x->site->server,
                                x->site->database, x->client, x->sealed },
                   7, then, arg, e);
}

int spare_note_oid(ath_task *t, struct spare *x, ath_then *then, void *arg, ath_err *e)
{
    return control(t, "update athena_backup_scratch set oid = $2 where name = $1",
                   (ath_str[]){ x->name, x->oid }, 2, then, arg, e);
}

/* ---- making one ---- */

int spare_create(ath_task *t, struct spare *x, ath_then *then, void *arg, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_lit(&b, "create database ");
    buf_ident(&b, x->name);
    buf_str(&b, x->site->create);
    return site_command(t, x->site, &b, then, arg, e);
}

int spare_find(ath_task *t, struct spare *x, ath_then *then, void *arg, ath_err *e)
{
    ath_stmt stmt = { .sql = "select oid from pg_database where datname = $1",
                      .param = &x->name,
                      .param_count = 1 };

    return site_ask(t, x->site, ATH_S(""), &stmt, 1, ATH_PG_READ, then, arg, e);
}

int spare_found(struct spare *x, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (!ath_host_->pg->count(d->rows))
        return ath_fail(e, ATH_E_CONFLICT, "database \"%.*s\" was dropped by somebody else",
                        STR_ARG(x->name));
    x->oid = ath_cell(ath_host_->pg->keep(x->site->home, d->rows), 0, 0);
    return 0;
}

/* ---- dress ---- */

static const char settings_sql[] =
    "select coalesce(r.rolname, ''), split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)"
    " from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole"
    " cross join unnest(s.setconfig) c where s.setdatabase = $1::oid";
static const char rights_sql[] =
    "select coalesce(r.rolname, ''), a.privilege_type, a.is_grantable from pg_database d"
    " cross join aclexplode(d.datacl) a left join pg_roles r on r.oid = a.grantee"
    " where d.oid = $1::oid and a.grantee <> d.datdba";

int spare_ask_dress(ath_task *t, struct spare *x, ath_then *then, void *arg, ath_err *e)
{
    ath_str *oid = ath_new(ath_arena_of(t), sizeof(*oid));
    ath_stmt stmt[] = { { .sql = settings_sql, .param = oid, .param_count = 1 },
                        { .sql = rights_sql, .param = oid, .param_count = 1 } };

    *oid = x->site->oid;
    return site_ask(t, x->site, ATH_S(""), stmt, ATH_COUNT(stmt), ATH_PG_READ, then, arg, e);
}

struct wardrobe {
    ath_arena *arena;
    ath_stmt *stmt;
    uint32_t n;
};

static void add(struct wardrobe *w, const struct buf *b)
{
    w->stmt[w->n++] = (ath_stmt){ .sql = b->p };
}

/* "app.mood" is "app"."mood". */
static void put_setting(struct buf *b, ath_str name)
{
    ath_str part;

    for (bool first = true; str_next(&name, '.', &part); first = false) {
        if (!first)
            buf_char(b, '.');
        buf_ident(b, part);
    }
}

/* The value is made ours and then taken from there: so a list stays the list that it is. */
static void add_setting(struct wardrobe *w, ath_str database, const ath_rows *r, uint32_t i)
{
    ath_str *param = ath_new(w->arena, 2 * sizeof(*param));
    struct buf b = BUF_ARENA(w->arena);
    ath_str role = ath_cell(r, i, 0);

    param[0] = ath_cell(r, i, 1);
    param[1] = ath_cell(r, i, 2);
    w->stmt[w->n++] =
        (ath_stmt){ .sql = "select set_config($1, $2, true)", .param = param, .param_count = 2 };
    if (role.n) {
        buf_lit(&b, "alter role ");
        buf_ident(&b, role);
        buf_lit(&b, " in database ");
    } else {
        buf_lit(&b, "alter database ");
    }
    buf_ident(&b, database);
    buf_lit(&b, " set ");
    put_setting(&b, param[0]);
    buf_lit(&b, " from current");
    add(w, &b);
}

static void add_right(struct wardrobe *w, ath_str database, const ath_rows *r, uint32_t i)
{
    static const char *const words[] = { "CONNECT", "CREATE", "TEMPORARY" };
    struct buf b = BUF_ARENA(w->arena);

    for (size_t k = 0; k < ATH_COUNT(words); k++)
        if (str_is(ath_cell(r, i, 1), words[k]))
            buf_printf(&b, "grant %s on database ", words[k]);
    if (!b.n)
        return;
    buf_ident(&b, database);
    if (ath_cell(r, i, 0).n) {
        buf_lit(&b, " to ");
        buf_ident(&b, ath_cell(r, i, 0));
    } else {
        buf_lit(&b, " to public");
    }
    if (str_is(ath_cell(r, i, 2), "t"))
        buf_lit(&b, " with grant option");
    add(w, &b);
}

static void add_rights(struct wardrobe *w, ath_str database, const ath_rows *r)
{
    struct buf b = BUF_ARENA(w->arena);

    buf_lit(&b, "revoke all on database ");
    buf_ident(&b, database);
    buf_lit(&b, " from public");
    add(w, &b);
    for (uint32_t i = 0; i < ath_host_->pg->count(r); i++)
        add_right(w, database, r, i);
}

static void add_rest(struct wardrobe *w, const struct spare *x)
{
    struct buf b = BUF_ARENA(w->arena), comment = BUF_ARENA(w->arena);

    buf_lit(&b, "alter database ");
    buf_ident(&b, x->name);
    buf_printf(&b, " connection limit %d", (int)x->site->limit);
    add(w, &b);
    if (!x->site->comment.p)
        return;
    buf_lit(&comment, "comment on database ");
    buf_ident(&comment, x->name);
    buf_lit(&comment, " is ");
    buf_literal(&comment, x->site->comment);
    add(w, &comment);
}

/* Rights come first, as a setting may change what the rest of the transaction means. */
int spare_dress(ath_task *t, struct spare *x, const ath_rows *dress, ath_then *then, void *arg,
                ath_err *e)
{
    const ath_rows *settings = dress, *rights = ath_host_->pg->next(dress);
    uint32_t most = 2 * ath_host_->pg->count(settings) + ath_host_->pg->count(rights) + 3;
    struct wardrobe w = { .arena = ath_arena_of(t) };

    w.stmt = ath_new(w.arena, most * sizeof(*w.stmt));
    add_rest(&w, x);
    if (x->site->listed)
        add_rights(&w, x->name, rights);
    for (uint32_t i = 0; i < ath_host_->pg->count(settings); i++)
        add_setting(&w, x->name, settings, i);
    return site_ask(t, x->site, ATH_S(""), w.stmt, w.n, 0, then, arg, e);
}

/* ---- dropping one ---- */

struct drop {
    const struct site *site;
    ath_str name, oid;
};

static int dropped(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    if (d->rc < 0)
        return d->rc;
    ath_host_->task->done(t, NULL);
    return 0;
}

static int drop_found(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct drop *x = d->arg;
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (d->rc < 0)
        return d->rc;
    if (!ath_host_->pg->count(d->rows)) {
        ath_host_->task->done(t, NULL);
        return 0;
    }
    if (x->oid.n && !str_eq(ath_cell(d->rows, 0, 0), x->oid))
        return ath_fail(e, ATH_E_CONFLICT,
                        "database \"%.*s\" is not the one that was made under this name",
                        STR_ARG(x->name));
    buf_lit(&b, "drop database if exists ");
    buf_ident(&b, x->name);
    buf_lit(&b, " with (force)");
    return site_command(t, x->site, &b, dropped, NULL, e);
}

static int drop_run(ath_task *t, void *arg, ath_err *e)
{
    struct drop *x = arg;
    ath_stmt stmt = { .sql = "select oid from pg_database where datname = $1",
                      .param = &x->name,
                      .param_count = 1 };

    return site_ask(t, x->site, ATH_S(""), &stmt, 1, 0, drop_found, x, e);
}

int spare_drop(ath_task *t, const struct site *site, ath_str name, ath_str oid, ath_then *then,
               void *arg, ath_err *e)
{
    struct drop *x = ath_new(ath_arena_of(t), sizeof(*x));
    ath_fork f = { .size = sizeof(f), .run = drop_run, .arg = x };

    *x = (struct drop){ site, name, oid };
    return ath_host_->task->fork(t, &f, then, arg, e);
}
