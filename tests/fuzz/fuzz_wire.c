/* What a server that lies may send to a group of plain reads: any bytes, in any pieces. The first
 * byte says how long the pieces are, and how many columns the statement has.
 *
 * Each message that is found is read as what it says it is, as the reader of a group does, and a
 * message that is none ends it. Rows that were taken have the cells that their statement has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "db/rows.h"
#include "db/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

static void refused(const struct wire_msg *m)
{
    struct db_failure f = { 0 };
    ath_err e;

    err_reset(&e);
    if (wire_error(m, &f))
        must(db_fail(&f, &e) < 0, "an error is one");
}

static void check_rows(const struct tuples *t)
{
    size_t seen = 0;

    for (size_t i = 0; i < (size_t)t->rows * t->columns; i++)
        if (t->cell[i].p) {
            must(t->cell[i].p[t->cell[i].n] == 0, "a cell is ended");
            for (size_t k = 0; k < t->cell[i].n; k++)
                seen += (unsigned char)t->cell[i].p[k];
        }
    must(seen < SIZE_MAX, "cells can be read");
}

/* False: the reader would leave. */
static bool take(const struct wire_msg *m, struct tuples **t)
{
    uint32_t columns;

    switch (m->type) {
    case 'D':
        if (m->n < 2)
            return false;
        columns = (uint32_t)(unsigned char)m->p[0] << 8 | (unsigned char)m->p[1];
        return columns == (*t)->columns && tuples_add(t, m->p + 2, m->n - 2);
    case 'C':
        wire_affected(m);
        return true;
    case 'E':
        refused(m);
        return true;
    default:
        return m->type != 'Z';
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire w = { 0 };
    struct tuples *t;
    struct wire_msg m;
    size_t piece;
    int end[2], got = 0;
    bool on = true;

    if (size == 0 || size > 60000 || socketpair(AF_UNIX, SOCK_STREAM, 0, end) < 0)
        return 0;
    piece = 1 + (size_t)(data[0] & 31) * (data[0] & 31) * 8;
    t = tuples_new(data[0] >> 5);
    for (size_t at = 1; at < size && on; at += piece) {
        size_t n = piece < size - at ? piece : size - at;
        must(write(end[1], data + at, n) == (ssize_t)n, "the socket takes it");
        on = wire_fill(&w, end[0]) >= 0;
        while (on && (got = wire_next(&w, &m)) > 0) {
            must(m.p >= w.in && m.p + m.n <= w.in + w.n, "a message is within what came");
            on = take(&m, &t);
        }
        on = on && got == 0;
    }
    tuples_close(&t);
    check_rows(t);
    free(t);
    wire_settle(&w);
    wire_free(&w);
    close(end[0]);
    close(end[1]);
    return 0;
}
