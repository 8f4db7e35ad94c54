/* What pg_dump writes, and the summary of it. */
#include "backup/dumpsaid.h"
#include "support/check_main.h"

static struct dumpsaid said;

static void line(const char *text)
{
    dumpsaid_line(&said, str_of(text));
}

static ath_str summary(struct buf *b, int status, int signal)
{
    dumpsaid_summary(&said, status, signal, b);
    return buf_view(b);
}

static bool holds(ath_str s, const char *part)
{
    return memmem(s.p, s.n, part, strlen(part)) != NULL;
}

START_TEST(errors_stand_out)
{
    struct buf b = BUF_HEAP;

    said = (struct dumpsaid){ 0 };
    line("pg_dump: warning: could not find referenced extension 12345");
    line("pg_dump: warning: could not find referenced extension 12346");
    line("pg_dump: warning: there are circular foreign-key constraints");
    line("pg_dump: error: query failed: ERROR:  permission denied for table t");
    line("pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE");
    ck_assert(str_is(summary(&b, 1, 0),
                     "pg_dump exited with code 1. Suppressed 2 missing-extension warnings. Warnings: "
                     "pg_dump: warning: there are circular foreign-key constraints Errors: pg_dump: "
                     "error: query failed: ERROR:  permission denied for table t"));
    buf_free(&b);
}
END_TEST

START_TEST(without_errors_the_output_counts)
{
    struct buf b = BUF_HEAP;

    said = (struct dumpsaid){ 0 };
    line("something odd");
    ck_assert(str_is(summary(&b, 0, 9), "pg_dump was ended by signal 9. Output: something odd"));
    buf_free(&b);
}
END_TEST

START_TEST(an_orphaned_role_is_hinted_at)
{
    struct buf b = BUF_HEAP;

    said = (struct dumpsaid){ 0 };
    line("pg_dump: error: role with OID 16384 does not exist");
    ck_assert_uint_eq(said.orphan, 16384);
    ck_assert(holds(summary(&b, 1, 0), "Detected orphaned role reference (OID 16384)"));
    buf_free(&b);
    said = (struct dumpsaid){ 0 };
    line("role with OID x does not exist");
    ck_assert_uint_eq(said.orphan, 0);
}
END_TEST

START_TEST(what_ends_a_try_is_seen)
{
    said = (struct dumpsaid){ 0 };
    line("connection to server at \"h\", port 5432 failed: FATAL:  no pg_hba.conf entry for host \"x\", "
         "user \"u\", database \"d\", no encryption");
    ck_assert(said.wants_ssl && !said.disk_full);
    line("pg_dump: error: could not write to output file: No space left on device");
    ck_assert(said.disk_full);
}
END_TEST

START_TEST(long_output_keeps_its_end_between_characters_D48)
{
    struct buf b = BUF_HEAP, l = BUF_HEAP;
    ath_str s;

    said = (struct dumpsaid){ 0 };
    for (int i = 0; i < 100; i++) {
        buf_reset(&l);
        buf_lit(&l, "pg_dump: error: ");
        for (int j = 0; j < 500; j++)
            buf_lit(&l, "\xc3\xa4\xe2\x82\xac");
        buf_printf(&l, " end %d", i);
        dumpsaid_line(&said, buf_view(&l));
    }
    s = summary(&b, 1, 0);
    ck_assert_uint_le(s.n, DUMPSAID_MOST);
    ck_assert(str_utf8(s) && str_ends(s, " end 99"));
    ck_assert(memchr(s.p, '?', s.n) == NULL);
    buf_free(&b);
    buf_free(&l);
}
END_TEST

SUITE("dumpsaid", errors_stand_out, without_errors_the_output_counts, an_orphaned_role_is_hinted_at,
      what_ends_a_try_is_seen, long_output_keeps_its_end_between_characters_D48)
