/* What pg_dump really writes, of the newest PostgreSQL or the one that ATHENA_TEST_PG_BIN names:
 * packed, its rows counted, unpacked by tar and by us, restored, and counted again. */
#include "../../unit/backup/archivelab.h"

#include "support/postgres.h"

static struct postgres *pg;
static char work[64];

static const char tables_sql[] =
    "CREATE SCHEMA \"odd . schema\";"
    "CREATE TABLE \"odd . schema\".\"TABLE DATA; 1 \"\"x\"\"\" (a text, b bytea);"
    "INSERT INTO \"odd . schema\".\"TABLE DATA; 1 \"\"x\"\"\" VALUES (E'\\\\.', '\\x00ff'),"
    " (E'two\\nlines', NULL), ('', ''), (NULL, NULL), (E'tab\\tcr\\r', '\\x5c2e0a');"
    "CREATE TABLE empty (a int); CREATE TABLE nothing ();"
    "INSERT INTO nothing SELECT FROM generate_series(1, 5);"
    "CREATE TABLE part (a int, b text) PARTITION BY RANGE (a);"
    "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (1000);"
    "CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (1000) TO (5000);"
    "INSERT INTO part SELECT i, 'row ' || i FROM generate_series(0, 2999) i;"
    "CREATE TABLE large (a bigserial PRIMARY KEY, b text, c float8, d jsonb);"
    "INSERT INTO large (b, c, d) SELECT md5(i::text), sqrt(i), jsonb_build_object('i', i)"
    " FROM generate_series(1, 40000) i;"
    "CREATE TABLE long (a text); INSERT INTO long VALUES (repeat('0123456789', 300000));"
    "SELECT lo_from_bytea(0, repeat('large object', 1000)::bytea);"
    "CREATE VIEW seen AS SELECT * FROM large; CREATE MATERIALIZED VIEW kept AS SELECT a FROM large;"
    "ANALYZE";

static void cluster_up(void)
{
    pg = postgres_start(NULL);
    lab_folder(work);
    chmod(work, 0777);
    postgres_sql(pg, tables_sql);
}

static void cluster_down(void)
{
    postgres_free(pg);
    lab_remove(work);
}

ATH_PRINTF(1, 2) static void shell(const char *fmt, ...)
{
    struct buf b = BUF_HEAP;
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    ck_assert_msg(system(b.p) == 0, "%s", b.p);
    buf_free(&b);
}

/* Of database NAME into FOLDER of the work folder. */
static void dump(const char *name, const char *folder, const char *more)
{
    shell("%s/pg_dump -h %s -U postgres --format=directory --jobs=2 --no-owner --no-acl %s"
          " --file %s/%s %s",
          postgres_bin(pg), postgres_folder(pg), more, work, folder, name);
}

static uint64_t rows_of(const struct manifest *m, const char *schema, const char *name)
{
    for (size_t i = 0; i < m->tables; i++)
        if (strcmp(m->table[i].schema, schema) == 0 && strcmp(m->table[i].name, name) == 0)
            return m->table[i].rows;
    ck_abort_msg("the manifest has no table \"%s.%s\"", schema, name);
}

static void expect_tables(const struct manifest *m)
{
    ck_assert(m->rows);
    ck_assert_uint_eq(m->tables, 7);
    ck_assert_uint_eq(rows_of(m, "odd . schema", "TABLE DATA; 1 \"x\""), 5);
    ck_assert_uint_eq(rows_of(m, "public", "empty"), 0);
    ck_assert_uint_eq(rows_of(m, "public", "nothing"), 5);
    ck_assert_uint_eq(rows_of(m, "public", "part_1"), 1000);
    ck_assert_uint_eq(rows_of(m, "public", "part_2"), 2000);
    ck_assert_uint_eq(rows_of(m, "public", "large"), 40000);
    ck_assert_uint_eq(rows_of(m, "public", "long"), 1);
    ck_assert_str_eq(m->database, "postgres");
}

static void count(const char *folder, struct manifest *ret)
{
    char path[128];
    struct archive_pack p = { .rows = true };

    snprintf(path, sizeof(path), "%s/%s", work, folder);
    p.folder = str_of(path);
    ck_assert_msg(lab_count(&p) == 0, "%s", lab.why);
    *ret = p.manifest;
}

/* A dump, packed; what tar makes of it restores; and what was restored has the same rows. */
START_TEST(a_dump_is_packed_restored_and_counted)
{
    char path[128];
    struct archive_pack p = { .level = ARCHIVE_LEVEL, .rows = true };
    struct archive_unpack u = { .rows = true, .told = &p.manifest };
    struct manifest again;
    ath_err e;

    dump("postgres", "dump", "");
    snprintf(path, sizeof(path), "%s/dump", work);
    p.folder = str_of(path);
    ck_assert_msg(lab_pack(&p) == 0, "%s", lab.why);
    expect_tables(&p.manifest);
    lab_write(work, "archive", lab.output.p, lab.output.n);

    char into[128];
    snprintf(into, sizeof(into), "%s/ours", work);
    shell("mkdir %s/ours %s/tars && tar xzf %s/archive -C %s/tars", work, work, work, work);
    u.folder = str_of(into);
    lab_unpack(&u, buf_view(&lab.output));
    ck_assert_msg(lab.rc == 0, "%s", lab.why);
    shell("diff -r %s/ours/dump %s/dump && diff -r %s/tars/dump %s/dump", work, work, work, work);

    shell("%s/createdb -h %s -U postgres copy && %s/pg_restore -h %s -U postgres --dbname copy"
          " --jobs=2 --exit-on-error --no-owner --no-acl %s",
          postgres_bin(pg), postgres_folder(pg), postgres_bin(pg), postgres_folder(pg), u.dump);
    shell("%s/psql -q -h %s -U postgres copy -c 'CREATE TABLE t AS SELECT * FROM large ORDER BY b;"
          " TRUNCATE large; INSERT INTO large SELECT * FROM t; DROP TABLE t'",
          postgres_bin(pg), postgres_folder(pg));
    dump("copy", "second", "");
    count("second", &again);
    err_reset(&e);
    ck_assert_msg(manifest_compare_tables(&again, &p.manifest, &e) == 0, "%s",
                  err_get(&e, "message").p);
    manifest_free(&again);

    shell("%s/psql -q -h %s -U postgres copy -c \"UPDATE large SET b = b || 'x' WHERE a = 777\"",
          postgres_bin(pg), postgres_folder(pg));
    dump("copy", "third", "");
    count("third", &again);
    ck_assert_int_eq(manifest_compare_tables(&again, &p.manifest, &e), ATH_E_INPUT);
    ck_assert_str_eq(err_get(&e, "message").p, "table \"public.large\" has other rows");
    manifest_free(&again);
    free(u.dump);
    manifest_free(&u.manifest);
    manifest_free(&p.manifest);
}
END_TEST

START_TEST(dumps_that_are_not_compressed_have_the_same_rows)
{
    struct manifest plain, packed;
    ath_err e;

    dump("postgres", "plain", "--compress=0");
    dump("postgres", "packed", "--compress=9");
    count("plain", &plain);
    count("packed", &packed);
    expect_tables(&plain);
    err_reset(&e);
    ck_assert_int_eq(manifest_compare_tables(&plain, &packed, &e), 0);
    manifest_free(&plain);
    manifest_free(&packed);
    dump("postgres", "shape", "--schema-only");
    count("shape", &plain);
    ck_assert_uint_eq(plain.tables, 0);
    manifest_free(&plain);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("dumps");
    TCase *c = tcase_create("dumps");

    tcase_set_timeout(c, 240);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    tcase_add_test(c, a_dump_is_packed_restored_and_counted);
    tcase_add_test(c, dumps_that_are_not_compressed_have_the_same_rows);
    suite_add_tcase(s, c);
    return s;
}
