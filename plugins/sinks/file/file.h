/* plugins/sinks/file/file.h - one log file: opening, writing on after a failure, rotation. */
#ifndef PLUGINS_SINKS_FILE_FILE_H
#define PLUGINS_SINKS_FILE_FILE_H

#include "logline/logline.h"

struct rotation {
    uint64_t size;               /* bytes; 0: off */
    bool daily;
    int64_t keep;                /* old files: NAME.1, the newest, to NAME.keep */
};

struct logfile {
    char path[4096];
    struct logout out;           /* fd -1: not open */
    uint64_t size;
    char day[11];                /* "2026-11-22" of its first line; "": it is empty */
};

/* Opens DIR/NAME for appending; 0 or -errno. What waits from before goes on at the start of its
 * line. */
int logfile_open(struct logfile *f, const char *dir, const char *name);
void logfile_close(struct logfile *f); /* what waits stays */

/* Moves the file away when its time has come: `day` is that of what comes next. 0 or -errno. */
int logfile_rotate(struct logfile *f, const struct rotation *r, const char *day);

/* Writes what was put into f->out.text; 0 or -errno. */
int logfile_flush(struct logfile *f);

/* A directory with its parents; 0 or -errno. */
int logfile_mkdir(const char *dir);

/* Whether files can be made in `dir`, or in what is there of the path to it, and how much room that
 * file system has. Makes nothing. 0 or -errno. */
int logfile_room(const char *dir, uint64_t *ret_mib);

#endif
