/* plugins/shared/backup/toc.h - pg_dump's table of contents (toc.dat), as far as it says which file
 * holds whose data.
 *
 * It is read itself, because `pg_restore --list` puts schema, name and owner between blanks, which
 * may stand in each of them. The format is that of pg_backup_archiver.c, versions 1.12 (PostgreSQL
 * 9.0) to 1.16 (17, 18); a newer one is refused. Bytes come in pieces of any size; what is not of
 * use, definitions above all, is not kept. Any thread.
 */
#ifndef PLUGINS_SHARED_BACKUP_TOC_H
#define PLUGINS_SHARED_BACKUP_TOC_H

#include "lib/buf.h"

struct toc_data {
    char *schema, *name;
    char *file;                  /* "3371.dat": beside the toc.dat, perhaps with ".gz" behind it */
    bool table;                  /* a table's, not large objects */
    bool copy;                   /* as COPY gives it */
};

struct toc {
    char *database, *server_version, *tool_version;
    struct toc_data *data;
    size_t count;
    bool done;                   /* all of it was read */
    struct toc_reader *reader;
};

void toc_begin(struct toc *t);
void toc_free(struct toc *t);
/* ATH_E_INPUT: it is damaged, or of a version that is not known; ATH_E_TOO_LARGE: it names more than
 * MANIFEST_FILES. */
int toc_feed(struct toc *t, ath_str bytes, ath_err *e);
int toc_end(struct toc *t, ath_err *e);

#endif
