#include "backup/gunzip.h"

#include <zlib.h>

enum { PIECE = 65536 };

struct gunzip {
    z_stream z;
    byte_sink *sink;
    void *arg;
    bool between; /* at the end of a member */
    uint8_t piece[PIECE];
};

struct gunzip *gunzip_begin(byte_sink *sink, void *arg)
{
    struct gunzip *g = calloc(1, sizeof(*g));

    if (!g || inflateInit2(&g->z, 15 + 16) != Z_OK)
        abort();
    g->sink = sink;
    g->arg = arg;
    return g;
}

void gunzip_free(struct gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    free(g);
}

static int damaged(const struct gunzip *g, ath_err *e)
{
    return ath_fail(e, ATH_E_INPUT, "the compressed data is damaged: %s",
                    g->z.msg ? g->z.msg : "no such stream");
}

/* One turn of zlib, and what it gave. */
static int step(struct gunzip *g, ath_err *e)
{
    size_t n;
    int rc;

    if (g->between) {
        inflateReset(&g->z);
        g->between = false;
    }
    g->z.next_out = g->piece;
    g->z.avail_out = PIECE;
    rc = inflate(&g->z, Z_NO_FLUSH);
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
        return damaged(g, e);
    g->between = rc == Z_STREAM_END;
    n = PIECE - g->z.avail_out;
    return n ? g->sink(g->arg, str_from((const char *)g->piece, n), e) : 0;
}

int gunzip_feed(struct gunzip *g, ath_str bytes, ath_err *e)
{
    int rc = 0;

    g->z.next_in = (Bytef *)(uintptr_t)bytes.p;
    g->z.avail_in = (uInt)bytes.n;
    while (rc == 0 && g->z.avail_in)
        rc = step(g, e);
    /* What zlib holds back when its output was full. */
    while (rc == 0 && !g->between && g->z.avail_out == 0)
        rc = step(g, e);
    return rc;
}

int gunzip_end(struct gunzip *g, ath_err *e)
{
    return g->between ? 0 : ath_fail(e, ATH_E_INPUT, "the compressed data ends too early");
}
