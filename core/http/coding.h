/* core/http/coding.h - content codings: gzip both ways, deflate on the way in.
 *
 * A request body with Content-Encoding is unpacked as it comes. What counts against the limit is what
 * it becomes; a body that grows beyond it is refused before more than that was made of it.
 *
 * An answer is packed for those who ask (Accept-Encoding) when its type is text of some kind and it
 * is long enough to be worth it (http_limits.pack_min; a stream always is). A whole answer of moderate length is packed at once and keeps a Content-Length; longer ones and
 * streams are packed piece by piece and go out in chunks. A stream that pauses is flushed, so what it
 * has brought so far can be read.
 */
#ifndef CORE_HTTP_CODING_H
#define CORE_HTTP_CODING_H

#include "http/http_priv.h"

/* ---- bodies ---- */

/* 0: what comes for `x` will be unpacked, to at most `most` bytes (0: any number); 415 when the coding
 * is unknown. */
int unpack_begin(struct exchange *x, ath_str coding, uint64_t most, ath_err *e);

/* Takes bytes as they came and gives on what they become. */
void unpack_bytes(struct exchange *x, ath_str bytes);

/* All has come; the body ends when all of it was given on. */
void unpack_end(struct exchange *x);

/* The stream that it goes into has room again. */
void unpack_room(struct exchange *x);

/* Bytes that came were not given on yet. */
bool unpack_waits(const struct exchange *x);

/* ---- answers ---- */

/* Before the head of an answer is written: packs it, or says that it is packed as it goes, or leaves
 * it as it is. */
void pack_begin(struct exchange *x);

/* Each gives what is ready to `put`. */
typedef void pack_put(struct exchange *x, struct buf *out, ath_str bytes);
void pack_piece(struct exchange *x, ath_str b, pack_put *put, struct buf *out);
void pack_flush(struct exchange *x, pack_put *put, struct buf *out);  /* the reader shall see it all */
void pack_finish(struct exchange *x, pack_put *put, struct buf *out);

/* What the loop keeps for answers that are packed at once. */
void pack_loop_free(struct http_loop *hl);

/* Does this Accept-Encoding ask for gzip? */
bool coding_accepts_gzip(ath_str list);

#endif
