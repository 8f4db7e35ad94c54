/* The trigger that makes writes heard which do not come through Athena.
 *
 * After each INSERT, UPDATE, DELETE and TRUNCATE it notifies the channel athena_cache with the
 * table's OID and name, once per statement whatever its number of rows; equal notifications of a
 * transaction are one. Servers that listen then give no answer any more that was read from that
 * table. One function in schema athena serves all tables.
 *
 *     tables    which ones: --table with its partitions and heirs, or --all of the users' own
 *     write     the statements, in transactions of BATCH tables; or --print: as text
 */
#include "trigger.h"

#include "lib/json.h"
#include "lib/sqlname.h"

enum { BATCH = 400, STATEMENTS = 2 * BATCH + 3 };

struct options {
    ath_str client, table;
    int32_t all, print;
};

struct work { /* in the task's arena */
    const struct options *o;
    bool remove;
    const ath_rows *tables;
    uint32_t done; /* tables */
    ath_query query;
    ath_stmt stmt[STATEMENTS];
    uint32_t stmts;
};

/* clang-format off */
#define OWN_TABLES \
    "c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' " \
    "AND n.nspname NOT IN ('information_schema', 'athena')"
#define FROM_TABLES \
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE "
static const char all_sql[] =
    "SELECT n.nspname, c.relname " FROM_TABLES OWN_TABLES " ORDER BY 1, 2";
static const char one_sql[] =
    "WITH RECURSIVE heir AS (SELECT pg_catalog.to_regclass($1)::oid AS oid "
    "UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN heir h ON h.oid = i.inhparent) "
    "SELECT n.nspname, c.relname " FROM_TABLES OWN_TABLES
    " AND c.oid IN (SELECT oid FROM heir) ORDER BY 1, 2";

static const char function_sql[] =
    "CREATE OR REPLACE FUNCTION athena.cache_changed() RETURNS trigger LANGUAGE plpgsql AS $function$\n"
    "BEGIN\n"
    "    PERFORM pg_catalog.pg_notify('athena_cache', TG_RELID || ' ' ||\n"
    "                                 pg_catalog.format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));\n"
    "    RETURN NULL;\n"
    "END\n"
    "$function$";
/* clang-format on */

static void add(struct work *w, const char *sql)
{
    w->stmt[w->stmts++] = (ath_stmt){ .sql = sql };
}

static const char *trigger_sql(ath_task *t, const char *head, const struct work *w, uint32_t i,
                               const char *tail)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_z(&b, head);
    buf_ident2(&b, ath_host_->pg->text(w->tables, i, 0), ath_host_->pg->text(w->tables, i, 1));
    buf_z(&b, tail);
    return b.p;
}

/* The next tables' statements. */
static void batch(ath_task *t, struct work *w)
{
    uint32_t n = ath_host_->pg->count(w->tables), from = w->done;

    w->stmts = 0;
    w->done = n - from > BATCH ? from + BATCH : n;
    if (!w->remove && from == 0) {
        add(w, "CREATE SCHEMA IF NOT EXISTS athena");
        add(w, function_sql);
    }
    for (uint32_t i = from; i < w->done; i++) {
        add(w, trigger_sql(t, "DROP TRIGGER IF EXISTS athena_cache ON ", w, i, ""));
        if (!w->remove)
            add(w,
                trigger_sql(t,
                            "CREATE TRIGGER athena_cache AFTER INSERT OR UPDATE OR DELETE OR "
                            "TRUNCATE ON ",
                            w, i, " FOR EACH STATEMENT EXECUTE FUNCTION athena.cache_changed()"));
    }
    if (w->remove && w->o->all && w->done == n)
        add(w, "DROP FUNCTION IF EXISTS athena.cache_changed()");
}

static int finish(ath_task *t, ath_str text)
{
    ath_host_->task->done(t, &(ath_done){ .size = sizeof(ath_done), .bytes = text });
    return 0;
}

static int print(ath_task *t, struct work *w)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    while (w->done < ath_host_->pg->count(w->tables)) {
        buf_lit(&b, "BEGIN;\n");
        batch(t, w);
        for (uint32_t i = 0; i < w->stmts; i++) {
            buf_z(&b, w->stmt[i].sql);
            buf_lit(&b, ";\n");
        }
        buf_lit(&b, "COMMIT;\n");
    }
    b.n -= b.n > 0; /* the last newline is the command's own */
    return finish(t, buf_view(&b));
}

static int write_next(ath_task *t, struct work *w, ath_err *e);

static int written(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? d->rc : write_next(t, d->arg, e);
}

static int write_next(ath_task *t, struct work *w, ath_err *e)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    if (w->done < ath_host_->pg->count(w->tables)) {
        batch(t, w);
        w->query.stmt = w->stmt;
        w->query.stmt_count = w->stmts;
        w->query.flags = 0;
        return ath_host_->pg->query(t, &w->query, written, w, e);
    }
    buf_printf(&b, "%s %u tables", w->remove ? "trigger removed from" : "trigger installed on",
               w->done);
    return finish(t, buf_view(&b));
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct work *w = d->arg;

    if (d->rc < 0)
        return d->rc;
    w->tables = ath_host_->pg->keep(t, d->rows);
    if (ath_host_->pg->count(w->tables) == 0)
        return w->o->all ? ath_fail(e, ATH_E_MISSING, "client \"%.*s\" has no tables",
                                    STR_ARG(w->o->client))
                         : ath_fail(e, ATH_E_MISSING, "client \"%.*s\" has no table \"%.*s\"",
                                    STR_ARG(w->o->client), STR_ARG(w->o->table));
    return w->o->print ? print(t, w) : write_next(t, w, e);
}

static int run(ath_task *t, const struct options *o, bool remove, ath_err *e)
{
    struct work *w = ath_new(ath_arena_of(t), sizeof(*w));

    if (!o->client.n)
        return ath_fail(e, ATH_E_INPUT, "--client is missing");
    if (!o->all == !o->table.n)
        return ath_fail(e, ATH_E_INPUT, "expected either --table or --all");
    w->o = o;
    w->remove = remove;
    w->query = (ath_query){ .size = sizeof(w->query),
                            .flags = ATH_PG_READ,
                            .client = o->client,
                            .stmt = w->stmt,
                            .stmt_size = sizeof(w->stmt[0]),
                            .stmt_count = 1 };
    w->stmt[0] =
        (ath_stmt){ .sql = o->all ? all_sql : one_sql, .param = &o->table, .param_count = !o->all };
    return ath_host_->pg->query(t, &w->query, listed, w, e);
}

static int install(ath_task *t, const void *options, ath_err *e)
{
    return run(t, options, false, e);
}

static int remove_all(ath_task *t, const void *options, ath_err *e)
{
    return run(t, options, true, e);
}

static const ath_field fields[] = {
    ATH_STR(struct options, client, "client", "", NULL, "Whose database."),
    ATH_STR(struct options, table, "table", "", NULL,
            "One table, as SQL writes its name, with its partitions."),
    ATH_BOOL(struct options, all, "all", "false", "All tables that users made."),
    ATH_BOOL(struct options, print, "print", "false", "Print the SQL instead of running it."),
};

const ath_command trigger_install = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "cache install-trigger"),
    .summary = "Make writes that go past Athena known to its caches",
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct options),
    .run = install,
};

const ath_command trigger_remove = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "cache remove-trigger"),
    .summary = "Undo install-trigger",
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct options),
    .run = remove_all,
};
