/* core/control/steps.h - components: tables that belong together, and the steps that make them.
 *
 * A step is frozen once published: what has run anywhere never changes, what is new is a new step. The
 * files are in sql/; the first step is the final form of the published tables, later ones only add.
 */
#ifndef CORE_CONTROL_STEPS_H
#define CORE_CONTROL_STEPS_H

#include <stddef.h>
#include <stdint.h>

enum { STEP_TEXTS = 8 };

struct step {
    uint32_t version;            /* rises from step to step */
    const char *name;            /* "baseline" */
    const char *text[STEP_TEXTS]; /* SQL, in this order; NULL behind the last */
};

struct component {
    const char *name;            /* "logging" */
    const char *client;          /* "@control", "@auth" */
    const char *expect;          /* "table(column, column) table ..." that has to be there besides; NULL */
    const struct step *step;
    uint32_t steps;
};

extern const struct component core_components[];
extern const size_t core_component_count;

#endif
