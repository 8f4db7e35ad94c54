/* From the registry's capabilities and the configuration to what core/control asks. */
#include "server/probes.h"

#include "control/probe.h"

enum { CHECKS_MOST = 64 };

void probes_start(const struct setup *s, ath_loop *home)
{
    const struct cluster_config *c = &s->core.cluster;
    struct probe_check list[CHECKS_MOST];
    const struct capability *cap;
    struct probe_options o = {
        .home = home,
        .check = list,
        .mirrors = c->mirrors,
        .control = s->core.gateway.logging_client.n > 0,
        .mirror_every_ms = c->mirror_every_ms,
        .client_every_ms = c->client_every_ms,
        .client_timeout_ms = c->client_timeout_ms,
    };

    if (s->role && !s->role->serves) { /* what it does not serve it need not ask about (D-33) */
        o.mirrors = (ath_str){ "", 0 };
        o.control = false;
        o.client_every_ms = 0;
    }

    for (uint32_t i = 0;
         o.checks < CHECKS_MOST && (cap = registry_cap(s->registry, ATH_CAP_CHECK, i)); i++)
        list[o.checks++] = (struct probe_check){ &cap->check, cap->self, cap->self->name };
    probe_start(&o);
}
