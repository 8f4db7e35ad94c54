/* core/control/schema.h - what this process knows of the schemas that it needs, and the part of the
 * control plane that keeps them.
 *
 * schema.bootstrap says what is done when something is missing:
 *     auto    the steps run (control/migrate.h), as far as the role may
 *     check   it is found and said; nothing is ever written
 *     off     nothing is looked at
 *
 * It never fails a start and never holds one up. What is missing is said in one warning with the
 * command that makes it, hourly at most.
 */
#ifndef CORE_CONTROL_SCHEMA_H
#define CORE_CONTROL_SCHEMA_H

#include "control/steps.h"
#include "io/task.h"

enum schema_mode { SCHEMA_AUTO, SCHEMA_CHECK, SCHEMA_OFF };
enum { SCHEMA_COMPONENTS_MOST = 64 };

struct schema_options {
    enum schema_mode mode;
    const char *control_client, *auth_client; /* names of the two databases; NULL or empty: none */
    const struct component *extra; /* those of plugins, behind the core's; outlives the process */
    size_t extras;
};

/* Once, before the loops serve; registers the gauge athena_schema_missing_tables. */
void schema_setup(const struct schema_options *o);
void schema_stop(void); /* after the loops have stopped */

/* Lives for struct control_part. The first ends when the control plane's components were brought up
 * or looked at; the second looks again from time to time. */
int schema_begin(ath_task *t, void *arg, ath_err *e);
int schema_follow(ath_task *t, void *arg, ath_err *e);

/* {"bootstrap":"auto","components":[{"component":"logging","client":"...","state":"current",
 * "version":5,"wanted":5,"missing_tables":[],"missing_columns":[],"findings":[{"kind","object",
 * "message","command"}],"error":null}]}. Any thread. */
struct buf;
void schema_json(struct buf *b);

/* This process may still make what the component lacks: it is to be brought up, and nobody has got
 * as far as that yet. Any thread. */
bool schema_is_pending(const char *component);

/* The n-th component and the name of its database; NULL behind the last, an empty name: none is
 * configured, or it is of each client. */
const struct component *schema_component(size_t n, ath_str *ret_client);

#endif
