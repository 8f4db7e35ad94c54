/* core/control/control.h - the control plane: the shared database that the catalogue of clients,
 * the logs, statistics and jobs live in.
 *
 * The process lives without it. What has to do with it in the background is a list of parts, each a
 * task on one work loop: the schema first, then those that follow the catalogue for as long as the
 * process serves. A part that fails is begun again, with growing pauses; that it fails is said
 * once, and once that it works again.
 */
#ifndef CORE_CONTROL_CONTROL_H
#define CORE_CONTROL_CONTROL_H

#include <stdbool.h>

#include "io/task.h"

struct control_part {
    const char *name; /* as messages show it: "schema" */
    /* One life of it, arg is NULL. Ends well (task_done) only when `once`; whatever it is, a drain
     * cancels it. */
    ath_run *run;
    bool once; /* the parts behind it in the list begin when it has ended well */
};

enum { CONTROL_PARTS_MOST = 8 };

/* Begins the parts, in their order, on a work loop; the list must outlive the process. Once, after
 * the loops serve, and only where a control plane is configured. */
void control_start(ath_loop *home, const struct control_part *part, size_t n);
void control_drain(void); /* the parts end; nothing is begun again */

/* A part that follows something says so when it has got hold of it: then it is well, until it
 * fails. One that is done `once` is well by ending so. On its task's loop. */
void control_part_is_well(const char *name);
bool control_part_well(const char *name); /* any thread */

#endif
