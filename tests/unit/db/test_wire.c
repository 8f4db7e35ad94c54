/* The protocol's own words: whole messages out of pieces, rows, errors, and nonsense. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "db/rows.h"
#include "db/wire.h"
#include "support/check_main.h"

#define BYTES(literal) literal, sizeof(literal) - 1

static struct wire wire;
static int end[2];

static void open_both(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, end), 0);
    wire = (struct wire){ 0 };
}

static void close_both(void)
{
    close(end[0]);
    close(end[1]);
    wire_free(&wire);
}

static void hears(const char *p, size_t n)
{
    ck_assert_int_eq(write(end[1], p, n), n);
    ck_assert_int_eq(wire_fill(&wire, end[0]), WIRE_DONE);
}

START_TEST(messages_come_in_any_pieces)
{
    static const char text[] = "2\0\0\0\4C\0\0\0\rSELECT 1\0Z\0\0\0\5I";
    struct wire_msg m;
    char types[8] = { 0 };
    int n = 0;

    open_both();
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        hears(text + i, 1);
        while (wire_next(&wire, &m) == 1) {
            types[n++] = m.type;
            if (m.type == 'C')
                ck_assert_uint_eq(wire_affected(&m), 1);
        }
    }
    ck_assert_str_eq(types, "2CZ");
    ck_assert(wire_settle(&wire));
    hears(BYTES("Z\0\0\0\5IS\0"));
    ck_assert_int_eq(wire_next(&wire, &m), 1);
    ck_assert_int_eq(wire_next(&wire, &m), 0);
    ck_assert_msg(!wire_settle(&wire), "the beginning of another message was not noticed");
    close_both();
}
END_TEST

START_TEST(long_messages_arrive_whole)
{
    enum { N = 100000 };
    static char body[N];
    struct wire_msg m;
    size_t sent = 0;
    int got;

    open_both();
    memset(body, 'x', sizeof(body));
    hears(BYTES("D\0\1\x86\xa4"));
    while ((got = wire_next(&wire, &m)) == 0) {
        size_t piece = sent + 5000 < N ? 5000 : N - sent;
        ck_assert_int_eq(write(end[1], body + sent, piece), piece);
        sent += piece;
        ck_assert_int_ge(wire_fill(&wire, end[0]), 0);
    }
    ck_assert_int_eq(got, 1);
    ck_assert_uint_eq(m.n, N);
    ck_assert_int_eq(memcmp(m.p, body, N), 0);
    ck_assert(wire_settle(&wire));
    ck_assert_ptr_null(wire.in);
    close_both();
}
END_TEST

START_TEST(nonsense_is_no_message)
{
    struct wire_msg m;

    open_both();
    hears(BYTES("HTTP/1.1 400 Bad Request"));
    ck_assert_int_eq(wire_next(&wire, &m), -1);
    wire_settle(&wire);
    hears(BYTES("Z\0\0\0\3"));
    ck_assert_int_eq(wire_next(&wire, &m), -1);
    wire_settle(&wire);
    hears(BYTES("D\xff\xff\xff\xff"));
    ck_assert_int_eq(wire_next(&wire, &m), -1);
    wire_settle(&wire);
    close(end[1]);
    ck_assert_int_eq(wire_fill(&wire, end[0]), WIRE_LOST);
    wire_free(&wire);
    close(end[0]);
}
END_TEST

START_TEST(what_is_run_is_named_and_carries_its_values)
{
    static const char expected[] = "B\0\0\0\x1c\0a1\0\0\0\0\3\0\0\0\2ab\xff\xff\xff\xff\0\0\0\0\0\0"
                                   "E\0\0\0\t\0\0\0\0\0S\0\0\0\4";
    const char *value[] = { "ab", NULL, "" };
    struct trip_stmt s = { .value = value, .n = 3 };
    struct prep p = { .name = "a1" };
    char got[256];

    open_both();
    wire_run(&wire, &p, &s);
    wire_sync(&wire);
    ck_assert_int_eq(wire_flush(&wire, end[0]), WIRE_DONE);
    ck_assert_int_eq(read(end[1], got, sizeof(got)), sizeof(expected) - 1);
    ck_assert_mem_eq(got, expected, sizeof(expected) - 1);
    close_both();
}
END_TEST

START_TEST(what_does_not_fit_leaves_later)
{
    static char value_of[1000000], drop[65536];
    const char *value[] = { value_of };
    struct trip_stmt s = { .value = value, .n = 1 };
    struct prep p = { .name = "a1" };
    enum wire_io io;
    size_t all, got = 0;

    open_both();
    memset(value_of, 'x', sizeof(value_of) - 1);
    wire_run(&wire, &p, &s);
    all = wire.out.n;
    ck_assert_int_eq(wire_flush(&wire, end[0]), WIRE_MORE);
    do {
        got += (size_t)read(end[1], drop, sizeof(drop));
        io = wire_flush(&wire, end[0]);
        ck_assert_int_ge(io, 0);
    } while (io == WIRE_MORE);
    while (got < all)
        got += (size_t)read(end[1], drop, sizeof(drop));
    ck_assert_uint_eq(got, all);
    ck_assert_uint_eq(wire.out.n, 0);
    close_both();
}
END_TEST

START_TEST(rows_keep_nothing_apart_from_null)
{
    struct tuples *t = tuples_new(3);

    ck_assert(tuples_add(&t, BYTES("\0\0\0\2ab\xff\xff\xff\xff\0\0\0\0")));
    ck_assert(tuples_add(&t, BYTES("\xff\xff\xff\xff\0\0\0\1c\0\0\0\1d")));
    ck_assert(!tuples_add(&t, BYTES("\0\0\0\2ab\xff\xff\xff\xff\0\0\0\1")));
    ck_assert(!tuples_add(&t, BYTES("\0\0\0\2ab\xff\xff\xff\xff\0\0\0\0z")));
    ck_assert(!tuples_add(&t, BYTES("\xff\xff\xff\xff")));
    tuples_close(&t);
    ck_assert_uint_eq(t->rows, 2);
    ck_assert_str_eq(t->cell[0].p, "ab");
    ck_assert_ptr_null(t->cell[1].p);
    ck_assert_str_eq(t->cell[2].p, "");
    ck_assert_ptr_null(t->cell[3].p);
    ck_assert_str_eq(t->cell[4].p, "c");
    ck_assert_str_eq(t->cell[5].p, "d");
    ck_assert_uint_eq(t->cell[5].n, 1);
    free(t);
}
END_TEST

START_TEST(many_rows_move_as_they_grow)
{
    struct tuples *t = tuples_new(1);

    for (int i = 0; i < 10000; i++)
        ck_assert(tuples_add(&t, BYTES("\0\0\0\3row")));
    tuples_close(&t);
    for (int i = 0; i < 10000; i++)
        ck_assert_str_eq(t->cell[i].p, "row");
    free(t);
}
END_TEST

START_TEST(errors_have_fields)
{
    static const char body[] = "SERROR\0C22012\0Mdivision by zero\0Rint4div\0";
    struct wire_msg m = { 'E', body, sizeof(body) };
    struct db_failure f;

    ck_assert(wire_error(&m, &f));
    ck_assert_str_eq(f.sqlstate, "22012");
    ck_assert_str_eq(f.message, "division by zero");
    ck_assert_str_eq(f.function, "int4div");
    ck_assert_ptr_null(f.detail);
    for (m.n = 0; m.n < sizeof(body); m.n++)
        ck_assert_msg(!wire_error(&m, &f), "%zu bytes of it pass for an error", m.n);
}
END_TEST

SUITE("wire", messages_come_in_any_pieces, long_messages_arrive_whole, nonsense_is_no_message,
      what_is_run_is_named_and_carries_its_values, what_does_not_fit_leaves_later,
      rows_keep_nothing_apart_from_null, many_rows_move_as_they_grow, errors_have_fields)
