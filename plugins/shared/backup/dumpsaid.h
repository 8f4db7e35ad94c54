/* plugins/shared/backup/dumpsaid.h - what pg_dump writes while it runs, and what is told of it when it
 * has failed: a summary in which the errors stand, not the hundred warnings before them.
 *
 * Bounded: the newest lines of each kind are kept, each by its end.
 */
#ifndef PLUGINS_SHARED_BACKUP_DUMPSAID_H
#define PLUGINS_SHARED_BACKUP_DUMPSAID_H

#include <stdbool.h>

#include "lib/buf.h"

enum { DUMPSAID_LINES = 8, DUMPSAID_LINE = 400, DUMPSAID_MOST = 2000 };

struct dumpsaid_lines {
    char text[DUMPSAID_LINES][DUMPSAID_LINE];
    uint32_t n;                  /* that there were; the last DUMPSAID_LINES are kept */
};

struct dumpsaid {                /* zeroed at first */
    struct dumpsaid_lines warnings, errors, others;
    uint32_t extensions;         /* warnings of extensions that are not there any more, not kept */
    uint64_t orphan;             /* OID of a role that owns something and is no role; 0: none */
    bool wants_ssl;              /* the server takes no connection without TLS */
    bool disk_full;
};

void dumpsaid_line(struct dumpsaid *s, ath_str line);

/* "pg_dump exited with code 1. ..."; DUMPSAID_MOST bytes at most, cut between characters. */
void dumpsaid_summary(const struct dumpsaid *s, int status, int signal, struct buf *b);

#endif
