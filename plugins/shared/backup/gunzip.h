/* plugins/shared/backup/gunzip.h - gzip, read strictly: one member or several, each with its checksum
 * and length, and nothing behind the last one. Any thread.
 */
#ifndef PLUGINS_SHARED_BACKUP_GUNZIP_H
#define PLUGINS_SHARED_BACKUP_GUNZIP_H

#include "lib/text.h"

/* Takes a piece of what was compressed. < 0: it is refused, and `e` has the words. */
typedef int byte_sink(void *arg, ath_str bytes, ath_err *e);

struct gunzip;

struct gunzip *gunzip_begin(byte_sink *sink, void *arg);
void gunzip_free(struct gunzip *g);

/* ATH_E_INPUT: it is damaged; or what the sink says. */
int gunzip_feed(struct gunzip *g, ath_str bytes, ath_err *e);

/* There is no more: ATH_E_INPUT when it ends within a member. */
int gunzip_end(struct gunzip *g, ath_err *e);

#endif
