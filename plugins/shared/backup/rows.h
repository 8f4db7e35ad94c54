/* plugins/shared/backup/rows.h - counts the rows of a table's data, and sums them up.
 *
 * The data of a table is what COPY gives: a line each, then "\." and empty lines. The digest is the sum
 * (each half modulo 2^64) of a 128-bit hash of each line, so it is the same in whatever order rows
 * come. It tells what was lost or changed by accident; it is no defence against anybody, which the
 * SHA-256 of the files is.
 */
#ifndef PLUGINS_SHARED_BACKUP_ROWS_H
#define PLUGINS_SHARED_BACKUP_ROWS_H

#include "lib/text.h"

struct rows {
    uint64_t rows, digest[2];
    uint64_t bytes;              /* of the lines, their ends counted */
    bool ended;                  /* "\." has come */
    bool beyond;                 /* and something behind it */
    bool hash;                   /* make the digest */
    uint8_t held;                /* bytes in `piece` */
    char piece[16];              /* of the line that has begun, what was not mixed in */
    uint64_t a, b, n;            /* its state, and its length */
};

void rows_begin(struct rows *r, bool hash);
void rows_feed(struct rows *r, ath_str bytes);
static inline bool rows_whole(const struct rows *r) /* at its end: whether it is one */
{
    return r->ended && !r->beyond && r->n == 0;
}

#endif
