/* core/plugin/stage.h - the life of the loaded plugins.
 *
 *     stage_up      init of each, then loop_init of each on every loop, then start of each
 *     stage_drain   drain of each, needers first
 *     stage_down    loop_fini of each on every loop, then fini of each, needers first
 *
 * All of it is called by the main thread. Loops other than the control loop must be running; the
 * control loop is the main thread's own, so its share is called directly.
 */
#ifndef CORE_PLUGIN_STAGE_H
#define CORE_PLUGIN_STAGE_H

#include "plugin/registry.h"

/* A failure undoes, in reverse, what was done, and names the plugin and the stage. An optional
 * plugin that fails is undone alone and noted among the refusals, unless one that is up needs it.
 * `loop` must live until stage_down(). */
int stage_up(struct registry *r, ath_loop *const *loop, uint32_t n, ath_err *e);

void stage_drain(struct registry *r);

/* When no task is left. Also after a stage_up() that failed: then it does nothing. */
void stage_down(struct registry *r);

const char *stage_name(enum plugin_stage s); /* "loaded", "started" ... */

#endif
