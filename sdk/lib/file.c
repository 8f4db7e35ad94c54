#include "lib/file.h"

#include <errno.h>
#include <stdio.h>

int file_read(const char *path, size_t most, struct buf *b)
{
    FILE *f = fopen(path, "re");
    size_t from = b->n, n;
    char piece[8192];
    int rc = 0;

    if (!f)
        return -errno;
    while (b->n - from <= most && (n = fread(piece, 1, sizeof(piece), f)) > 0)
        buf_mem(b, piece, n);
    if (ferror(f))
        rc = errno ? -errno : -EIO;
    else if (b->n - from > most)
        rc = -EFBIG;
    fclose(f);
    return rc;
}
