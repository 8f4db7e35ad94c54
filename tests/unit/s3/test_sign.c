/* plugins/shared/s3/sign: Amazon's published examples of signature version 4 ("Authenticating
 * Requests: Using the Authorization Header" and "... Query Parameters" of the S3 reference), and
 * one of its signature test suite. */
#include "s3/sign.h"
#include "support/check_main.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static struct sign example(const char *method, const char *path, const char *query,
                           const ath_pair *header, uint32_t n)
{
    return (struct sign){ .method = method,
                          .path = str_of(path),
                          .query = str_of(query),
                          .header = header,
                          .header_count = n,
                          .payload = ATH_S(EMPTY),
                          .time = "20130524T000000Z",
                          .region = ATH_S("us-east-1"),
                          .service = "s3",
                          .access = ATH_S("AKIAIOSFODNN7EXAMPLE"),
                          .secret = ATH_S("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY") };
}

#define HOST                                                                                       \
    {                                                                                              \
        ATH_S("host"), ATH_S("examplebucket.s3.amazonaws.com")                                     \
    }
#define DATE                                                                                       \
    {                                                                                              \
        ATH_S("x-amz-date"), ATH_S("20130524T000000Z")                                             \
    }
#define SHA(of)                                                                                    \
    {                                                                                              \
        ATH_S("x-amz-content-sha256"), ATH_S(of)                                                   \
    }

static void check(const struct sign *s, const char *names, const char *signature)
{
    struct buf b = BUF_HEAP, want = BUF_HEAP;

    buf_printf(
        &want,
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=%s,Signature=%s",
        names, signature);
    sign_authorization(s, &b);
    ck_assert_str_eq(b.p, want.p);
    buf_free(&b);
    buf_free(&want);
}

START_TEST(an_object_is_got)
{
    const ath_pair header[] = { DATE, { ATH_S("range"), ATH_S("bytes=0-9") }, SHA(EMPTY), HOST };
    struct sign s = example("GET", "/test.txt", "", header, 4);

    check(&s, "host;range;x-amz-content-sha256;x-amz-date",
          "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}
END_TEST

START_TEST(an_object_is_put)
{
#define BODY "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    const ath_pair header[] = { { ATH_S("date"), ATH_S("Fri, 24 May 2013 00:00:00 GMT") },
                                HOST,
                                DATE,
                                { ATH_S("x-amz-storage-class"), ATH_S("REDUCED_REDUNDANCY") },
                                SHA(BODY) };
    struct sign s = example("PUT", "/test%24file.text", "", header, 5);
    char digest[SIGN_HEX];

    sign_digest(ATH_S("Welcome to Amazon S3."), digest);
    ck_assert_str_eq(digest, BODY);
    s.payload = ATH_S(BODY);
    check(&s, "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
          "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}
END_TEST

START_TEST(a_bucket_is_asked)
{
    const ath_pair header[] = { HOST, DATE, SHA(EMPTY) };
    struct sign lifecycle = example("GET", "/", "lifecycle=", header, 3);
    struct sign list = example("GET", "/", "max-keys=2&prefix=J", header, 3);

    check(&lifecycle, "host;x-amz-content-sha256;x-amz-date",
          "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    check(&list, "host;x-amz-content-sha256;x-amz-date",
          "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}
END_TEST

START_TEST(a_link_is_made)
{
    const ath_pair header[] = { HOST };
    struct sign s = example("GET", "/test.txt", "", header, 1);
    struct buf b = BUF_HEAP;

    s.payload = SIGN_UNSIGNED;
    sign_link(&s, 86400, ATH_S(""), &b);
    ck_assert_str_eq(
        b.p, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
             "us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
             "X-Amz-SignedHeaders=host&X-Amz-Signature="
             "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    buf_free(&b);
}
END_TEST

/* The suite's own key, service and time. */
static void check_suite(struct sign *s, const char *signature)
{
    struct buf b = BUF_HEAP;

    s->time = "20150830T123600Z";
    s->service = "service";
    s->access = ATH_S("AKIDEXAMPLE");
    s->secret = ATH_S("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    sign_authorization(s, &b);
    ck_assert_msg(strstr(b.p, signature) != NULL, "%s is not in %s", signature, b.p);
    buf_free(&b);
}

START_TEST(the_suite_agrees)
{
    const ath_pair header[] = { { ATH_S("x-amz-date"), ATH_S("20150830T123600Z") },
                                { ATH_S("host"), ATH_S("example.amazonaws.com") } };
    struct sign vanilla = example("GET", "/", "", header, 2);
    struct sign query = example("GET", "/", "Param1=value1&Param2=value2", header, 2);

    check_suite(&vanilla, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    check_suite(&query, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
}
END_TEST

START_TEST(blanks_of_a_value_count_once)
{
    const ath_pair wide[] = { HOST, DATE, SHA(EMPTY), { ATH_S("x-a"), ATH_S("  a   b ") } };
    const ath_pair close[] = { HOST, DATE, SHA(EMPTY), { ATH_S("x-a"), ATH_S("a b") } };
    struct sign one = example("GET", "/", "", wide, 4), two = example("GET", "/", "", close, 4);
    struct buf a = BUF_HEAP, b = BUF_HEAP;

    sign_authorization(&one, &a);
    sign_authorization(&two, &b);
    ck_assert_str_eq(a.p, b.p);
    buf_free(&a);
    buf_free(&b);
}
END_TEST

START_TEST(bytes_are_encoded)
{
    struct buf b = BUF_HEAP;

    sign_encode(&b, ATH_S("a/b c+d%e~f-g_h.i\xc3\xbc*'()!"), true);
    ck_assert_str_eq(b.p, "a/b%20c%2Bd%25e~f-g_h.i%C3%BC%2A%27%28%29%21");
    buf_reset(&b);
    sign_encode(&b, ATH_S("a/b"), false);
    ck_assert_str_eq(b.p, "a%2Fb");
    buf_free(&b);
}
END_TEST

START_TEST(keys_that_are_lent_are_part_of_a_link)
{
    const ath_pair header[] = { HOST };
    struct sign s = example("GET", "/test.txt", "", header, 1);
    struct buf b = BUF_HEAP;

    s.payload = SIGN_UNSIGNED;
    sign_link(&s, 60, ATH_S("to+ken/="), &b);
    ck_assert_ptr_nonnull(strstr(b.p, "&X-Amz-Security-Token=to%2Bken%2F%3D&X-Amz-SignedHeaders="));
    buf_free(&b);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("s3 sign");
    TCase *c = tcase_create("sign");

    tcase_add_test(c, an_object_is_got);
    tcase_add_test(c, an_object_is_put);
    tcase_add_test(c, a_bucket_is_asked);
    tcase_add_test(c, a_link_is_made);
    tcase_add_test(c, the_suite_agrees);
    tcase_add_test(c, blanks_of_a_value_count_once);
    tcase_add_test(c, bytes_are_encoded);
    tcase_add_test(c, keys_that_are_lent_are_part_of_a_link);
    suite_add_tcase(s, c);
    return s;
}
