/* Messages to and from the server (PostgreSQL's manual, "Message Formats"): a byte for the type,
 * four for the length, which counts itself, then the body; numbers have their high byte first.
 */
#include "db/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

enum { IN_SIZE = 16384, IN_KEEP = 65536, OUT_KEEP = 65536, HEAD = 5 };

/* ---- sending ---- */

static char *put16(char *at, uint32_t v)
{
    uint16_t n = htons((uint16_t)v);

    memcpy(at, &n, sizeof(n));
    return at + sizeof(n);
}

static char *put32(char *at, uint32_t v)
{
    uint32_t n = htonl(v);

    memcpy(at, &n, sizeof(n));
    return at + sizeof(n);
}

static char *put_z(char *at, const char *z, size_t n)
{
    memcpy(at, z, n + 1);
    return at + n + 1;
}

static char *put_value(char *at, const char *value)
{
    size_t n = value ? strlen(value) : 0;

    at = put32(at, value ? (uint32_t)n : UINT32_MAX);
    if (n)
        memcpy(at, value, n);
    return at + n;
}

/* Room for both messages at the most. */
static size_t run_size(const struct trip_stmt *s)
{
    size_t n = 2 * HEAD + sizeof(((struct prep *)0)->name) + 32;

    for (uint32_t i = 0; i < s->n; i++)
        n += 4 + (s->value[i] ? strlen(s->value[i]) : 0);
    return n;
}

/* Values and results are all text: no formats are named. */
void wire_run(struct wire *w, const struct prep *p, const struct trip_stmt *s)
{
    char *from, *at;

    buf_grow(&w->out, run_size(s));
    from = at = w->out.p + w->out.n;
    *at = 'B';
    at = put_z(at + HEAD, "", 0); /* the unnamed portal */
    at = put_z(at, p->name, strlen(p->name));
    at = put16(at, 0);
    at = put16(at, s->n);
    for (uint32_t i = 0; i < s->n; i++)
        at = put_value(at, s->value[i]);
    at = put16(at, 0);
    put32(from + 1, (uint32_t)(at - from) - 1);
    *at = 'E';
    at = put32(at + 1, 9);
    at = put_z(at, "", 0);
    at = put32(at, 0); /* all rows */
    w->out.n += (size_t)(at - from);
}

void wire_sync(struct wire *w)
{
    buf_mem(&w->out, "S\0\0\0\4", HEAD);
}

enum wire_io wire_flush(struct wire *w, int fd)
{
    while (w->sent < w->out.n) {
        ssize_t n = send(fd, w->out.p + w->sent, w->out.n - w->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? WIRE_MORE : WIRE_LOST;
        w->sent += (size_t)n;
    }
    w->sent = 0;
    if (w->out.cap > OUT_KEEP)
        buf_free(&w->out);
    buf_reset(&w->out);
    return WIRE_DONE;
}

/* ---- reading ---- */

/* The length of the message that begins at w->at, with its type; 0: not known yet. */
static size_t length_of(const struct wire *w)
{
    uint32_t n;

    if (w->n - w->at < HEAD)
        return 0;
    memcpy(&n, w->in + w->at + 1, sizeof(n));
    return (size_t)ntohl(n) + 1;
}

/* Room for the message that has begun, however long it says it is: as with libpq, a server is
 * trusted with one row. */
static void make_room(struct wire *w)
{
    size_t want = length_of(w);

    if (w->at) {
        memmove(w->in, w->in + w->at, w->n - w->at);
        w->n -= w->at;
        w->at = 0;
    }
    if (want < IN_SIZE)
        want = IN_SIZE;
    if (want <= w->cap)
        return;
    w->in = mem_resize(w->in, want);
    w->cap = want;
}

enum wire_io wire_fill(struct wire *w, int fd)
{
    ssize_t n;

    make_room(w);
    do
        n = recv(fd, w->in + w->n, w->cap - w->n, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? WIRE_DONE : WIRE_LOST;
    if (n == 0) {
        errno = 0;
        return WIRE_LOST;
    }
    w->n += (size_t)n;
    return w->n == w->cap ? WIRE_MORE : WIRE_DONE;
}

int wire_next(struct wire *w, struct wire_msg *ret)
{
    size_t n = length_of(w);

    if (n == 0)
        return 0;
    if (n < HEAD || n > INT32_MAX)
        return -1;
    /* Only these may be long; anything else of such a length is no message at all. */
    if (n > 30000 && !memchr("DEN", w->in[w->at], 3))
        return -1;
    if (n > w->n - w->at)
        return 0;
    *ret = (struct wire_msg){ w->in[w->at], w->in + w->at + HEAD, n - HEAD };
    w->at += n;
    return 1;
}

bool wire_settle(struct wire *w)
{
    bool whole = w->at == w->n;

    w->at = w->n = 0;
    if (w->cap > IN_KEEP) {
        free(w->in);
        w->in = NULL;
        w->cap = 0;
    }
    return whole;
}

void wire_free(struct wire *w)
{
    buf_free(&w->out);
    free(w->in);
    *w = (struct wire){ 0 };
}

/* ---- what messages say ---- */

static void error_field(struct db_failure *f, char type, const char *text)
{
    switch (type) {
    case 'C':
        f->sqlstate = text;
        break;
    case 'M':
        f->message = text;
        break;
    case 'D':
        f->detail = text;
        break;
    case 'H':
        f->hint = text;
        break;
    case 'P':
        f->position = text;
        break;
    case 'n':
        f->constraint = text;
        break;
    case 't':
        f->table = text;
        break;
    case 's':
        f->schema = text;
        break;
    case 'c':
        f->column = text;
        break;
    case 'R':
        f->function = text;
        break;
    default:
        break;
    }
}

bool wire_error(const struct wire_msg *m, struct db_failure *ret)
{
    const char *at = m->p, *end = m->p + m->n;

    *ret = (struct db_failure){ 0 };
    while (at < end && *at) {
        const char *nul = memchr(at + 1, 0, (size_t)(end - at - 1));
        if (!nul)
            return false;
        error_field(ret, *at, at + 1);
        at = nul + 1;
    }
    return at + 1 == end && ret->sqlstate;
}

/* "SELECT 5": the last word. */
uint64_t wire_affected(const struct wire_msg *m)
{
    uint64_t n = 0;
    size_t i = m->n;

    while (i && m->p[i - 1] != ' ')
        i--;
    for (; i < m->n && m->p[i] >= '0' && m->p[i] <= '9'; i++)
        n = n * 10 + (uint64_t)(m->p[i] - '0');
    return n;
}
