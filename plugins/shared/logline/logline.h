/* plugins/shared/logline/logline.h - an event as a line: the text that operators know, or JSON.
 *
 * The text:
 *
 *     HH:MM:SS.mmm LEVEL [http.request{...}: ]target: message key=value ...
 *
 * Local time; the level right-aligned to 5. Facts keep their order. Their form decides how they
 * look: ATH_V_TEXT is quoted, everything else is as it is; a fact called "message" shows its value
 * alone. Facts named "span.*" come first: they belong to the request around the event and become
 * the prefix, where the status stands twice. Control characters never reach a line: they are
 * written as \x1b.
 *
 * JSON: {"time":...,"level":...,"target":...,"name":...,"message":...,"request_id":...,
 * "trace_id":...,"span":{...},"fields":{...}}, members without a value left out, times in UTC.
 */
#ifndef PLUGINS_SHARED_LOGLINE_H
#define PLUGINS_SHARED_LOGLINE_H

#include "lib/buf.h"

enum { LOGLINE_SPAN = 1,         /* with the prefix */
       LOGLINE_COLOR = 2,
       LOGLINE_DATE = 4 };       /* time as RFC 3339 with the zone's offset */

/* What stands around a fact's value, made once for keys that live as long as the process. */
enum { PIECE_MOST = 32 };
struct logline_piece {
    const char *key;             /* told apart by its address; NULL: not made */
    uint32_t form;               /* ATH_V_* */
    uint16_t n, how;             /* private to text.c */
    struct logline_run *run;     /* that begins here; then it has no key, so each fact that comes
                                  * here is looked at twice */
    char text[PIECE_MOST];       /* " key=", and the quote when there is one */
};

enum { PIECES = 64, PIECE_LISTS = 4 };

/* Facts in a row that always have the same values (ATH_FACT_SAME), and how they look. */
enum { RUNS = 16, RUN_FACTS = 4, RUN_MOST = 128 };
struct logline_run {
    uint32_t facts, n;
    ath_fact fact[RUN_FACTS];    /* compared as bytes: the same addresses are the same texts */
    char text[RUN_MOST];
};

struct logline {                 /* one per sink; its thread's own */
    uint64_t second;             /* whose text is below */
    char clock[24];              /* "2026-11-22T16:31:06" */
    char zone[8];                /* "+01:00" */
    char utc[24];
    struct buf extra;            /* parts that are put together before they are added */
    struct logline_piece piece[PIECE_LISTS][PIECES]; /* by the number of facts, then by place */
    struct logline_run run[RUNS];
    uint32_t runs;
};

void logline_text(struct logline *l, struct buf *b, const ath_event *e, unsigned flags);
void logline_json(struct logline *l, struct buf *b, const ath_event *e);
void logline_free(struct logline *l);

/* Bytes on their way into a descriptor; what did not go stays for the next try. */
struct logout {
    int fd;                      /* -1: none, bytes are dropped */
    struct buf text;
    size_t done;
};

/* Writes what waits. 0, or -errno: then some of it still waits. A descriptor that would block is
 * waited for, a second at most. */
int logout_flush(struct logout *o);
void logout_free(struct logout *o); /* not the descriptor */

#endif
