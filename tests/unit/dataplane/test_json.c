/* sdk/lib/jsonread and typed: documents into trees, PostgreSQL's text into JSON. */
#include "base/arena.h"
#include "lib/json.h"
#include "lib/jsonread.h"
#include "lib/typed.h"
#include "support/check_main.h"
#include "support/testhost.h"

static ath_arena arena;

static const struct json *read(const char *text, struct json_error *why)
{
    return json_read(str_of(text), (struct json_memory){ arena_raw, &arena }, 1000, why);
}

START_TEST(values_keep_their_bytes)
{
    struct json_error why;
    const struct json *o = read(" {\"a\" : 12345678901234567890.10e+5, \"b\":[true,false,null,-0],"
                                "\"c\":{\"d\": [ ] }, \"e\":\"x\"} ", &why);
    int64_t i;

    ck_assert_ptr_nonnull(o);
    ck_assert_uint_eq(o->count, 4);
    ck_assert(str_is(json_get(o, "a")->text, "12345678901234567890.10e+5"));
    ck_assert(!json_i64(json_get(o, "a"), &i));
    ck_assert(str_is(json_get(o, "b")->raw, "[true,false,null,-0]"));
    ck_assert_uint_eq(json_get(o, "b")->count, 4);
    ck_assert_int_eq(json_get(o, "b")->first->type, JSON_TRUE);
    ck_assert(str_is(json_get(o, "c")->raw, "{\"d\": [ ] }"));
    ck_assert(str_is(json_text(json_get(o, "e")), "x"));
    ck_assert_ptr_null(json_get(o, "f"));
    ck_assert_ptr_null(json_get(json_get(o, "a"), "x"));
    ck_assert(json_i64(read("-9223372036854775808", &why), &i) && i == INT64_MIN);
    arena_free(&arena);
}
END_TEST

START_TEST(strings_are_decoded)
{
    static const char *const pairs[][2] = {
        { "\"plain and longer than eight bytes\"", "plain and longer than eight bytes" },
        { "\"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\te\"", "a\"b\\c/d\b\f\n\r\te" },
        { "\"\\u00e9\\u20ac\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\"h\xc3\xa9llo, this is \xe2\x82\xac and more\"", "h\xc3\xa9llo, this is \xe2\x82\xac and more" },
        { "\"1234567\\n\"", "1234567\n" },
        { "\"\"", "" },
    };
    struct json_error why;

    for (size_t i = 0; i < ATH_COUNT(pairs); i++) {
        const struct json *v = read(pairs[i][0], &why);
        ck_assert_msg(v && str_is(v->text, pairs[i][1]), "%s", pairs[i][0]);
    }
    ck_assert(read("\"a\\u0000b\"", &why)->nul);
    ck_assert_uint_eq(read("\"a\\u0000b\"", &why)->text.n, 3);
    arena_free(&arena);
}
END_TEST

START_TEST(malformed_documents_are_refused_where_they_break)
{
    static const struct {
        const char *text, *why;
        size_t offset;
    } cases[] = {
        { "", "expected a value", 0 },
        { "  ", "expected a value", 2 },
        { "{", "expected a key", 1 },
        { "{\"a\"}", "expected ':'", 4 },
        { "{\"a\":1,}", "expected a key", 7 },
        { "[1,]", "expected a value", 3 },
        { "[1 2]", "expected ',' or ']'", 3 },
        { "{\"a\":1 \"b\"}", "expected ',' or '}'", 7 },
        { "01", "unexpected bytes behind the document", 1 },
        { "1.", "expected a digit", 2 },
        { "1e", "expected a digit", 2 },
        { "-", "expected a value", 1 },
        { "+1", "expected a value", 0 },
        { "nul", "expected a value", 0 },
        { "True", "expected a value", 0 },
        { "\"abc", "unended string", 4 },
        { "\"a\nb\"", "control character in a string", 2 },
        { "\"a\\x\"", "invalid escape", 4 },
        { "\"\\ud800\"", "invalid escape", 7 },
        { "\"\\ud800\\u0041\"", "invalid escape", 7 },
        { "\"\\udc00\"", "invalid escape", 3 },
        { "\"\\u12\"", "invalid escape", 3 },
        { "\"\xff\"", "invalid UTF-8", 1 },
        { "\"\xed\xa0\x80\"", "invalid UTF-8", 1 },
        { "1 2", "unexpected bytes behind the document", 2 },
        { "'a'", "expected a value", 0 },
    };
    struct json_error why;

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        ck_assert_msg(!read(cases[i].text, &why), "%s", cases[i].text);
        ck_assert_str_eq(why.why, cases[i].why);
        ck_assert_msg(why.offset == cases[i].offset, "%s: %zu", cases[i].text, why.offset);
    }
    ck_assert(!read("{\n  \"a\": 1,\n  b\n}", &why));
    ck_assert_uint_eq(why.line, 3);
    ck_assert_uint_eq(why.column, 3);
    arena_free(&arena);
}
END_TEST

START_TEST(the_last_of_equal_keys_wins)
{
    struct json_error why;
    const struct json *o = read("{\"a\":1,\"b\":2,\"a\":3,\"\\u0061\":4}", &why);
    struct buf b = BUF_HEAP;

    ck_assert_uint_eq(o->count, 2);
    ck_assert(str_is(json_get(o, "a")->text, "4"));
    buf_char(&b, '{');
    for (int i = 0; i < 200; i++)
        buf_printf(&b, "%s\"k%d\":%d", i ? "," : "", i % 50, i);
    buf_char(&b, '}');
    o = read(b.p, &why);
    ck_assert_uint_eq(o->count, 50);
    ck_assert(str_is(json_get(o, "k7")->text, "157"));
    buf_free(&b);
    arena_free(&arena);
}
END_TEST

START_TEST(depth_and_size_are_bounded)
{
    struct json_error why;
    char text[600];

    memset(text, '[', 300);
    memset(text + 300, ']', 299);
    text[599] = 0;
    ck_assert(!read(text, &why));
    ck_assert_str_eq(why.why, "nested too deeply");
    ck_assert(!json_read(ATH_S("[1,2,3]"), (struct json_memory){ arena_raw, &arena }, 3, &why));
    ck_assert_str_eq(why.why, "too many values");
    arena_free(&arena);
}
END_TEST

/* Every cut and every flipped byte of a document ends somewhere, and never outside of the text. */
START_TEST(damaged_documents_never_lead_outside)
{
    static const char text[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\xc3\xa9 and some more text\",true,null],\"b\":{}}";
    struct json_error why;

    for (size_t n = 0; n < sizeof(text); n++) {
        char *cut = malloc(n + 1);
        for (int flip = 0; flip < 256; flip += 7) {
            memcpy(cut, text, n);
            if (n)
                cut[n / 2] = (char)flip;
            json_read(str_from(cut, n), (struct json_memory){ arena_raw, &arena }, 1000, &why);
        }
        free(cut);
        arena_free(&arena);
    }
}
END_TEST

START_TEST(typed_text_becomes_json)
{
    static const struct {
        uint32_t oid;
        const char *text, *json;
    } cases[] = {
        { 23, "-5", "-5" },
        { 20, "9223372036854775807", "9223372036854775807" },
        { 26, "4294967295", "\"4294967295\"" },
        { 1700, "1.10", "1.10" },
        { 1700, "18446744073709551616", "18446744073709551616" },
        { 1700, "NaN", "\"NaN\"" },
        { 701, "-Infinity", "\"-Infinity\"" },
        { 700, "3.4028235e+38", "3.4028235e+38" },
        { 16, "t", "true" },
        { 16, "f", "false" },
        { 25, "a\"b\\c\n\b\f\x01", "\"a\\\"b\\\\c\\n\\b\\f\\u0001\"" },
        { 17, "\\x00ff", "\"\\\\x00ff\"" },
        { 114, "{\"b\": 1.10, \"b\": 2}", "{\"b\": 1.10, \"b\": 2}" },
        { 3802, "null", "null" },
        { 1114, "2024-05-05 05:05:05.000005", "\"2024-05-05T05:05:05.000005\"" },
        { 1114, "-infinity", "\"-infinity\"" },
        { 1184, "2024-05-05 05:05:05+00", "\"2024-05-05T05:05:05+00:00\"" },
        { 1184, "0044-03-15 00:00:00+00 BC", "\"0044-03-15T00:00:00+00:00 BC\"" },
        { 1184, "2024-05-05 05:05:05+05:30", "\"2024-05-05T05:05:05+05:30\"" },
        { 1184, "infinity", "\"infinity\"" },
        { 1082, "0044-03-15 BC", "\"0044-03-15 BC\"" },
        { 1186, "1 day 02:00:00", "\"1 day 02:00:00\"" },
        { 2950, "aaaaaaaa-0000-4000-8000-00000000000a", "\"aaaaaaaa-0000-4000-8000-00000000000a\"" },
        { 1007, "{1,NULL,3}", "[1,null,3]" },
        { 1007, "{{1,2},{3,4}}", "[[1,2],[3,4]]" },
        { 1007, "[2:3]={7,8}", "[7,8]" },
        { 1007, "{}", "[]" },
        { 1009, "{a,\"b,c\",\"q\\\"x\",NULL,\"NULL\",\"\",\"{}\"}",
          "[\"a\",\"b,c\",\"q\\\"x\",null,\"NULL\",\"\",\"{}\"]" },
        { 1185, "{\"2024-01-01 00:00:00+00\",NULL}", "[\"2024-01-01T00:00:00+00:00\",null]" },
        { 3807, "{\"{\\\"x\\\": 1}\",\"null\"}", "[{\"x\": 1},null]" },
        { 1000, "{t,f}", "[true,false]" },
        { 1231, "{1.50,NaN}", "[1.50,\"NaN\"]" },
        { 1020, "{(1,1),(0,0);(3,3),(2,2)}", "[\"(1,1),(0,0)\",\"(3,3),(2,2)\"]" },
        { 16500, "mid", "\"mid\"" },
        { 23, NULL, "null" },
    };

    for (size_t i = 0; i < ATH_COUNT(cases); i++) {
        struct buf b = BUF_HEAP;
        buf_typed(&b, typed_of(cases[i].oid), str_of(cases[i].text));
        ck_assert_str_eq(b.p, cases[i].json);
        buf_free(&b);
    }
    ck_assert_uint_eq(typed_array(23), 1007);
    ck_assert_uint_eq(typed_array(16500), 0);
}
END_TEST

SUITE("json", values_keep_their_bytes, strings_are_decoded,
      malformed_documents_are_refused_where_they_break, the_last_of_equal_keys_wins,
      depth_and_size_are_bounded, damaged_documents_never_lead_outside, typed_text_becomes_json)
