/* athena/config.h - configuration: one table is the parser, the check, the help text and the docs.
 *
 * A plugin declares a struct, a table of fields that says how each member is written, and the
 * struct's size. The host allocates the struct, fills every field, checks it and hands it to
 * `init`. The first place that has a field wins: command line, variables of the alias, the generic
 * variable ATHENA_<SECTION>_<KEY>, the plugin's section, places of the alias, default. What does
 * not fit stops the start, with file, line and column. The struct is owned by the host and is
 * read-only for the plugin; texts in it live as long as it does. After a reload there is a new
 * struct and new tasks see that one, while running tasks keep theirs (ath_task_api.config).
 *
 *     struct config { int64_t max_rows; uint64_t timeout_ms; };
 *     static const ath_field fields[] = {
 *         ATH_INT(struct config, max_rows, "max_rows", "1000", "0..1000000",
 *                 "Most rows one fetch may return, 0: any number."),
 *         ATH_MSEC(struct config, timeout_ms, "timeout", "5s", "10ms..10m",
 *                  "How long one statement may run.", .flags = ATH_CF_RELOAD),
 *     };
 */
#ifndef ATHENA_CONFIG_H
#define ATHENA_CONFIG_H

#include <athena/abi.h>

/* clang-format off */

/* Types, with the C type of the member that each fills. */
enum {
    ATH_T_STR = 1,               /* ath_str    text; ends in NUL */
    ATH_T_INT,                   /* int64_t    a decimal number */
    ATH_T_BOOL,                  /* int32_t    1 or 0; written 1 true yes on y, 0 false no off n */
    ATH_T_MSEC,                  /* uint64_t   milliseconds; written 250ms 5s 10m 2h 1d, bare: ms */
    ATH_T_BYTES,                 /* uint64_t   bytes; written 512 64k 2m 1g (powers of 1024) */
    ATH_T_REAL                   /* double */
};

enum {
    ATH_CF_SECRET = 1,           /* never printed, never logged */
    ATH_CF_RELOAD = 2,           /* may change without a restart */
    ATH_CF_ARG    = 4            /* of a command: given by position, not by --key. A text whose key ends in
                                  * "..." takes all words that are left, each ended by a NUL (n counts
                                  * those too); what follows "--" is such a word whatever it looks like */
};

/* One field. Arrays of it state their stride (field_size). Texts live as long as the plugin. */
typedef struct {
    uint32_t    type, flags;     /* ATH_T_*, ATH_CF_* */
    const char *key;             /* inside the plugin's own section: "max_rows" */
    const char *def;             /* as a user would write it; NULL: required */
    const char *range;           /* "1..500" (inclusive, either end may be left out), or the words
                                  * allowed, "text|json"; NULL: any */
    size_t      off;             /* where it lands in the struct: offsetof */
    const char *help;            /* one sentence */
    const char *alias;           /* read from there too; NULL: nowhere. Words between blanks:
                                  * "gateway.max_rows" is a place of the file and the variable
                                  * ATHENA_GATEWAY_MAX_ROWS, "$NAME" a variable */
} ath_field;

/* A field whose C type does not suit its config type does not compile. Arguments: the struct, its
 * member, key, default, range, help. More members may follow the help text:
 * .flags = ATH_CF_SECRET, .alias = "..." */
#define ATH_FIELD_(T, m, ctype, t, k, d, r, ...) \
    { .type = (t), .key = (k), .def = (d), .range = (r), .help = __VA_ARGS__, \
      .off = offsetof(T, m) + 0 * sizeof(_Generic(&((T *)0)->m, ctype *: 1)) }
#define ATH_STR(T, m, k, d, r, ...)   ATH_FIELD_(T, m, ath_str, ATH_T_STR, k, d, r, __VA_ARGS__)
#define ATH_INT(T, m, k, d, r, ...)   ATH_FIELD_(T, m, int64_t, ATH_T_INT, k, d, r, __VA_ARGS__)
#define ATH_BOOL(T, m, k, d, ...)     ATH_FIELD_(T, m, int32_t, ATH_T_BOOL, k, d, NULL, __VA_ARGS__)
#define ATH_MSEC(T, m, k, d, r, ...)  ATH_FIELD_(T, m, uint64_t, ATH_T_MSEC, k, d, r, __VA_ARGS__)
#define ATH_BYTES(T, m, k, d, r, ...) ATH_FIELD_(T, m, uint64_t, ATH_T_BYTES, k, d, r, __VA_ARGS__)
#define ATH_REAL(T, m, k, d, r, ...)  ATH_FIELD_(T, m, double, ATH_T_REAL, k, d, r, __VA_ARGS__)

/* clang-format on */
#endif
