/* plugins/shared/backup/content.h - what lies in a dump: its files, decoded while they pass, and the
 * tables whose data they are. Any thread, one after the other.
 *
 *     content_entry, content_data, content_done    for each file, as a tar tells them
 *     content_finish                               that all belongs together; fills a manifest
 */
#ifndef PLUGINS_SHARED_BACKUP_CONTENT_H
#define PLUGINS_SHARED_BACKUP_CONTENT_H

#include "backup/manifest.h"

struct content;

/* `rows`: count and sum up the tables' rows; else only their ends are looked at. Without `decode`
 * compressed data is known by its digest alone. */
struct content *content_begin(bool rows, bool decode, uint32_t most_files);
void content_free(struct content *c);

/* ATH_E_TOO_LARGE: more files than are allowed; ATH_E_INPUT: a file is damaged. */
int content_entry(struct content *c, ath_str name, ath_err *e);
int content_data(struct content *c, ath_str bytes, ath_err *e);
int content_done(struct content *c, ath_err *e);

/* Files, tables and what the table of contents says go into `m`. ATH_E_INPUT: two files of one name,
 * no toc.dat, a table without its data, data without its end. */
int content_finish(struct content *c, struct manifest *m, ath_err *e);

/* The folder of the toc.dat that counts, "dump" or one below it; after content_finish(). */
ath_str content_folder(const struct content *c);

#endif
