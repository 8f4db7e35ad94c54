/* plugins/shared/backup/range: every form of the headers Range, If-Range and If-None-Match (D-40). */
#include "backup/range.h"
#include "support/check_main.h"

static void part(const char *header, uint64_t size, uint64_t from, uint64_t length)
{
    struct range r = range_of(str_of(header), size);

    ck_assert_msg(r.kind == RANGE_PART, "%s", header);
    ck_assert_msg(r.from == from && r.length == length, "%s: %llu, %llu", header,
                  (unsigned long long)r.from, (unsigned long long)r.length);
}

START_TEST(parts)
{
    part("bytes=0-0", 100, 0, 1);
    part("bytes=0-99", 100, 0, 100);
    part("bytes=0-100", 100, 0, 100);
    part("bytes=10-18446744073709551615", 100, 10, 90);
    part("bytes=99-", 100, 99, 1);
    part("bytes=0-", 100, 0, 100);
    part("bytes=-1", 100, 99, 1);
    part("bytes=-100", 100, 0, 100);
    part("bytes=-101", 100, 0, 100);
    part("BYTES= 5 - 7 ", 100, 5, 3);
    part("bytes=4294967296-4294967297", 5000000000u, 4294967296u, 2);
}
END_TEST

START_TEST(none)
{
    static const char *const headers[] = { "bytes=100-", "bytes=100-200", "bytes=-0" };

    for (size_t i = 0; i < ATH_COUNT(headers); i++)
        ck_assert_int_eq(range_of(str_of(headers[i]), 100).kind, RANGE_NONE);
    ck_assert_int_eq(range_of(ATH_S("bytes=0-"), 0).kind, RANGE_NONE);
    ck_assert_int_eq(range_of(ATH_S("bytes=-5"), 0).kind, RANGE_NONE);
}
END_TEST

START_TEST(what_may_be_ignored)
{
    static const char *const headers[] = { "",
                                           "bytes",
                                           "bytes=",
                                           "bytes=-",
                                           "bytes=x-1",
                                           "bytes=1-x",
                                           "bytes=2-1",
                                           "bytes=1-2,4-5",
                                           "bytes=--1",
                                           "lines=1-2",
                                           "bytes=18446744073709551616-",
                                           "bytes=+1-2" };

    for (size_t i = 0; i < ATH_COUNT(headers); i++) {
        struct range r = range_of(str_of(headers[i]), 100);
        ck_assert_msg(r.kind == RANGE_WHOLE && r.from == 0 && r.length == 100, "%s", headers[i]);
    }
}
END_TEST

START_TEST(tags)
{
    ath_str etag = ATH_S("\"a1\"");

    ck_assert(range_if(ATH_S(""), etag) && range_if(ATH_S(" \"a1\" "), etag));
    ck_assert(!range_if(ATH_S("\"a2\""), etag) && !range_if(ATH_S("W/\"a1\""), etag));
    ck_assert(!range_if(ATH_S("Tue, 05 Jan 2027 10:00:00 GMT"), etag));
    ck_assert(!range_if(ATH_S("W/\"a1\""), ATH_S("W/\"a1\"")));
    ck_assert(!range_matches(ATH_S(""), etag) && range_matches(ATH_S("*"), etag));
    ck_assert(range_matches(ATH_S("\"x\", W/\"a1\""), etag));
    ck_assert(!range_matches(ATH_S("\"a\", \"1\""), etag));
    ck_assert(!range_matches(ATH_S("\"a1\""), ATH_S("")));
}
END_TEST

SUITE("range", parts, none, what_may_be_ignored, tags)
