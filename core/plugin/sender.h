/* core/plugin/sender.h - a sink whose batches are tasks on a work loop (ath_sink.send).
 *
 * The sink's thread stays the holder of its queue (log/sinks.c): retries, pauses, counts and the end
 * are its business. What it calls as the sink's `write` begins a task, hands it the batch, and waits
 * until the task is over and nothing of it looks at the batch any more.
 *
 * A task has SENDER_TASK_MS. At a stop of the server the batches that wait are sent as always, until
 * sender_cut(): the one under way is then ended, and all others are refused, so the sink's thread
 * ends soon and counts them as lost.
 */
#ifndef CORE_PLUGIN_SENDER_H
#define CORE_PLUGIN_SENDER_H

#include "plugin/registry.h"

enum { SENDER_TASK_MS = 60000 };

struct sender;

/* `sink` and `state` are the plugin's and stay its own. */
struct sender *sender_new(ath_self *self, const ath_sink *sink, void *state);
void sender_free(struct sender *s); /* when its log_sink is stopped */

/* What is given to log_sink_start(), with the sender as its state. */
const ath_sink *sender_sink(const struct sender *s);

void sender_cut(struct sender *s); /* any thread; the work loops still run */

/* Tasks of all senders that are under way: the server does not wait for them, nor cancel them, as
 * long as there is something to log. */
uint64_t senders_alive(void);

#endif
