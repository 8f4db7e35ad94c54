/* Records of backups in a real PostgreSQL: writers at the same time never fork the chain, and whatever
 * is done to it behind our back is found. */
#include "backup/record.h"

#include "io/secrets.h"
#include "plugin/host.h"
#include "support/check_main.h"
#include "support/dblab.h"
#include "support/postgres.h"
#include "support/testhost.h"

enum { LOOPS = 3, EACH = 15 };

extern const char sql_logging_0010_backup_proof[];

static struct postgres *pg;
static struct lab *lab;

static void cluster_up(void)
{
    ath_err e;

    pg = postgres_start(NULL);
    err_reset(&e);
    ck_assert_int_eq(
        secrets_start(ATH_S("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), &e),
        0);
    ath_host_ = host_table();
}

static void cluster_down(void)
{
    postgres_free(pg);
}

static void lab_up(void)
{
    struct db_options o = lab_options();
    ath_err e;

    o.control_client = "acme";
    lab = lab_start(&o, LOOPS);
    ck_assert_msg(db_client_put("acme", postgres_uri(pg), "config", &e) == 0, "%s", e.message);
    postgres_sql(pg, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    postgres_sql(pg, sql_logging_0010_backup_proof);
}

static void lab_down(void)
{
    lab_stop(lab);
}

/* ---- writers ---- */

struct writer {
    struct ask *ask;
    struct record record;
    char backup[16];
    unsigned left;
    uint64_t last;
};

static int append(ath_task *t, struct writer *w, ath_err *e);

static int appended(ath_task *t, const ath_done *d, ath_err *e)
{
    struct writer *w = d->arg;

    if (d->rc < 0)
        return d->rc;
    ck_assert_uint_eq(d->bytes.n, RECORD_HEX);
    ck_assert_uint_gt(d->count, w->last);
    w->last = d->count;
    if (--w->left)
        return append(t, w, e);
    ask_end(w->ask);
    return 0;
}

static int append(ath_task *t, struct writer *w, ath_err *e)
{
    return record_append(t, &secrets_service, &w->record, appended, w, e);
}

static int write_begin(ath_task *t, void *arg, ath_err *e)
{
    return append(t, ((struct ask *)arg)->arg, e);
}

static void write_records(unsigned writers, unsigned each)
{
    struct writer w[8] = { 0 };

    for (unsigned i = 0; i < writers; i++) {
        snprintf(w[i].backup, sizeof(w[i].backup), "backup-%u", i);
        w[i].ask = ask_new("acme", 0, "");
        w[i].ask->instead = write_begin;
        w[i].ask->arg = &w[i];
        w[i].left = each;
        w[i].record = (struct record){ .kind = "created",
                                       .backup_id = str_of(w[i].backup),
                                       .key = ATH_S("backups/\"shop\"/x.tar.gz"),
                                       .job_id = i % 2 ? ATH_S("41") : ATH_S(""),
                                       .facts = ATH_S("{\"b\": 1,\n \"a\":\t\"\xc3\xa4\"}") };
        lab_send(lab, i % LOOPS, &w[i].ask, 1);
    }
    for (unsigned i = 0; i < writers; i++) {
        ck_assert(ask_wait(w[i].ask, 60000));
        ck_assert_msg(w[i].ask->rc == 0, "%s", w[i].ask->err.message);
        ask_free(w[i].ask);
    }
}

/* ---- the verdict ---- */

static struct record_verdict verdict;
static ath_str only;

static int verified(ath_task *t, const ath_done *d, ath_err *e)
{
    (void)t, (void)e;
    if (d->rc < 0)
        return d->rc;
    ask_end(d->arg);
    return 0;
}

static int verify_begin(ath_task *t, void *arg, ath_err *e)
{
    return record_verify(t, &secrets_service, only, &verdict, verified, arg, e);
}

static void verify(const char *backup)
{
    struct ask *a = ask_new("acme", 0, "");

    only = str_of(backup);
    a->instead = verify_begin;
    lab_send(lab, 0, &a, 1);
    ck_assert(ask_wait(a, 60000));
    ck_assert_msg(a->rc == 0, "%s", a->err.message);
    ask_free(a);
}

static void expect(const char *backup, uint64_t records, uint64_t broken, const char *why)
{
    verify(backup);
    ck_assert_msg(verdict.broken == broken && strstr(verdict.why, why) != NULL, "%llu: %s",
                  (unsigned long long)verdict.broken, verdict.why);
    ck_assert_uint_eq(verdict.records, records);
}

/* As somebody does who may do anything in the database. */
static void tamper(const char *sql)
{
    postgres_sql(pg, "ALTER TABLE athena_backup_records DISABLE TRIGGER ALL");
    postgres_sql(pg, sql);
}

START_TEST(writers_at_the_same_time_make_one_chain)
{
    char head[80];

    expect("", 0, 0, "");
    write_records(6, EACH);
    expect("", 6 * EACH, 0, "");
    postgres_value(pg, "SELECT digest FROM athena_backup_records ORDER BY seq DESC LIMIT 1", head,
                   sizeof(head));
    ck_assert_str_eq(verdict.head, head);
    ck_assert_uint_eq(verdict.unsealed, 0);
    expect("backup-1", EACH, 0, "");
    ck_assert_int_eq(postgres_number(pg, "SELECT count(*) FROM athena_backup_records r JOIN "
                                         "athena_backup_records p ON p.digest = r.previous"),
                     6 * EACH - 1);
    ck_assert_int_eq(postgres_number(pg, "SELECT count(*) FROM athena_backup_signers"
                                         " WHERE sealed_key NOT LIKE 'enc:v1:%'"),
                     0);
    ck_assert_int_eq(postgres_number(pg, "SELECT count(*) FROM athena_backup_records"
                                         " WHERE facts->>'a' = chr(228)"),
                     6 * EACH);
}
END_TEST

START_TEST(rows_are_not_changed_by_mistake)
{
    static const char *const sql[] = { "UPDATE athena_backup_records SET key = 'x'",
                                       "DELETE FROM athena_backup_records",
                                       "TRUNCATE athena_backup_records" };
    char text[256];

    write_records(1, 1);
    for (size_t i = 0; i < ATH_COUNT(sql); i++) {
        snprintf(text, sizeof(text), "DO $$ BEGIN %s; EXCEPTION WHEN insufficient_privilege THEN"
                                     " RETURN; END $$", sql[i]);
        postgres_sql(pg, text);
    }
    expect("", 1, 0, "");
}
END_TEST

START_TEST(what_was_done_to_the_chain_is_found)
{
    static const struct {
        const char *sql, *why;
        uint64_t broken;
    } done[] = {
        { "UPDATE athena_backup_records SET facts = '{\"b\": 2}' WHERE seq = 7",
          "record 7 is not what was signed", 7 },
        { "UPDATE athena_backup_records SET at = at + interval '1 microsecond' WHERE seq = 7",
          "record 7 is not what was signed", 7 },
        { "UPDATE athena_backup_records SET kind = 'drilled' WHERE seq = 7",
          "record 7 is not what was signed", 7 },
        { "UPDATE athena_backup_records SET job_id = 42 WHERE seq = 7",
          "record 7 is not what was signed", 7 },
        { "DELETE FROM athena_backup_records WHERE seq = 7", "record 7 is missing", 7 },
        { "DELETE FROM athena_backup_records WHERE seq = 1", "record 1 is missing", 1 },
        { "UPDATE athena_backup_records SET signature = (SELECT signature FROM"
          " athena_backup_records WHERE seq = 6) WHERE seq = 7",
          "record 7 has a signature that does not hold", 7 },
        { "INSERT INTO athena_backup_signers SELECT 'forged', now() - interval '1 day', public_key,"
          " repeat('ab', 32) FROM athena_backup_signers LIMIT 1;"
          "UPDATE athena_backup_records SET signer = 'forged' WHERE seq = 7",
          "record 7 is not what was signed", 7 },
        { "UPDATE athena_backup_signers SET public_key = repeat('ab', 32)",
          "record 1 is signed by a key that is not ours", 1 },
        { "UPDATE athena_backup_signers SET sealed_key = repeat('ab', 32)",
          "record 1 is signed by a key that is not ours", 1 },
    };

    for (size_t i = 0; i < ATH_COUNT(done); i++) {
        tamper("TRUNCATE athena_backup_signers CASCADE");
        write_records(1, 10);
        tamper(done[i].sql);
        expect("", done[i].broken - 1, done[i].broken, done[i].why);
    }
    ck_assert_uint_eq(verdict.unsealed, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("records");
    TCase *c = tcase_create("records");

    tcase_set_timeout(c, 240);
    tcase_add_unchecked_fixture(c, cluster_up, cluster_down);
    tcase_add_checked_fixture(c, lab_up, lab_down);
    tcase_add_test(c, writers_at_the_same_time_make_one_chain);
    tcase_add_test(c, rows_are_not_changed_by_mistake);
    tcase_add_test(c, what_was_done_to_the_chain_is_found);
    suite_add_tcase(s, c);
    return s;
}
