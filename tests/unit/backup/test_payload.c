/* plugins/shared/backup/payload: rows of the published server are read, ours come back as they were
 * written, and what might narrow a job is never ignored. */
#include "backup/payload.h"

#include "base/arena.h"
#include "base/err.h"
#include "support/check_main.h"
#include "support/testhost.h"

static ath_arena arena;
static ath_err error;

static int reads(const char *json, struct backup_payload *ret)
{
    return payload_read(&arena, str_of(json), ret, &error);
}

START_TEST(published_rows_are_read)
{
    struct backup_payload p;

    ck_assert_int_eq(reads("{\"kind\":\"backup\",\"client_name\":\"shop\",\"pg_uri\":null,"
                           "\"label\":null,\"timeout_seconds\":5,\"execution_daemon_id\":null}",
                           &p),
                     0);
    ck_assert_int_eq(p.kind, PAYLOAD_BACKUP);
    ck_assert_uint_eq(p.timeout_seconds, PAYLOAD_TIMEOUT_LEAST);
    ck_assert(!p.repair_roles);
    ck_assert_int_eq(
        reads("{\"kind\":\"restore\",\"client_name\":\"custom\",\"key\":\"b/k.tar.gz\","
              "\"pg_uri\":\"postgres://u:p@h/d\",\"timeout_seconds\":3600,"
              "\"execution_daemon_id\":null,\"recovery_strategy\":\"schema_heal\","
              "\"pg_dump_override\":null,\"pg_restore_override\":\"/x/pg_restore\"}",
              &p),
        0);
    ck_assert(p.repair_roles && !p.in_place && !p.allow_control_plane && !p.keep_given);
    ck_assert(str_is(p.pg_restore_override, "/x/pg_restore"));
}
END_TEST

START_TEST(what_is_written_is_read)
{
    struct backup_payload p = { .kind = PAYLOAD_RESTORE,
                                .in_place = true,
                                .single_transaction = true,
                                .keep_given = true,
                                .keep_hours = 0,
                                .timeout_seconds = 120,
                                .client_name = ATH_S("shop"),
                                .key = ATH_S("b/\"quoted\".tar.gz") },
                          back;
    struct buf b = BUF_ARENA(&arena);

    payload_write(&b, &p);
    ck_assert_int_eq(payload_read(&arena, buf_view(&b), &back, &error), 0);
    ck_assert(back.in_place && back.single_transaction && !back.allow_control_plane);
    ck_assert(back.keep_given && back.keep_hours == 0 && back.timeout_seconds == 120);
    ck_assert(str_eq(back.key, p.key) && str_eq(back.client_name, p.client_name));
}
END_TEST

static const struct {
    const char *json, *says;
} refused[] = {
    { "[]", "it is no object" },
    { "{\"kind\":\"restore\",", "Invalid queued backup job payload: " },
    { "{\"kind\":\"clone\",\"client_name\":\"a\"}", "\"kind\" is not backup" },
    { "{\"kind\":\"backup\"}", "it has no client_name" },
    { "{\"kind\":\"restore\",\"client_name\":\"a\"}", "it has no key" },
    { "{\"kind\":\"prove\",\"client_name\":\"a\",\"key\":\"\"}", "it has no key" },
    { "{\"kind\":\"backup\",\"client_name\":\"a\",\"only\":1}", "unknown member \"only\"" },
    { "{\"kind\":\"backup\",\"client_name\":\"a\",\"key\":\"k\"}", "unknown member \"key\"" },
    { "{\"kind\":\"drill\",\"client_name\":\"a\",\"key\":\"k\",\"allow_control_plane\":true}",
      "unknown member \"allow_control_plane\"" },
    { "{\"kind\":\"restore\",\"client_name\":\"a\",\"key\":\"k\",\"in_place\":true}",
      "unknown member \"in_place\"" },
    { "{\"kind\":\"restore\",\"client_name\":\"a\",\"key\":\"k\",\"mode\":\"inplace\"}",
      "\"mode\" is not swap or in_place" },
    { "{\"kind\":\"restore\",\"client_name\":\"a\",\"key\":\"k\",\"keep_hours\":-1}",
      "\"keep_hours\" is not" },
    { "{\"kind\":\"restore\",\"client_name\":\"a\",\"undo_of\":\"7\"}", "\"undo_of\" is not" },
    { "{\"kind\":\"restore\",\"client_name\":\"a\",\"key\":\"k\",\"single_transaction\":1}",
      "\"single_transaction\" is not true or false" },
    { "{\"kind\":\"backup\",\"client_name\":7}", "\"client_name\" is not a text" },
};

START_TEST(nothing_is_ignored)
{
    struct backup_payload p;

    ck_assert_int_eq(reads(refused[_i].json, &p), ATH_E_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, refused[_i].says));
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("backup.payload");
    TCase *t = tcase_create("payload");

    tcase_add_test(t, published_rows_are_read);
    tcase_add_test(t, what_is_written_is_read);
    tcase_add_loop_test(t, nothing_is_ignored, 0, ATH_COUNT(refused));
    suite_add_tcase(s, t);
    return s;
}
