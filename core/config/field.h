/* core/config/field.h - a table of fields and the struct that it fills.
 *
 * Each field is looked up in this order; the first place that has it wins, right or wrong:
 *
 *     1  the command line (config_override)
 *     2  its own variables: "$NAME" in the alias
 *     3  the generic variable ATHENA_<SECTION>_<KEY>, of its own place and of each aliased one
 *     4  its own section
 *     5  the aliased places, "gateway.max_rows", in their order
 *     6  its default
 *
 * A wrong value in a place of the published configuration (its sections, and all variables that
 * published keys or names have) is a warning and the default, one out of range is clamped. A wrong
 * value anywhere else is an error. Ranges of published places come from published.h or from the
 * file's own validation_ranges. ${NAME} and ${NAME:-default} as a whole value are replaced.
 */
#ifndef CORE_CONFIG_FIELD_H
#define CORE_CONFIG_FIELD_H

#include "config/config.h"

/* Of ath_field.flags, for tables of the core: a key of ours among published ones, read strictly. */
#define CONFIG_CF_STRICT (1u << 16)

struct config_table {
    const char *section;         /* its place in the file: "server", "api", "routes-gateway" */
    const char *title;           /* for the reference: one line; may be NULL */
    const ath_field *field;
    uint32_t field_size, field_count;  /* the stride of the table's writer */
    bool plugin;                 /* the section is a plugin's */
};

/* The i-th field; members that its writer did not have are zero. */
void config_field(const struct config_table *t, uint32_t i, ath_field *ret);

/* Sets every field of `t` in `ret_struct` and refuses keys of the section that the table does not
 * have (its own sections only). Returns 0, or ATH_E_CONFIG when errors were added to `rep`; then
 * each wrong field has its default. Values live as long as `c`. */
int config_fill(const struct config *c, const struct config_table *t, void *ret_struct,
                struct config_report *rep);

/* After all tables were filled: warns of published keys and of sections that nobody knows.
 * `names` are sections of plugins that exist but were not loaded. */
void config_check_keys(const struct config *c, const struct config_table *const *tables, size_t n,
                       const char *const *names, size_t name_count, struct config_report *rep);

/* Where a field was set, in the words of the places above; "default" when nowhere. For the start's
 * summary and for tests; never a value. */
const char *config_source(const struct config *c, const struct config_table *t, const char *key);

/* Replaces ${NAME}. False: the variable is not set and there is no default. */
bool config_resolve(const struct config *c, ath_str text, ath_str *ret);

/* ATHENA_<SECTION>_<KEY> */
void config_variable(struct buf *b, ath_str section, ath_str key);

/* One value outside of any file, strictly: for options of commands. The text must outlive the
 * struct. */
int config_set(const ath_field *f, ath_str text, void *ret_struct, ath_err *e);

#endif
