/* The sinks' threads, from the first to the last. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "log/log.h"
#include "plugin/sender.h"
#include "server/serve_priv.h"
#include "server/spill.h"

/* The plugin's name; behind it the sink's own where the name does not end in it, for plugins that
 * have several. */
static void sink_name(const struct capability *c, char *ret, size_t size)
{
    const char *plugin = c->self->name, *own = c->sink.cap.name;

    snprintf(ret, size, "%s%s%s", plugin, str_ends(str_of(plugin), own) ? "" : ".",
             str_ends(str_of(plugin), own) ? "" : own);
}

static int sink_start(struct server *s, struct capability *c, struct running_sink *to, ath_err *e)
{
    ath_self *self = c->self;
    struct log_queue_options o;
    char name[64], folder[SPILL_FOLDER];
    int rc;

    sink_name(c, name, sizeof(name));
    log_queue_options_of(self->all_field, sizeof(ath_field), self->all_count, registry_config(self),
                         &o);
    spill_place(s->setup, name, folder, &o);
    to->sender = c->sink.send ? sender_new(self, &c->sink, self->state) : NULL;
    if (to->sender)
        rc = log_sink_start(name, sender_sink(to->sender), to->sender, &o, &to->sink, e);
    else
        rc = log_sink_start(name, &c->sink, self->state, &o, &to->sink, e);
    if (rc < 0)
        sender_free(to->sender);
    return rc;
}

int sinks_start(struct server *s, ath_err *e)
{
    struct capability *c;

    log_pressure(loops_waited, &s->loops);
    for (uint32_t i = 0; (c = registry_cap(s->setup->registry, ATH_CAP_SINK, i)); i++) {
        int rc;
        s->sink = mem_resize(s->sink, (s->sink_count + 1) * sizeof(*s->sink));
        rc = sink_start(s, c, &s->sink[s->sink_count], e);
        if (rc == ATH_E_MISSING) /* nothing for it to do */
            continue;
        if (rc < 0)
            return rc;
        s->sink_count++;
    }
    return 0;
}

void senders_stop(struct server *s)
{
    for (uint32_t i = 0; i < s->sink_count; i++) {
        if (!s->sink[i].sender)
            continue;
        sender_cut(s->sink[i].sender);
        log_sink_stop(s->sink[i].sink);
        sender_free(s->sink[i].sender);
        s->sink[i] = (struct running_sink){ 0 };
    }
}

void sinks_stop(struct server *s)
{
    for (uint32_t i = 0; i < s->sink_count; i++)
        if (s->sink[i].sink)
            log_sink_stop(s->sink[i].sink);
    s->sink_count = 0;
}

void sinks_finish(struct server *s)
{
    for (uint32_t i = 0; i < s->sink_count; i++)
        if (s->sink[i].sender)
            log_sink_finish(s->sink[i].sink);
}

bool sinks_sent(const struct server *s)
{
    for (uint32_t i = 0; i < s->sink_count; i++)
        if (s->sink[i].sender && !log_sink_finished(s->sink[i].sink))
            return false;
    return true;
}
