/* plugins/shared/backup/archive.h - a dump's folder as one stream of bytes, and back.
 *
 *     gzip( tar( dump/  dump/toc.dat  dump/3371.dat.gz ... ) )     and sealed, when there is a key
 *
 * which is how the published server stores it, so either reads what the other one wrote. The archive
 * is never a file: it is packed into a stream and unpacked from one, within some megabytes however
 * large it is, and on threads of the pool while other bytes travel.
 *
 * Whoever reads one believes nothing. Every byte is decoded: the seal, the gzip stream and its
 * checksum, the tar with each header's, the checksum of each data file, the table of contents; each
 * table has its data, and each data its end. What the manifest says is compared on top. Only when all
 * of that holds the operation ends well. An archive that is refused has written nothing outside of the
 * folder that was named.
 *
 * Errors: ATH_E_INPUT it is damaged, hostile, or not what its manifest says; ATH_E_CONFIG it is sealed
 * by a key that is not there; ATH_E_TOO_LARGE over a limit; others by the stream and the disk.
 */
#ifndef PLUGINS_SHARED_BACKUP_ARCHIVE_H
#define PLUGINS_SHARED_BACKUP_ARCHIVE_H

#include "backup/manifest.h"
#include "backup/seal.h"

enum { ARCHIVE_LEVEL = 1 };      /* of gzip, for what is not compressed already */

#define ARCHIVE_TYPE "application/gzip"
#define ARCHIVE_SUFFIX ".tar.gz"
#define ARCHIVE_SEALED_SUFFIX ".tar.gz.enc"

/* Lives until `then`, like all that it points to; so do the others. */
struct archive_pack {
    ath_str folder;              /* a directory dump; its name in the archive is "dump" */
    ath_stream *out;             /* of the task that calls, or one above; ended by the packing */
    const struct seal_ring *ring; /* NULL, or empty: not sealed */
    int level;                   /* ARCHIVE_LEVEL; of files that are compressed already: 0 */
    bool rows;                   /* count the tables' rows */
    void (*moved)(void *arg, uint64_t bytes); /* of the folder's files so far, on the task's loop;
                                               * NULL: nobody asks */
    void *moved_arg;
    uint64_t folder_bytes;       /* out: of all files, known before the first `moved` */
    struct manifest manifest;    /* out, also what was set in it before; manifest_free() it */
};

struct archive_unpack {
    ath_stream *in;
    ath_str folder;              /* exists, empty, private; empty text: decode alone, write nothing */
    const struct seal_ring *ring;
    const struct manifest *told; /* NULL: the archive has none */
    uint64_t most_bytes;         /* of all files together; 0: any */
    uint32_t most_files;         /* 0: MANIFEST_FILES */
    bool rows;                   /* count the tables' rows */
    bool by_digest;              /* compressed data whose digest is told is not decoded on top: its bytes
                                  * are those that were decoded when that was written */
    void (*moved)(void *arg, uint64_t bytes); /* of the stream so far */
    void *moved_arg;
    struct manifest manifest;    /* out: what was found; manifest_free() it, also after a failure */
    char *dump;                  /* out: the folder with the toc.dat, "FOLDER/dump", on the heap;
                                  * free() it */
};

/* Packs p->folder into p->out. `then`: all of it was taken up by the stream's reader. When it fails,
 * the stream fails, so what reads it (a put) fails too. */
int archive_pack(ath_task *t, struct archive_pack *p, ath_then *then, void *arg, ath_err *e);

/* Unpacks u->in, or decodes it alone. */
int archive_unpack(ath_task *t, struct archive_unpack *u, ath_then *then, void *arg, ath_err *e);

/* The tables of a folder's dump, rows counted, without packing it: of a restored database that was
 * dumped again. p->out is not used. */
int archive_count(ath_task *t, struct archive_pack *p, ath_then *then, void *arg, ath_err *e);

#endif
