/* What the data plane builds, put before a real PostgreSQL: every statement of fetch.cases is one that
 * it takes, and our JSON of a value has the bytes of its own to_json().
 */
#include <libpq-fe.h>

#include "lib/typed.h"
#include "support/check_main.h"
#include "support/postgres.h"
#include "support/testhost.h"

static struct postgres *pg;
static PGconn *db;

static void up(void)
{
    pg = postgres_start(NULL);
    db = PQconnectdb(postgres_uri(pg));
    ck_assert_int_eq(PQstatus(db), CONNECTION_OK);
    PQclear(PQexec(db, "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'"));
}

static void down(void)
{
    PQfinish(db);
    postgres_free(pg);
}

static void run(const char *sql)
{
    PGresult *r = PQexec(db, sql);

    ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK, "%s: %s", sql, PQresultErrorMessage(r));
    PQclear(r);
}

START_TEST(our_json_has_the_bytes_of_to_json)
{
    static const char *const values[] = {
        "'-32768'::int2", "'9223372036854775807'::int8", "'4294967295'::oid", "'1.10'::numeric",
        "'NaN'::numeric", "'18446744073709551616.000'::numeric", "'1.5'::float4", "'3.4028235e38'::float4",
        "'0.1'::float8", "'1e300'::float8", "'1e-10'::float8", "'-Infinity'::float8", "'NaN'::float8",
        "true", "false", "E'line1\\nq\"uo\\\\te\\tü€\\u0001\\b\\f\\r'::text", "''::text",
        "'vc'::varchar", "'ab'::char(4)", "'nm'::name", "'AAAAAAAA-0000-4000-8000-00000000000A'::uuid",
        "'2000-02-29'::date", "'infinity'::date", "'0044-03-15 BC'::date", "'12024-01-01'::date",
        "'23:59:59.123456'::time", "'10:11:12+02'::timetz", "'2024-05-05 05:05:05.000005'::timestamp",
        "'-infinity'::timestamp", "'0044-03-15 01:02:03 BC'::timestamp", "'2024-05-05 07:05:05+02'::timestamptz",
        "'infinity'::timestamptz", "'0044-03-15 00:00:00+00 BC'::timestamptz",
        "'9999-12-31 23:59:59.999999+00'::timestamptz", "'1 day 02:00:00'::interval",
        "'-1 mons +3 days'::interval", "'\\x00ff10'::bytea", "'{\"b\": 1.10, \"a\": [1,  2], \"b\": 2}'::json",
        "'{\"b\": 1.10, \"a\": [1,  2]}'::jsonb", "'null'::jsonb", "'10.1.2.3/8'::inet", "'10.1.0.0/16'::cidr",
        "'08:00:2b:01:02:03'::macaddr", "'08:00:2b:01:02:03:04:05'::macaddr8", "'1234.5'::money", "b'1010'",
        "b'101'::varbit", "'a fat cat'::tsvector", "'fat & cat'::tsquery", "'(1,2)'::point",
        "'((0,0),(1,1))'::box", "'[1,10)'::int4range", "'[\"2024-01-01 00:00:00+00\",)'::tstzrange",
        "'{1,NULL,3}'::int[]", "'{}'::int[]", "'{{1,2},{3,4}}'::int[]", "'[2:3]={7,8}'::int[]",
        "'{\"a\",\"b,c\",\"q\\\"x\",NULL,\"NULL\",\"\",\"{}\"}'::text[]", "'{aaaaaaaa-0000-4000-8000-00000000000a}'::uuid[]",
        "'{\"2024-01-01 00:00:00+00\"}'::timestamptz[]", "array['{\"x\":1}','null']::jsonb[]", "'{t,f}'::bool[]",
        "'{1.50,NaN}'::numeric[]", "'{(1,1),(0,0);(3,3),(2,2)}'::box[]", "'{1e300,-Infinity}'::float8[]",
        "'mid'::mood", "'7'::positive", "'16/B374D848'::pg_lsn", "'pg_class'::regclass", "'{\"\\\\x00ff\"}'::bytea[]",
        "'c'::\"char\"",
    };

    run("CREATE TYPE mood AS ENUM ('low', 'mid'); CREATE DOMAIN positive AS int CHECK (value > 0)");
    for (size_t i = 0; i < ATH_COUNT(values); i++) {
        struct buf b = BUF_HEAP, sql = BUF_HEAP;
        PGresult *r;
        buf_printf(&sql, "SELECT v, to_json(v)::text FROM (SELECT %s AS v) AS x", values[i]);
        r = PQexec(db, sql.p);
        ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK, "%s", PQresultErrorMessage(r));
        buf_typed(&b, typed_of(PQftype(r, 0)), str_of(PQgetvalue(r, 0, 0)));
        ck_assert_msg(strcmp(b.p, PQgetvalue(r, 0, 1)) == 0, "%s: %s, but %s", values[i], b.p, PQgetvalue(r, 0, 1));
        PQclear(r);
        buf_free(&b);
        buf_free(&sql);
    }
}
END_TEST

/* ---- the statements ---- */

static const char tables[] =
    "CREATE TYPE public.pair AS (a int, b text); CREATE SCHEMA private;"
    "CREATE TABLE kinds (id int PRIMARY KEY, title text);"
    "CREATE TABLE items (id int PRIMARY KEY, name text, note text, price numeric, qty int, active bool, kind_id int, made_at timestamptz);"
    "CREATE TABLE keyed (id uuid PRIMARY KEY, label text, stamp timestamptz);"
    "CREATE TABLE all_types (id int PRIMARY KEY, c_mood mood, c_pair pair, c_json json, c_jsonb jsonb, c_int_arr int[], c_text_arr text[],"
    " c_bytea bytea, c_inet inet, c_int4range int4range, c_date date, c_ts timestamp, c_bool bool, c_int8 int8, c_varchar varchar, c_jsonb_arr jsonb[]);"
    "CREATE TABLE \"Mixed\" (\"Id\" int PRIMARY KEY, \"fullName\" text, \"order\" int);"
    "CREATE TABLE owners (id int PRIMARY KEY, name text, boss_id int);"
    "CREATE TABLE projects (id int PRIMARY KEY, name text, owner_id int);"
    "CREATE TABLE tasks (id int PRIMARY KEY, project_id int, title text, done bool);"
    "CREATE TABLE labels (id int PRIMARY KEY, word text);"
    "CREATE TABLE task_labels (task_id int, label_id int);"
    "CREATE TABLE rooms (id int PRIMARY KEY, room_id int, data jsonb);"
    "CREATE TABLE folders (id int PRIMARY KEY, parent_id int, name text);"
    "CREATE TABLE notes (id int PRIMARY KEY, owner_id int, body text);"
    "CREATE TABLE mails (id int PRIMARY KEY, from_id int, to_id int);"
    "CREATE TABLE private.items (id int PRIMARY KEY, secret text);"
    "CREATE TABLE \"we\"\"ird\" (id int PRIMARY KEY, \"my\" text);"
    "INSERT INTO owners VALUES (1, 'Ann', NULL), (2, 'Bob', 1);"
    "INSERT INTO projects VALUES (1, 'Garden', 1), (2, 'Zoo', 2), (3, 'Lab', NULL);"
    "INSERT INTO tasks VALUES (1, 1, 'Plant', false), (2, 1, 'Water', true), (3, 2, 'Feed', false);"
    "INSERT INTO labels VALUES (1, 'x'), (2, 'y'); INSERT INTO task_labels VALUES (1, 1), (1, 2), (3, 2);";

struct statement {
    char sql[65536], plan[65536], value[64][65536];
    Oid type[64];
    const char *param[64];
    int n;
};

static void try_one(const struct statement *s, const char *sql)
{
    PGresult *r = PQexecParams(db, sql, s->n, s->type, s->param, NULL, NULL, 0);

    ck_assert_msg(PQresultStatus(r) == PGRES_TUPLES_OK, "%s\n%s", sql, PQresultErrorMessage(r));
    PQclear(r);
}

static void try_both(struct statement *s)
{
    if (s->sql[0])
        try_one(s, s->sql);
    if (s->plan[0])
        try_one(s, s->plan);
    s->sql[0] = s->plan[0] = 0;
    s->n = 0;
}

static void keep(char *to, const char *text) /* both are parts of equal lines */
{
    memmove(to, text, strlen(text) + 1);
}

static void take_line(struct statement *s, char *line)
{
    unsigned number, type;
    int at = 0;

    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "  = ", 4) == 0) {
        keep(s->sql, line + 4);
    } else if (strncmp(line, "  + ", 4) == 0) {
        keep(s->plan, line + 4);
    } else if (sscanf(line, "  $%u %u %n", &number, &type, &at) == 2) {
        ck_assert_uint_eq(number, (unsigned)s->n + 1);
        s->type[s->n] = type >= 16384 ? 0 : type; /* types of the made-up catalogue */
        keep(s->value[s->n], line + at);
        s->param[s->n] = s->value[s->n];
        s->n++;
    }
}

START_TEST(every_statement_of_the_case_file_runs)
{
    static struct statement s;
    static char line[65536], path[4096];
    ath_str here = str_of(__FILE__);
    FILE *f;

    while (here.n && here.p[here.n - 1] != '/')
        here.n--;
    snprintf(path, sizeof(path), "%.*s../unit/dataplane/fetch.cases", STR_ARG(here));
    f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    run(tables);
    while (fgets(line, sizeof(line), f)) {
        if (line[0] != ' ')
            try_both(&s);
        else
            take_line(&s, line);
    }
    try_both(&s);
    fclose(f);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("reads");
    TCase *c = tcase_create("reads");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, up, down);
    tcase_add_test(c, our_json_has_the_bytes_of_to_json);
    tcase_add_test(c, every_statement_of_the_case_file_runs);
    suite_add_tcase(s, c);
    return s;
}
