/* plugins/shared/backup/tar.h - the tar of a backup, written as the published server writes it (GNU
 * headers without names of owners), and read strictly: files and folders in "dump/", nothing else.
 *
 * A reader takes bytes in pieces of any size and tells what lies in them. Any thread.
 */
#ifndef PLUGINS_SHARED_BACKUP_TAR_H
#define PLUGINS_SHARED_BACKUP_TAR_H

#include <sys/stat.h>

#include "backup/gunzip.h"
#include "lib/buf.h"

enum { TAR_BLOCK = 512, TAR_NAME = 256, TAR_DEPTH = 4, TAR_ROOM = 65536 };

/* ---- writing ---- */

/* The header of a file or folder; a folder's name ends in a slash. ATH_E_INPUT: the name is over 100
 * bytes. */
int tar_put_head(struct buf *b, ath_str name, const struct stat *st, ath_err *e);
void tar_put_pad(struct buf *b, uint64_t bytes); /* behind so many bytes of a file */
void tar_put_end(struct buf *b);

/* ---- reading ---- */

struct tar_sink {
    /* A file or folder begins; the name is checked, and borrowed: "dump/toc.dat", "dump/x" of a
     * folder. */
    int (*entry)(void *arg, ath_str name, bool folder, uint64_t bytes, ath_err *e);
    int (*data)(void *arg, ath_str bytes, ath_err *e);
    int (*done)(void *arg, ath_err *e); /* the file is complete; not of folders */
};

struct tar {
    const struct tar_sink *sink;
    void *arg;
    char block[TAR_BLOCK];       /* what has come of a header */
    size_t n;
    char name[TAR_NAME];
    uint64_t left, pad;          /* of the file */
    uint64_t zeros;              /* blocks of them, and what follows is the end */
};

void tar_begin(struct tar *t, const struct tar_sink *sink, void *arg);
/* ATH_E_INPUT: no such tar; or what the sink says. */
int tar_feed(struct tar *t, ath_str bytes, ath_err *e);
int tar_end(struct tar *t, ath_err *e); /* ATH_E_INPUT: it ends too early */

#endif
