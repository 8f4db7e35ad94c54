/* sdk/lib/file.h - a whole file, for commands: it blocks. */
#ifndef SDK_LIB_FILE_H
#define SDK_LIB_FILE_H

#include "lib/buf.h"

/* Appends it. 0, or -errno; -EFBIG: it is larger than `most` bytes. */
int file_read(const char *path, size_t most, struct buf *b);

#endif
