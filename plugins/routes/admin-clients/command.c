/* athena admin clients ..., athena statistics, athena addresses: what the routes do, from a
 * terminal. */
#include "admin_clients.h"

struct named {
    ath_str name;
};

struct drained {
    ath_str name;
    uint64_t timeout_ms;
};

struct paged {
    int64_t limit, offset;
};

struct added {
    ath_str name, uri, variable, description;
};

#define NAME(type) ATH_STR(type, name, "name", NULL, NULL, "The client.", .flags = ATH_CF_ARG)

static const ath_field named_fields[] = { NAME(struct named) };
static const ath_field added_fields[] = {
    NAME(struct added),
    ATH_STR(struct added, uri, "uri", "", NULL,
            "Its connection URI; - reads it from standard input, or name a variable.",
            .flags = ATH_CF_ARG | ATH_CF_SECRET),
    ATH_STR(struct added, variable, "env_var", "", NULL,
            "Variable of the server's environment that holds the URI, instead."),
    ATH_STR(struct added, description, "description", "", NULL, "What it is."),
};
static const ath_field drained_fields[] = {
    NAME(struct drained),
    ATH_MSEC(struct drained, timeout_ms, "timeout", "10s", "0..50s",
             "How long to wait for what runs."),
};
static const ath_field paged_fields[] = {
    ATH_INT(struct paged, limit, "limit", "100", "1..1000", "At most so many."),
    ATH_INT(struct paged, offset, "offset", "0", "0..9223372036854775807", "Those behind so many."),
};
static const ath_field statistics_fields[] = {
    ATH_STR(struct named, name, "client", "", NULL, "One client, with its tables.",
            .flags = ATH_CF_ARG),
};

#define RECORD  "client_name,source,is_active,is_frozen,pg_uri,pg_uri_env_var,description"
#define RUNTIME "client_name,source,is_active,is_frozen,pool_connected"
#define TOTALS                                                                                     \
    "client_name,total_requests,successful_requests,failed_requests,total_cached_requests,"        \
    "total_operations,p50_request_duration_ms,p95_request_duration_ms,p99_request_duration_ms,"    \
    "last_request_at"
#define PER_TABLE                                                                                  \
    "table_name,operation,total_operations,error_operations,p50_duration_ms,p95_duration_ms,"      \
    "p99_duration_ms,last_operation_at"

/* /admin/clients/NAME and what follows */
static ath_str path_of(ath_task *t, ath_str name, const char *more)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_lit(&b, "/admin/clients/");
    admin_segment(&b, name);
    buf_z(&b, more);
    return buf_view(&b);
}

static int list_run(ath_task *t, const void *options, ath_err *e)
{
    (void)options;
    return admin_remote(t, "GET", ATH_S("/admin/clients"), (ath_str){ 0 }, e);
}

/* "-": a line of standard input, which no list of processes shows. */
static ath_str uri_of(ath_task *t, ath_str given)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    int c;

    if (!str_is(given, "-"))
        return given;
    while ((c = getchar()) != EOF && c != '\n' && b.n < 8192)
        buf_char(&b, (char)c);
    return str_trim(buf_view(&b));
}

static int add_run(ath_task *t, const void *options, ath_err *e)
{
    const struct added *o = options;
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_str uri = uri_of(t, o->uri);

    buf_char(&b, '{');
    buf_json_str(&b, "client_name", o->name);
    if (uri.n)
        buf_json_str(&b, "pg_uri", uri);
    if (o->variable.n)
        buf_json_str(&b, "pg_uri_env_var", o->variable);
    if (o->description.n)
        buf_json_str(&b, "description", o->description);
    buf_char(&b, '}');
    return admin_remote(t, "POST", ATH_S("/admin/clients"), buf_view(&b), e);
}

static int freeze(ath_task *t, const struct named *o, const char *body, ath_err *e)
{
    return admin_remote(t, "PUT", path_of(t, o->name, "/freeze"), str_of(body), e);
}

static int freeze_run(ath_task *t, const void *options, ath_err *e)
{
    return freeze(t, options, "{\"is_frozen\":true}", e);
}

static int unfreeze_run(ath_task *t, const void *options, ath_err *e)
{
    return freeze(t, options, "{\"is_frozen\":false}", e);
}

static int drain_run(ath_task *t, const void *options, ath_err *e)
{
    const struct drained *o = options;
    char query[64];

    snprintf(query, sizeof(query), "/drain?timeout=%llums", (unsigned long long)o->timeout_ms);
    return admin_remote(t, "POST", path_of(t, o->name, query), (ath_str){ 0 }, e);
}

static int remove_run(ath_task *t, const void *options, ath_err *e)
{
    const struct named *o = options;

    return admin_remote(t, "DELETE", path_of(t, o->name, ""), (ath_str){ 0 }, e);
}

static int statistics_run(ath_task *t, const void *options, ath_err *e)
{
    const struct named *o = options;
    ath_str path =
        o->name.n ? path_of(t, o->name, "/statistics") : ATH_S("/admin/clients/statistics");

    return admin_remote(t, "GET", path, (ath_str){ 0 }, e);
}

static int addresses_run(ath_task *t, const void *options, ath_err *e)
{
    const struct paged *o = options;
    struct buf path = BUF_ARENA(ath_arena_of(t));

    buf_printf(&path, "/admin/addresses?limit=%lld&offset=%lld", (long long)o->limit,
               (long long)o->offset);
    return admin_remote(t, "GET", buf_view(&path), (ath_str){ 0 }, e);
}

#define COMMAND(symbol, words_, summary_, rows_, columns_, run_, ...)                              \
    const ath_command symbol = { ATH_CAP(ath_command, ATH_CAP_COMMAND, words_),                    \
                                 .summary = (summary_),                                            \
                                 .columns = (columns_),                                            \
                                 .rows = (rows_),                                                  \
                                 .run = (run_),                                                    \
                                 __VA_ARGS__ }
#define OF(type, f) ATH_ARRAY(field, f), .options_size = sizeof(type)

COMMAND(clients_list_command, "admin clients list",
        "The catalogue of clients of a running server, and what it serves",
        "data.clients data.runtime", RECORD ";" RUNTIME, list_run, .options_size = 0);
COMMAND(clients_add_command, "admin clients add", "Put a client into the catalogue", "data.client",
        RECORD, add_run, OF(struct added, added_fields));
COMMAND(clients_freeze_command, "admin clients freeze", "Refuse a client's requests", "data.client",
        RECORD, freeze_run, OF(struct named, named_fields));
COMMAND(clients_unfreeze_command, "admin clients unfreeze", "Serve a client's requests again",
        "data.client", RECORD, unfreeze_run, OF(struct named, named_fields));
COMMAND(clients_drain_command, "admin clients drain",
        "Refuse new requests of a client and wait for the running ones", "data.client data",
        RECORD ";running,drained", drain_run, OF(struct drained, drained_fields));
COMMAND(clients_remove_command, "admin clients remove", "Take a client out of the catalogue",
        "data.client", RECORD, remove_run, OF(struct named, named_fields));
COMMAND(statistics_command, "statistics", "What clients did, in numbers",
        "data.statistics data.tables", TOTALS ";" PER_TABLE, statistics_run,
        OF(struct named, statistics_fields));
COMMAND(addresses_command, "addresses",
        "Where requests came from, the newest first, and how they ended", "data.addresses",
        "address,total_requests,successful_requests,failed_requests,total_cached_requests,"
        "first_seen_at,last_seen_at",
        addresses_run, OF(struct paged, paged_fields));
