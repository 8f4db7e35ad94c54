/* The published programs heal some tables by themselves and write who they are into the row; what
 * is done to those tables is written under the same names here. */
#include "control/audit.h"

#include <stdio.h>

#include "lib/json.h"

/* clang-format off */
const char audit_sql[] =
    "INSERT INTO public.database_audit_log (request_id, client_name, schema_name, table_name,"
    " object_type, operation, status, user_id, request_payload, executed_sql, result_payload,"
    " error_message, duration_ms)"
    " SELECT gen_random_uuid(), a->>'client', a->>'schema', a->>'table', a->>'type', a->>'operation',"
    " a->>'status', a->>'actor', jsonb_build_object('source', 'schema_heal_runtime', 'plan', a->>'plan',"
    " 'mutation', a->>'mutation', 'actor', a->>'actor'), jsonb_build_array(a->>'sql'),"
    " jsonb_build_object('status', a->>'status', 'plan', a->>'plan', 'mutation', a->>'mutation'),"
    " a->>'error', (a->>'ms')::bigint FROM jsonb_array_elements($1::jsonb) a";

static const struct healer {
    const char *table;           /* that the name begins with */
    const char *type, *plan, *actor, *client;
} healers[] = {
    { "daemon_runtime_registry", "daemon_runtime_registry", "daemon_runtime_registry", "athena_control_plane", "athena_logging" },
    { "gateway_deferred_request_queue", "deferred_queue_schema_self_heal", "deferred_queue_runtime_storage", "athena_deferred_runtime", "athena_logging" },
    { "backup_", "backup_runtime_schema_self_heal", "backup_runtime_storage", "athena_backup_runtime", NULL },
    { "database_clone_", "database_clone_control_plane", "database_clone_control_plane", "athena_control_plane", "athena_logging" },
    { "", "athena_schema", NULL, "athena_control_plane", NULL },
};
/* clang-format on */

static const struct healer *healer_of(ath_str table)
{
    const struct healer *h = healers;

    while (!str_starts(table, h->table))
        h++;
    return h;
}

void audit_add(struct buf *b, const struct audit *a, const struct mutation *m, ath_str schema,
               uint64_t took_ms, ath_str error)
{
    const struct healer *h = healer_of(m->want->table);
    char plan[128];

    snprintf(plan, sizeof(plan), "%s_%04u_%s", a->component, a->version, a->step);
    buf_char(b, b->n ? ',' : '[');
    buf_char(b, '{');
    buf_json_str(b, "client", h->client ? str_of(h->client) : a->client);
    buf_json_str(b, "schema", schema);
    if (m->want->table.n)
        buf_json_str(b, "table", want_bare(m->want->table));
    buf_json_str(b, "type", str_of(h->type));
    buf_json_str(b, "operation", str_of(m->operation));
    buf_json_str(b, "status", error.n ? ATH_S("failed") : ATH_S("success"));
    buf_json_str(b, "actor", str_of(h->actor));
    buf_json_str(b, "plan", str_of(h->plan ? h->plan : plan));
    buf_json_str(b, "mutation", m->label);
    buf_json_str(b, "sql", m->sql);
    if (error.n)
        buf_json_str(b, "error", error);
    buf_json_int(b, "ms", (int64_t)took_ms);
    buf_char(b, '}');
}

void audit_end(struct buf *b)
{
    buf_char(b, ']');
}
