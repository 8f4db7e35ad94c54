/* The labels are the published ones. No value is a secret: names, numbers and paths only. */
#include "server/banner.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/version.h"

static const char *or_none(ath_str s)
{
    return s.n ? s.p : "none";
}

/* A path of a discovered file may be relative: the reader of a log knows no working directory. */
static void print_path(const char *label, const char *path, const char *cwd)
{
    if (path && path[0] == '/')
        fprintf(stderr, "%s: %s", label, path);
    else if (path)
        fprintf(stderr, "%s: %s/%s", label, cwd, strncmp(path, "./", 2) == 0 ? path + 2 : path);
    else
        fprintf(stderr, "%s: none", label);
}

static void print_files(const struct config *c)
{
    char *known = getcwd(NULL, 0);
    const char *cwd = known ? known : "";

    fprintf(stderr, "config source: %s\n", c->label);
    print_path("config file", c->path, cwd);
    fprintf(stderr, "\nconfig seeded default: %s\n", c->seeded ? "yes" : "no");
    print_path("config .env", c->dotenv, cwd);
    fprintf(stderr, " (%s)\nworking directory: %s\n",
            c->dotenv_status ? c->dotenv_status : "not found", cwd);
    free(known);
}

static void print_http(const struct core_config *c, uint16_t port, uint32_t http_loops)
{
    fprintf(stderr,
            "listen: %s:%u\nhttp workers: %u\nhttp max connections: %lld\nhttp backlog: %lld\n"
            "http keep-alive: %llus\nclient disconnect timeout: %llus\n"
            "client request timeout: %llus\n",
            c->server.host.p, port, http_loops, (long long)c->api.http_max_connections,
            (long long)c->api.http_backlog, (unsigned long long)(c->api.keep_alive_ms / 1000),
            (unsigned long long)(c->api.client_disconnect_timeout_ms / 1000),
            (unsigned long long)(c->api.client_request_timeout_ms / 1000));
}

void banner_print(const struct setup *s, uint16_t port, uint32_t http_loops)
{
    const struct core_config *c = &s->core;
    ath_str store = c->gateway.logging_client; /* stands in for both others */

    fprintf(stderr, "=== Athena server starting ===\nversion: %s\n", athena_version);
    print_files(s->config);
    print_http(c, port, http_loops);
    fprintf(stderr,
            "daemon mode: %s\nprometheus metrics: %s\ngateway auth client: %s\n"
            "gateway logging client: %s\ngateway benchmark client: %s\n",
            c->daemon.enabled ? "enabled" : "disabled",
            c->api.prometheus_metrics_enabled ? "enabled" : "disabled",
            or_none(c->gateway.auth_client.n ? c->gateway.auth_client : store), or_none(store),
            or_none(c->gateway.benchmark_client.n ? c->gateway.benchmark_client : store));
}

void banner_workers(const struct setup *s)
{
    fprintf(stderr, "=== Athena %s starting ===\nversion: %s\n", s->role->kind, athena_version);
    print_files(s->config);
    fprintf(stderr, "gateway logging client: %s\n", or_none(s->core.gateway.logging_client));
}
