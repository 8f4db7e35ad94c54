/* plugins/shared/backup/listing.h - what pg_restore says, read line by line: the contents of an archive
 * (--list), and its errors.
 *
 * The tool runs with messages in English (LC_ALL=C); what the server says may be in any language, and
 * then no error is harmless.
 */
#ifndef PLUGINS_SHARED_BACKUP_LISTING_H
#define PLUGINS_SHARED_BACKUP_LISTING_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/text.h"

struct listing {
    uint32_t entries;
    uint32_t tables;             /* that it makes */
    uint32_t loads;              /* tables that it has rows of */
    uint32_t from_major;         /* the server that was dumped; 0: not said */
    uint32_t by_major;           /* pg_dump */
    bool directory;              /* its format */
};

void listing_line(struct listing *l, ath_str line);

/* What one line of pg_restore's stderr is. */
enum listing_said {
    SAID_NOISE,                   /* the command of an error, a count, a place */
    SAID_LOADING,                 /* of --verbose: the rows of one more table */
    SAID_HARMLESS,                /* an error that changes nothing of what is restored (D-49) */
    SAID_ERROR
};

enum listing_said listing_said(ath_str line);

#endif
