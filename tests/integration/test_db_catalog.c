/* The catalogue of a real database: what it holds, and how soon it knows what is new. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "db/catalog.h"
#include "db/db_priv.h"
#include "lib/buf.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"

static struct postgres *pg;
static struct lab *lab;

static void cluster_up(void)
{
    pg = postgres_start(NULL);
    postgres_sql(
        pg, "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN price AS numeric(10,2) CHECK "
            "(VALUE > 0);"
            "CREATE DOMAIN fair AS price; CREATE SCHEMA \"My Shop\";"
            "CREATE TABLE author (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name "
            "varchar(40) NOT NULL,"
            " gone int, mood mood DEFAULT 'ok', tags text[], cost fair, twice int GENERATED ALWAYS "
            "AS (1) STORED,"
            " UNIQUE (name, mood));"
            "ALTER TABLE author DROP COLUMN gone;"
            "CREATE TABLE \"My Shop\".book (id int PRIMARY KEY, author_id bigint REFERENCES author "
            "(id), a int, b int,"
            " UNIQUE (b, a));"
            "CREATE UNIQUE INDEX partial ON author (name) WHERE id > 3;"
            "CREATE VIEW seen AS SELECT 1 AS one; CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one;"
            "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);"
            "CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (10);"
            "CREATE TABLE uses_parts (p int REFERENCES parts ON DELETE CASCADE ON UPDATE SET NULL)");
    postgres_sql(
        pg, "CREATE TYPE spot AS (x int, y text);"
            "CREATE FUNCTION add(a int, b int DEFAULT 1, c text DEFAULT 'x') RETURNS bigint "
            "LANGUAGE sql STABLE AS 'SELECT 1::bigint';"
            "CREATE FUNCTION add(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
            "CREATE FUNCTION add(a spot, VARIADIC rest mood[]) RETURNS SETOF author LANGUAGE sql AS "
            "'SELECT * FROM author';"
            "CREATE FUNCTION addition() RETURNS void LANGUAGE plpgsql AS 'BEGIN END';"
            "CREATE FUNCTION give(OUT a int, INOUT b price, k int DEFAULT 2) LANGUAGE sql AS "
            "'SELECT 1, $1';"
            "CREATE FUNCTION list() RETURNS TABLE (one int) LANGUAGE sql AS 'SELECT 1';"
            "CREATE FUNCTION place() RETURNS spot LANGUAGE sql AS 'SELECT NULL::spot';"
            "CREATE FUNCTION \"My Shop\".any(anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT "
            "$1';"
            "CREATE PROCEDURE act() LANGUAGE sql AS '';"
            "CREATE AGGREGATE longest(text) (sfunc = textcat, stype = text);"
            "CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';"
            "CREATE TABLE watched (id int REFERENCES parts);"
            "CREATE TRIGGER seen BEFORE INSERT ON watched FOR EACH ROW EXECUTE FUNCTION seen();"
            "CREATE TABLE bent (id int); CREATE RULE away AS ON INSERT TO bent DO INSTEAD NOTHING");
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_up(void)
{
    struct db_options o = lab_options();
    ath_err e;

    lab = lab_start(&o, 1);
    ck_assert_msg(db_client_put("acme", postgres_uri(pg), "config", &e) == 0, "%s", e.message);
}

/* ---- asking on the loop ---- */

struct look {
    void (*fn)(const ath_snapshot *s);
    uint64_t known, version;
    ath_str find; /* refresh until it is there, once */
    bool found;
};

static int look_now(ath_task *t, struct look *k)
{
    const ath_snapshot *s = catalog_service.get(t);

    if (s && k->fn)
        k->fn(s);
    k->version = s ? catalog_service.version(s) : 0;
    k->found = s && k->find.n && catalog_service.relation(s, ATH_S(""), k->find);
    ask_end(container_of(t, struct ask, task));
    return 0;
}

static int refreshed(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)e;
    return d->rc < 0 ? d->rc : look_now(t, d->arg);
}

static int look_run(ath_task *t, void *arg, ath_err *e)
{
    struct ask *a = arg;
    struct look *k = a->arg;

    if (k->known == UINT64_MAX)
        return look_now(t, k);
    return catalog_service.refresh(t, k->known, refreshed, k, e);
}

static struct ask *look_send(struct look *k)
{
    struct ask *a = ask_new("acme", 0, NULL);

    a->instead = look_run;
    a->arg = k;
    lab_send(lab, 0, &a, 1);
    return a;
}

static void look(struct look *k)
{
    struct ask *a = look_send(k);

    ck_assert_msg(ask_wait(a, 10000), "refresh hangs");
    ck_assert_msg(a->rc == 0, "%s", a->err.message);
    ask_free(a);
}

/* ---- what is in it ---- */

static const ath_attribute *column(const ath_relation *r, const char *name)
{
    const ath_attribute *c = catalog_service.column(r, str_of(name));

    ck_assert_msg(c != NULL, "no column %s", name);
    return c;
}

static void check_columns(const ath_snapshot *s)
{
    const ath_relation *r = catalog_service.relation(s, ATH_S(""), ATH_S("author"));
    const ath_attribute *c;

    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->kind, ATH_REL_TABLE);
    ck_assert(str_is(r->schema, "public"));
    ck_assert_uint_eq(r->column_count, 6);
    ck_assert_ptr_null(catalog_service.column(r, ATH_S("gone")));
    c = column(r, "id");
    ck_assert_uint_eq(c->flags, ATH_COL_NOT_NULL | ATH_COL_IDENTITY | ATH_COL_PRIMARY);
    ck_assert(c->type == 20 && c->base_type == 20 && c->category == 'N' && c->number == 1);
    c = column(r, "name");
    ck_assert(str_is(c->type_name, "character varying(40)") && c->category == 'S');
    c = column(r, "mood");
    ck_assert(c->kind == 'e' && c->flags == ATH_COL_DEFAULT && c->number == 4);
    ck_assert(str_is(catalog_service.type_name(s, c->type), "public.mood"));
    c = column(r, "tags");
    ck_assert(c->category == 'A' && c->element == 25);
    c = column(r, "cost");
    ck_assert(c->kind == 'd' && c->base_type == 1700 && c->type != 1700);
    ck_assert_uint_eq(column(r, "twice")->flags, ATH_COL_GENERATED);
    ck_assert(str_is(catalog_service.type_name(s, 23), "pg_catalog.int4"));
    ck_assert(str_is(catalog_service.type_name(s, 4000000000u), ""));
}

static void check_keys(const ath_snapshot *s)
{
    const ath_relation *author = catalog_service.relation(s, ATH_S("public"), ATH_S("author"));
    const ath_relation *book = catalog_service.relation(s, ATH_S("My Shop"), ATH_S("book"));
    const ath_relation *user = catalog_service.relation(s, ATH_S(""), ATH_S("uses_parts"));

    ck_assert_ptr_nonnull(book);
    ck_assert_ptr_null(catalog_service.relation(s, ATH_S(""), ATH_S("book"))); /* not in the path */
    ck_assert_uint_eq(author->key_count, 2); /* not the partial one */
    ck_assert(author->key[0].primary && author->key[0].number[0] == 1);
    ck_assert(author->key[1].number_count == 2 && author->key[1].number[1] == 4);
    ck_assert(book->key[1].number[0] == 4 && book->key[1].number[1] == 3);
    ck_assert_uint_eq(book->out_count, 1);
    ck_assert_ptr_eq(book->out[0]->to, author);
    ck_assert(book->out[0]->count == 1 && book->out[0]->from_number[0] == 2 &&
              book->out[0]->to_number[0] == 1);
    ck_assert(author->in_count == 1 && author->in[0] == book->out[0]);
    ck_assert_uint_eq(user->out_count, 1); /* not once more per partition */
    ck_assert_uint_eq(catalog_service.relation(s, ATH_S(""), ATH_S("parts"))->kind,
                      ATH_REL_PARTITIONED);
    ck_assert_uint_eq(catalog_service.relation(s, ATH_S(""), ATH_S("seen"))->kind, ATH_REL_VIEW);
    ck_assert_uint_eq(catalog_service.relation(s, ATH_S(""), ATH_S("kept"))->kind, ATH_REL_MATVIEW);
    ck_assert_ptr_null(catalog_service.relation(s, ATH_S("pg_catalog"), ATH_S("pg_class")));
    ck_assert_ptr_nonnull(catalog_service.at(s, 0));
    ck_assert_ptr_null(catalog_service.at(s, 1000));
}

static void check_marks(const ath_snapshot *s)
{
    const ath_relation *user = catalog_service.relation(s, ATH_S(""), ATH_S("uses_parts"));

    ck_assert(user->flags == 0 && user->out[0]->on_delete == 'c' && user->out[0]->on_update == 'n');
    ck_assert_uint_eq(catalog_service.relation(s, ATH_S(""), ATH_S("watched"))->flags,
                      ATH_REL_TRIGGERS);
    ck_assert_uint_eq(catalog_service.relation(s, ATH_S(""), ATH_S("bent"))->flags, ATH_REL_RULES);
    ck_assert_uint_eq(catalog_service.relation(s, ATH_S(""), ATH_S("seen"))->flags, 0);
    ck_assert_ptr_null(catalog_service.relation(s, ATH_S(""), ATH_S("spot")));
}

/* ---- functions ---- */

/* "add(i:a:integer,i:b:integer=) s bigint": as the catalogue has it. */
static void put_function(struct buf *b, const ath_function *f)
{
    buf_printf(b, "%.*s(", STR_ARG(f->name));
    for (uint32_t i = 0; i < f->argument_count; i++) {
        const ath_argument *a = &f->argument[i];
        ck_assert_uint_eq(a->as.number, i + 1);
        buf_printf(b, "%s%c:%.*s:%.*s%s", i ? "," : "", a->mode, STR_ARG(a->as.name),
                   STR_ARG(a->as.type_name), a->as.flags & ATH_COL_DEFAULT ? "=" : "");
    }
    buf_printf(b, ") %c%c%s %.*s", f->kind, f->volatility, f->set ? " set" : "",
               STR_ARG(f->result.type_name));
    for (uint32_t i = 0; i < f->column_count; i++)
        buf_printf(b, "%s%.*s", i ? "," : ": ", STR_ARG(f->column[i].name));
    buf_char(b, '\n');
}

static void check_functions(const ath_snapshot *s)
{
    static const struct {
        const char *schema, *name, *expected;
    } cases[] = {
        { "", "add",
          "add(i:a:integer,i:b:integer=,i:c:text=) fs bigint\n"
          "add(i::text) fi text\n"
          "add(i:a:spot,v:rest:mood[]) fv set author: id,name,mood,tags,cost,twice\n" },
        { "public", "addition", "addition() fv void\n" },
        { "", "give", "give(o:a:integer,b:b:price,i:k:integer=) fv record: a,b\n" },
        { "", "list", "list(t:one:integer) fv set integer\n" },
        { "", "place", "place() fv spot: x,y\n" },
        { "My Shop", "any", "any(i::anyelement) fv anyelement\n" },
        { "", "any", "" },
        { "", "act", "act() pv void\n" },
        { "", "longest", "longest(i::text) ai text\n" },
        { "", "ad", "" },
        { "pg_catalog", "now", "" },
        { "", "", "" },
    };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct buf b = BUF_HEAP;
        const ath_function *f;
        for (uint32_t n = 0; (f = catalog_service.function(s, str_of(cases[i].schema),
                                                           str_of(cases[i].name), n)) != NULL;
             n++)
            put_function(&b, f);
        ck_assert_str_eq(buf_view(&b).p, cases[i].expected);
        buf_free(&b);
    }
}

static void check_types_of_functions(const ath_snapshot *s)
{
    const ath_function *give = catalog_service.function(s, ATH_S(""), ATH_S("give"), 0);
    const ath_function *set = catalog_service.function(s, ATH_S(""), ATH_S("add"), 2);
    const ath_relation *spot;

    ck_assert(give->column[1].kind == 'd' && give->column[1].base_type == 1700);
    ck_assert(set->argument[1].as.category == 'A' && set->argument[0].as.kind == 'c');
    ck_assert(str_is(catalog_service.type_name(s, set->argument[1].as.element), "public.mood"));
    ck_assert_ptr_eq(catalog_service.row_type(s, set->result.type),
                     catalog_service.relation(s, ATH_S(""), ATH_S("author")));
    spot = catalog_service.row_type(s, set->argument[0].as.type);
    ck_assert(spot && spot->column_count == 2 && str_is(spot->column[1].name, "y"));
    ck_assert_ptr_null(catalog_service.row_type(s, 23));
}

START_TEST(functions_are_known_by_signature)
{
    struct look k = { .fn = check_functions };

    lab_up();
    look(&k);
    k = (struct look){ .fn = check_types_of_functions, .known = UINT64_MAX };
    look(&k);
    k = (struct look){ .fn = check_marks, .known = UINT64_MAX };
    look(&k);
    ck_assert_uint_eq(k.version, 1);
    postgres_sql(pg, "CREATE FUNCTION newer() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    k = (struct look){ .known = k.version };
    look(&k);
    ck_assert_uint_eq(k.version, 2);
    lab_stop(lab);
}
END_TEST

START_TEST(tables_columns_types_and_keys_are_known)
{
    struct look k = { .known = UINT64_MAX };

    lab_up();
    look(&k);
    ck_assert_uint_eq(k.version, 0); /* none yet, and asking does not wait */
    k = (struct look){ .fn = check_columns };
    look(&k);
    ck_assert_uint_eq(k.version, 1);
    k = (struct look){ .fn = check_keys, .known = UINT64_MAX };
    look(&k);
    ck_assert_uint_eq(k.version, 1);
    lab_stop(lab);
}
END_TEST

START_TEST(a_new_table_is_found_and_a_typo_costs_little)
{
    struct look k = { .find = ATH_S("brand_new") };
    uint64_t from;

    lab_up();
    look(&k);
    ck_assert(!k.found);
    from = clock_ms();
    for (int i = 0; i < 5; i++) {
        k.known = k.version;
        look(&k);
        ck_assert(!k.found && k.version == 1); /* nothing has changed: the same one */
    }
    ck_assert_uint_lt(clock_ms() - from, 1000);
    postgres_sql(pg, "CREATE TABLE brand_new (a int)");
    k.known = k.version;
    look(&k);
    ck_assert(k.found && k.version == 2);
    postgres_sql(pg, "ALTER TABLE brand_new RENAME a TO b; DROP TABLE brand_new");
    k.known = k.version;
    look(&k);
    ck_assert(!k.found && k.version == 3);
    lab_stop(lab);
}
END_TEST

/* Whoever comes while a reading is under way is not told by that one that there is no such table: it may
 * have begun before the table was there. */
START_TEST(a_reading_that_began_before_is_not_believed)
{
    struct look k = { 0 };
    char sql[64], name[16];

    lab_up();
    postgres_sql(pg, "DO $$ BEGIN FOR i IN 1..2000 LOOP EXECUTE format('CREATE TABLE many%s (a int)', "
                     "i); END LOOP; END $$");
    look(&k);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "late%d", i);
        snprintf(sql, sizeof(sql), "CREATE TABLE %s ()", name);
        db_catalog_changed(db_client_find(ATH_S("acme"))); /* reads it all, which takes a while */
        postgres_sql(pg, sql);
        k = (struct look){ .find = str_of(name), .known = k.version };
        look(&k);
        ck_assert_msg(k.found, "%s is not found", name);
    }
    postgres_sql(pg, "DO $$ BEGIN FOR i IN 1..2000 LOOP EXECUTE format('DROP TABLE many%s', i); END "
                     "LOOP; END $$");
    lab_stop(lab);
}
END_TEST

START_TEST(many_share_one_reading)
{
    enum { N = 100 };
    struct look k[N];
    struct ask *a[N];

    lab_up();
    for (int i = 0; i < N; i++) {
        k[i] = (struct look){ .find = ATH_S("author") };
        a[i] = look_send(&k[i]);
        if (i % 10 == 3)
            ask_leave(a[i]);
    }
    for (int i = 0; i < N; i++) {
        ck_assert_msg(ask_wait(a[i], 5000), "%d hangs", i);
        ck_assert(i % 10 == 3 || (k[i].found && k[i].version == 1));
        ask_free(a[i]);
    }
    lab_stop(lab);
}
END_TEST

START_TEST(a_database_that_is_down_says_so)
{
    struct look k = { .find = ATH_S("author") };
    struct ask *a;

    lab_up();
    postgres_down(pg, "fast");
    a = look_send(&k);
    ck_assert(ask_wait(a, 8000));
    ck_assert(str_is(err_get(&a->err, "code"), "client_unavailable"));
    ask_free(a);
    postgres_up(pg);
    for (int i = 0; i < 100 && !k.found; i++) {
        a = look_send(&k);
        ck_assert(ask_wait(a, 8000));
        ask_free(a);
        usleep(50000);
    }
    ck_assert(k.found);
    lab_stop(lab);
}
END_TEST

static void mark(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

START_TEST(warming_opens_and_reads_or_fails_once)
{
    struct db_options o = lab_options();
    struct look k = { .known = UINT64_MAX };
    struct db_pool_stats stats;
    atomic_bool ready = false;
    ath_err e;

    o.pool_min = 4;
    lab = lab_start(&o, 1);
    ck_assert_int_eq(db_client_put("acme", postgres_uri(pg), "config", &e), 0);
    ck_assert_int_eq(db_client_put("gone", "postgres://u:hunter2@127.0.0.1:1/x", "config", &e), 0);
    db_warm(lab_loop(lab, 0), mark, &ready);
    for (int i = 0; i < 500 && !atomic_load(&ready); i++)
        usleep(10000);
    ck_assert(atomic_load(&ready));
    look(&k);
    ck_assert_uint_eq(k.version, 1);
    for (int i = 0; i < 100; i++) {
        db_client_stats(db_client_find(ATH_S("acme")), &stats);
        if (stats.idle == 4)
            break;
        usleep(10000);
    }
    ck_assert_uint_eq(stats.idle, 4);
    ck_assert_int_lt(db_client_usable(db_client_find(ATH_S("gone")), &e), 0);
    ck_assert(str_is(err_get(&e, "code"), "client_unavailable"));
    ck_assert_ptr_null(strstr(e.details, "hunter2"));
    lab_stop(lab);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        tables_columns_types_and_keys_are_known,
        functions_are_known_by_signature,
        a_new_table_is_found_and_a_typo_costs_little,
        a_reading_that_began_before_is_not_believed,
        many_share_one_reading,
        a_database_that_is_down_says_so,
        warming_opens_and_reads_or_fails_once,
    };
    Suite *s = suite_create("db catalog");
    TCase *c = tcase_create("catalog");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
