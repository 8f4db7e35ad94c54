/* plugins/shared/logline/sink_fields.h - the config keys that every sink has.
 *
 * The host looks for these keys in a sink plugin's table and gives their values to the sink's
 * queue; a plugin without them gets the defaults.
 */
#ifndef PLUGINS_SHARED_SINK_FIELDS_H
#define PLUGINS_SHARED_SINK_FIELDS_H

#define SINK_QUEUE_MEMBERS \
    int64_t queue_events, batch; \
    uint64_t queue_bytes, flush_ms

#define SINK_QUEUE_FIELDS(T) \
    ATH_INT(T, queue_events, "queue_events", "128000", "16..16777216", \
            "Events that may wait for this sink; what comes after that is dropped and counted."), \
    ATH_BYTES(T, queue_bytes, "queue_bytes", "64m", "2m..64g", \
              "Memory that waiting events may hold; what comes after that is dropped " \
              "and counted."), \
    ATH_INT(T, batch, "batch", "1024", "1..65536", "Most events in one write."), \
    ATH_MSEC(T, flush_ms, "flush_ms", "50ms", "1ms..10s", \
             "Longest time that an event waits for others to be written with.")

#endif
