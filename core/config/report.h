/* core/config/report.h - everything that is wrong with a configuration, said at once.
 *
 *     /etc/athena/plugins.d/routes-gateway.yaml:7:3: unknown key "query_timout" of plugin "routes-gateway"
 *         hint: Did you mean "query_timeout"?
 *
 * Errors stop the start; warnings are logged once it has succeeded. The same words at the same
 * place are kept once, and no more than a few hundred notes in all. Values of secrets never get in.
 * One thread.
 */
#ifndef CORE_CONFIG_REPORT_H
#define CORE_CONFIG_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "lib/buf.h"

struct config_place {
    const char *file;            /* NULL: `name` is all there is */
    const char *name;            /* "environment variable ATHENA_X", "--port", or NULL */
    uint32_t line, column;       /* from 1; 0: the file as a whole */
};

struct config_note {
    int level;                   /* ATH_ERROR, ATH_WARN, ATH_INFO */
    uint32_t group;              /* same file, same number */
    struct config_place at;
    const char *text;
    const char *hint;            /* NULL: none */
};

struct config_report {
    ath_arena arena;
    struct config_note *note;
    size_t n, cap;
    size_t errors, warnings, left_out;
    bool muted;                  /* the last one was kept already: its hint is not wanted */
    const char *summary;         /* why the main file could not be loaded, as the contract words it */
};

void config_report_init(struct config_report *rep);
void config_report_free(struct config_report *rep);

/* `at` is copied; its texts must live as long as the configuration. NULL: nowhere in particular. */
ATH_PRINTF(3, 4) void config_error(struct config_report *rep, const struct config_place *at,
                                   const char *fmt, ...);
ATH_PRINTF(3, 4) void config_warn(struct config_report *rep, const struct config_place *at,
                                  const char *fmt, ...);
ATH_PRINTF(3, 4) void config_info(struct config_report *rep, const struct config_place *at,
                                  const char *fmt, ...);

/* Advice for the last note, in whole sentences. */
ATH_PRINTF(2, 3) void config_hint(struct config_report *rep, const char *fmt, ...);

/* "file:line:column: text", with the hint on a line of its own; no line end. */
void config_note_format(const struct config_note *note, struct buf *b);

/* One line, for a log: "text (file:line:column). Hint." */
void config_note_line(const struct config_note *note, struct buf *b);

/* Notes of `level` or worse, in order of their places, then a closing line when there are errors. */
void config_report_print(struct config_report *rep, int level, FILE *out);

/* The text of the list that is nearest to `word`, when it is near; else NULL. */
struct config_nearest {
    ath_str word, best;
    unsigned distance;
};
void nearest_begin(struct config_nearest *n, ath_str word);
void nearest_try(struct config_nearest *n, ath_str candidate);

#endif
