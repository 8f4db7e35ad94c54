/* core/plugin/call.h - the way from the core into a plugin's stages and callbacks.
 *
 *     CALL(s, l, rc = s->d.init(s, config, &s->state, e));
 *
 * While the plugin's code runs, `l` (NULL on a thread without a loop) shows the plugin's name to
 * the watchdog. Handlers and continuations are entered by http and io, which show the route's label
 * in the same way.
 */
#ifndef CORE_PLUGIN_CALL_H
#define CORE_PLUGIN_CALL_H

#include "plugin/registry.h"

static inline const char *call_enter(const ath_self *s, ath_loop *l)
{
    return l ? loop_enter(l, s->name) : NULL;
}

static inline void call_leave(ath_loop *l, const char *before)
{
    if (l)
        loop_leave(l, before);
}

#define CALL(s, l, what)                                                                           \
    do {                                                                                           \
        const char *call_before_ = call_enter((s), (l));                                           \
        what;                                                                                      \
        call_leave((l), call_before_);                                                             \
    } while (0)

#endif
