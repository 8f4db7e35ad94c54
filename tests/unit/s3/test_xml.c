/* plugins/shared/s3/xml: answers of stores, and what is none. */
#include "s3/xml.h"
#include "support/check_main.h"

/* "<name" at a beginning, "name:text>" at an end, with its depth; "!" when it was not whole. */
static void show(ath_str source, struct buf *ret)
{
    struct buf scratch = BUF_HEAP;
    struct xml x = xml_of(source, &scratch);

    buf_reset(ret);
    while (xml_next(&x))
        if (x.is_end)
            buf_printf(ret, "%.*s:%.*s>%u ", STR_ARG(x.name), STR_ARG(x.text), x.depth);
        else
            buf_printf(ret, "<%.*s ", STR_ARG(x.name));
    if (!x.whole)
        buf_char(ret, '!');
    buf_free(&scratch);
}

static const struct {
    const char *source, *want;
} documents[] = {
    { "<a>b</a>", "<a a:b>1 " },
    { "<?xml version=\"1.0\"?>\n<a>\n<b>x</b>\n</a>\n", "<a <b b:x>2 a:\n>1 " },
    { "<a/>", "<a a:>1 " },
    { "<a ><b /><c d=\"e>f\">g</c></a >", "<a <b b:>2 <c c:g>2 a:>1 " },
    { "<x:a xmlns:x='y'><x:b>z</x:b></x:a>", "<a <b b:z>2 a:>1 " },
    { "<a>&lt;&amp;&gt;&quot;&apos;&#65;&#x42;&#xfc;&#x20AC;&#x1F600;</a>",
      "<a a:<&>\"'AB\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80>1 " },
    { "<a><![CDATA[<b>&amp;]]>c</a>", "<a a:<b>&amp;c>1 " },
    { "<a>b<!-- <c> -->d</a>", "<a a:bd>1 " },
    { "<Error><Code>SlowDown</Code><Message></Message></Error>",
      "<Error <Code Code:SlowDown>2 <Message Message:>2 Error:>1 " },
    /* what is none */
    { "", "!" },
    { "no XML", "!" },
    { "<a>", "<a !" },
    { "<a></b>", "<a !" },
    { "<a><b></a></b>", "<a <b !" },
    { "<a>&nbsp;</a>", "<a !" },
    { "<a>&amp</a>", "<a !" },
    { "<a>&#0;</a>", "<a !" },
    { "<a>&#xD800;</a>", "<a !" },
    { "<a>&#99999999;</a>", "<a !" },
    { "<a>&#x;</a>", "<a !" },
    { "<a></a><b></b>", "<a a:>1 !" },
    { "<a></a> b", "<a a:>1 !" },
    { "<a></a><![CDATA[b]]>", "<a a:>1 !" },
    { "b<a></a>", "!" },
    { "<!DOCTYPE a><a/>", "!" },
    { "<a b=\"c></a>", "!" },
    { "<a><!-- b</a>", "<a !" },
    { "</a>", "!" },
    { "<>", "!" },
};

START_TEST(documents_are_read)
{
    struct buf b = BUF_HEAP;

    for (size_t i = 0; i < ATH_COUNT(documents); i++) {
        show(str_of(documents[i].source), &b);
        ck_assert_msg(strcmp(buf_view(&b).p, documents[i].want) == 0, "%s: %s", documents[i].source,
                      buf_view(&b).p);
    }
    buf_free(&b);
}
END_TEST

START_TEST(depth_is_bounded)
{
    struct buf source = BUF_HEAP, b = BUF_HEAP, scratch = BUF_HEAP;
    struct xml x;
    unsigned deepest = 0;

    for (int i = 0; i < 100; i++)
        buf_lit(&source, "<a>");
    x = xml_of(buf_view(&source), &scratch);
    while (xml_next(&x))
        deepest = x.depth;
    ck_assert_uint_eq(deepest, XML_DEPTH);
    ck_assert(!x.whole);
    buf_free(&source);
    buf_free(&b);
    buf_free(&scratch);
}
END_TEST

/* Cut anywhere, it is not whole, and nothing behind the end is read. */
START_TEST(what_is_cut_short_is_seen)
{
    static const char list[] =
        "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://x\"><Name>b</Name>"
        "<Contents><Key>a&amp;b</Key><Size>1</Size></Contents></ListBucketResult>";
    struct buf b = BUF_HEAP;

    for (size_t n = 0; n < sizeof(list) - 1; n++) {
        char *exact = malloc(n ? n : 1);
        memcpy(exact, list, n);
        show(str_from(exact, n), &b);
        ck_assert_msg(str_ends(buf_view(&b), "!"), "whole at %zu", n);
        free(exact);
    }
    show(str_of(list), &b);
    ck_assert(!str_ends(buf_view(&b), "!"));
    buf_free(&b);
}
END_TEST

START_TEST(a_member_is_found)
{
    struct buf b = BUF_HEAP;

    ck_assert(
        str_is(xml_member(ATH_S("<R><A><UploadId>no</UploadId></A><UploadId>yes</UploadId></R>"),
                          "UploadId", &b),
               "yes"));
    ck_assert_uint_eq(xml_member(ATH_S("<R></R>"), "UploadId", &b).n, 0);
    buf_free(&b);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("s3 xml");
    TCase *c = tcase_create("xml");

    tcase_add_test(c, documents_are_read);
    tcase_add_test(c, depth_is_bounded);
    tcase_add_test(c, what_is_cut_short_is_seen);
    tcase_add_test(c, a_member_is_found);
    suite_add_tcase(s, c);
    return s;
}
