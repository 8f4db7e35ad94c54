/* Which processes run which workers. */
#include "server/role.h"

#include "support/check_main.h"

static struct cli cli;
static struct role role;
static ath_err err;

/* The role of a command line whose words are divided by blanks. */
static int read_role(const char *line)
{
    static char text[256], *word[16];
    int n = 0, status;

    snprintf(text, sizeof(text), "%s", line);
    for (char *p = text; *p;) {
        word[n++] = p;
        p += strcspn(p, " ");
        if (*p)
            *p++ = 0;
    }
    word[n] = NULL;
    cli_free(&cli);
    status = cli_parse(n, word, NULL, &cli, stdout, stderr);
    ck_assert_msg(status == CLI_GO, "%s", line);
    err_reset(&err);
    return role_read(&cli, &role, &err);
}

static bool runs(const char *family, uint32_t flags, bool apart)
{
    const ath_worker w = { ATH_CAP(ath_worker, ATH_CAP_WORKER, "w"), .family = family,
                           .flags = flags };

    return role_runs(&role, &w, apart);
}

START_TEST(a_process_has_the_published_kind_and_mode)
{
    static const char *const kind[][3] = {
        { "athena serve", "api_inline", "inline_runtime" },
        { "athena", "api_inline", "inline_runtime" },
        { "athena daemon", "athena_daemon", "bundled_runtime" },
        { "athena-daemon", "athena_daemon", "bundled_runtime" },
        { "athena_clone_worker", "athena_clone_worker", "dedicated_worker" },
        { "athena worker deferred", "athena_deferred_query_worker", "dedicated_worker" },
        { "athena worker upkeep", "athena_daemon_legacy_workers", "legacy_workers_only" },
        { "athena worker other", "athena_other_worker", "dedicated_worker" },
        { "athena pressure-worker", "athena_client_pressure_worker", "dedicated_worker" },
        { "athena --roles worker:a,worker:b", "athena_workers", "dedicated_worker" },
        { "athena --roles serve,worker:clone", "api_inline", "inline_runtime" },
    };

    for (size_t i = 0; i < ATH_COUNT(kind); i++) {
        ck_assert_int_eq(read_role(kind[i][0]), 0);
        ck_assert_str_eq(role.kind, kind[i][1]);
        ck_assert_str_eq(role.mode, kind[i][2]);
    }
}
END_TEST

START_TEST(a_server_runs_what_is_not_apart)
{
    read_role("athena serve");
    ck_assert(runs("a", 0, false) && runs("a", ATH_WK_LOCAL, false));
    ck_assert(!runs("clone", ATH_WK_APART, false));
    ck_assert(!runs("a", 0, true) && runs("a", ATH_WK_LOCAL, true)); /* daemon.enabled (D-21) */
}
END_TEST

START_TEST(a_daemon_runs_all_and_a_worker_its_family)
{
    read_role("athena daemon");
    ck_assert(runs("a", 0, true) && runs("clone", ATH_WK_APART, false));
    read_role("athena worker clone");
    ck_assert(runs("clone", ATH_WK_APART, true) && !runs("a", 0, false) &&
              runs("a", ATH_WK_LOCAL, false));
}
END_TEST

START_TEST(what_is_named_runs)
{
    read_role("athena --roles serve,worker:clone");
    ck_assert(role.serves && runs("clone", ATH_WK_APART, false) &&
              !runs("backup", ATH_WK_APART, false));
    ck_assert(!runs("a", 0, true));
    ck_assert(read_role("athena --roles serve,clone") < 0 && strstr(err.message, "\"clone\""));
    ck_assert(read_role("athena --roles worker:") < 0);
    ck_assert(read_role("athena daemon --roles serve") < 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("role");
    TCase *t = tcase_create("role");

    tcase_add_test(t, a_process_has_the_published_kind_and_mode);
    tcase_add_test(t, a_server_runs_what_is_not_apart);
    tcase_add_test(t, a_daemon_runs_all_and_a_worker_its_family);
    tcase_add_test(t, what_is_named_runs);
    suite_add_tcase(s, t);
    return s;
}
