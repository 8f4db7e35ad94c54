/* Owners that are no roles any more: pg_dump cannot name them, so it refuses the whole database.
 *
 * What such an OID owns in the source is given to the role that makes the backup, in one
 * transaction, each statement told (D-60). Only a superuser may write to catalogs, which is looked
 * at first. Default privileges of a role that is gone apply to nobody: they are removed.
 */
#include "create.h"

#define OWNER(catalog, column)                                                                     \
    "update pg_catalog." catalog " set " column " = $1::oid where " column " = $2::oid"

static const char *const statements[] = {
    OWNER("pg_class", "relowner"),
    OWNER("pg_namespace", "nspowner"),
    OWNER("pg_proc", "proowner"),
    OWNER("pg_type", "typowner"),
    OWNER("pg_operator", "oprowner"),
    OWNER("pg_opclass", "opcowner"),
    OWNER("pg_opfamily", "opfowner"),
    OWNER("pg_collation", "collowner"),
    OWNER("pg_conversion", "conowner"),
    OWNER("pg_language", "lanowner"),
    OWNER("pg_ts_config", "cfgowner"),
    OWNER("pg_ts_dict", "dictowner"),
    OWNER("pg_extension", "extowner"),
    OWNER("pg_foreign_data_wrapper", "fdwowner"),
    OWNER("pg_foreign_server", "srvowner"),
    OWNER("pg_event_trigger", "evtowner"),
    OWNER("pg_publication", "pubowner"),
    OWNER("pg_statistic_ext", "stxowner"),
    OWNER("pg_largeobject_metadata", "lomowner"),
    "delete from pg_catalog.pg_default_acl where $1::oid is not null and defaclrole = $2::oid",
    /* A policy that was for nobody else is for the superuser, whom it never binds; for all it would
     * be by an empty list. */
    ("update pg_catalog.pg_policy set polroles = case when array_remove(polroles, $2::oid) = '{}'"
     " then array[$1::oid] else array_remove(polroles, $2::oid) end where $2::oid = any (polroles)"),
};

struct repair {
    struct create *c;
    ath_then *then;
    ath_str param[2]; /* the role, the OID that is none */
};

static int ask(ath_task *t, struct repair *r, const ath_stmt *stmt, uint32_t n, ath_then *then,
               ath_err *e)
{
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_OPERATOR | ATH_PG_FENCED,
                    .uri = r->c->target.uri,
                    .stmt = stmt,
                    .stmt_size = sizeof(*stmt),
                    .stmt_count = n };

    return ath_host_->pg->query(t, &q, then, r, e);
}

/* "pg_catalog.pg_class" of a statement. */
static ath_str catalog_of(const char *sql)
{
    ath_str s = str_of(strstr(sql, "pg_catalog."));

    s.n = str_find(s, ' ');
    return s;
}

static int repaired(ath_task *t, const ath_done *d, ath_err *e)
{
    struct repair *r = d->arg;
    const ath_rows *rows = d->rows;
    ath_done mine = *d;

    for (size_t i = 0; d->rc == 0 && rows && i < ATH_COUNT(statements); i++) {
        ath_str catalog = catalog_of(statements[i]);
        journal_say(&r->c->journal, "warn", "repair of role OID %.*s: %.*s: %llu rows",
                    STR_ARG(r->param[1]), STR_ARG(catalog),
                    (unsigned long long)ath_host_->pg->affected(rows));
        rows = ath_host_->pg->next(rows);
    }
    mine.arg = r->c;
    return r->then(t, &mine, e);
}

static int refuse(struct repair *r, const char *why, ath_err *e)
{
    journal_say(&r->c->journal, "error", "repair of role OID %.*s refused: %s",
                STR_ARG(r->param[1]), why);
    return ath_fail(e, ATH_E_DENIED, "role OID %.*s cannot be repaired: %s", STR_ARG(r->param[1]),
                    why);
}

static int looked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct repair *r = d->arg;
    ath_stmt stmt[ATH_COUNT(statements)];
    struct buf oid = BUF_ARENA(ath_arena_of(t));

    if (d->rc < 0)
        return d->rc;
    if (!str_is(ath_cell(d->rows, 0, 1), "t"))
        return refuse(r, "the role of the backup is no superuser", e);
    if (str_is(ath_cell(d->rows, 0, 2), "t"))
        return refuse(r, "it is a role by now", e);
    buf_str(&oid, ath_cell(d->rows, 0, 0));
    r->param[0] = buf_view(&oid);
    for (size_t i = 0; i < ATH_COUNT(statements); i++)
        stmt[i] = (ath_stmt){ .sql = statements[i], .param = r->param, .param_count = 2 };
    return ask(t, r, stmt, ATH_COUNT(stmt), repaired, e);
}

int repair_roles(ath_task *t, struct create *c, ath_then *then, ath_err *e)
{
    struct repair *r = ath_new(ath_arena_of(t), sizeof(*r));
    struct buf oid = BUF_ARENA(ath_arena_of(t));
    ath_stmt look = { .sql = "select oid::text, rolsuper, exists (select from pg_catalog.pg_roles o"
                             " where o.oid = $1::text::oid) from pg_catalog.pg_roles"
                             " where rolname = current_user",
                      .param = &r->param[1],
                      .param_count = 1 };

    *r = (struct repair){ .c = c, .then = then };
    buf_u64(&oid, c->said.orphan);
    r->param[1] = buf_view(&oid);
    return ask(t, r, &look, 1, looked, e);
}
