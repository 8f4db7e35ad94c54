/* core/jobs/queue.h: what needs no database. The statements are tested with one. */
#include <string.h>

#include "jobs/queue.h"
#include "lib/text.h"
#include "support/check_main.h"

START_TEST(elements_of_arrays_are_quoted)
{
    struct buf b = BUF_HEAP;

    buf_char(&b, '{');
    array_add(&b, str_of("plain"));
    array_add(&b, str_of("a \"b\" \\ c, {d}"));
    array_add(&b, (ath_str){ 0 });
    array_add(&b, str_of("NULL"));
    array_add(&b, str_of(""));
    buf_char(&b, '}');
    ck_assert_str_eq(b.p, "{\"plain\",\"a \\\"b\\\" \\\\ c, {d}\",NULL,\"NULL\",\"\"}");
    buf_free(&b);
}
END_TEST

START_TEST(words_that_a_family_lacks_have_others_in_their_place)
{
    ath_queue q = { .waiting = "queued", .dead = "dead_letter" };

    ck_assert_str_eq(queue_state_again(&q), "queued");
    ck_assert_str_eq(queue_state_canceled(&q), "dead_letter");
    q.again = "failed_retryable";
    q.canceled = "cancelled";
    ck_assert_str_eq(queue_state_again(&q), "failed_retryable");
    ck_assert_str_eq(queue_state_canceled(&q), "cancelled");
}
END_TEST

SUITE("jobs.queue", elements_of_arrays_are_quoted,
      words_that_a_family_lacks_have_others_in_their_place)
