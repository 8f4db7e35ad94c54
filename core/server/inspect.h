/* core/server/inspect.h - what this process knows about itself, as text: ath_host.inspect().
 *
 * Everything is answered from memory: no database, no file and no child process is asked while a
 * request waits. What has to be looked up (the tools on PATH) is looked up by capabilities_probe().
 *
 *     service          members without braces: version, cargo_toml_version, athena_api,
 *                      athena_deadpool, athena_scylladb, gateway_auth_store,
 *                      gateway_benchmark_client, capabilities
 *     provisioning     object {"local_docker":{...}}
 *     clients          object {"registered":2,"active":2,"connected":1}
 *     runtime_clients  array of one object per client, passwords masked: see ath_clients.runtime
 *     client_config/NAME       the configuration as a document, secrets masked: see configdoc.h
 *     client_config.own/NAME   what of it is that client's own
 *     client_config.names      array of the configured clients' names
 *     stores           members: logging_store, gateway_auth_store
 *     logging_client   the name of the client that holds the control plane; empty: there is none
 *     auth_client      the name of the client that holds the keys; empty: there is none
 *     pools            object {"generated_at_unix_secs","logging_client","gateway_auth_client",
 *                      "gateway_benchmark_client","pools":[...]} as GET /admin/pools shows it
 *     pipelines        array of the pipelines of the file: see server/pipelines.h
 *     workers          array: what runs in the background, when it last did and how it went
 *     families         array: who runs each family of workers; see control/daemons.h
 *     programs         array of what could be started, with the workers of each: see workers.h
 *     queues           array: the queues of jobs that are known here, with their tables
 *     process          object: pid, host, version, config_path, port, started_at_unix_ms
 *     checks           array of what the plugins' checks said last (control/probe.h)
 *     checks.summary   object {"total":2,"ok":2,"failing":0,"unknown":0}
 *     clients.latency  array: did each client's database answer its last probe, how fast, how long ago?
 *     clients.latency.reasons  the same with words for those that did not: for administrators
 *     schema           object: see control/schema.h
 *     unready          why no traffic should come here; empty: it should
 *     routes           array of {"path","methods":[],"summary"}, one object per route
 *     registry         array of one object per route, with plugin, auth and right
 *     openapi          the OpenAPI 3.0 document of the served routes, YAML
 *     openapi-wss      the same for websockets
 *     metrics          the Prometheus text
 *     metrics.minimal  the three metrics of a process whose metrics are switched off
 */
#ifndef CORE_SERVER_INSPECT_H
#define CORE_SERVER_INSPECT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "http/http.h"
#include "io/loop.h"

struct inspect_sources {         /* all of it borrowed, for as long as the process lives */
    const struct router *router; /* complete */
    const struct http *http;     /* NULL: nothing is served */
    ath_loop *const *loops;
    uint32_t loop_count;
    const atomic_bool *listening; /* NULL: not asked */
    /* Names of the special clients; NULL: not configured. */
    const char *logging_client, *auth_client, *benchmark_client;
    const struct config *config; /* NULL: nothing is shown of it */
    const char *(*env)(const char *name); /* NULL: getenv() */
    const char *config_path;     /* NULL: there is no file */
    uint16_t port;               /* configured; 0: a free one, or none */
    bool serves;                 /* answers callers, rather than working for those who do */
    uint64_t lifetime_ms;        /* of pooled connections; 0: for ever */
    struct {                     /* shown as gauges */
        bool force_camel_to_snake, cast_uuid_to_text, allow_private_hosts;
        uint64_t allowed_hosts;
    } gateway;
};

/* Copies `s`, builds what does not change, registers the process's metrics and probes the tools.
 * Once, before the loops serve. */
int inspect_start(const struct inspect_sources *s, ath_err *e);
void inspect_stop(void);         /* after the loops have stopped */

/* Text in the arena of `t`, or empty for a word that is not listed above. Any loop. */
ath_str inspect(ath_task *t, const char *what);

#endif
