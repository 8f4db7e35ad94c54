/* GET /admin/api-keys/{id}/can?right=users.read&table=public.users&client=acme&address=10.1.2.3,
 * and `athena keys can`: would a key be let through, and why? The server answers by what checks
 * requests (athena/service/rights.h); here it is only asked.
 */
#include "admin_keys.h"

#define CAN_FAILED "Failed to check API key"

struct question {
    ath_rights_ask ask;
    ath_str id;
};

/* "sales.orders", or "orders" of the schema public. */
static void take_table(ath_rights_ask *q, ath_str table)
{
    size_t dot = str_find(table, '.');

    q->schema = dot < table.n ? str_from(table.p, dot) : ATH_S("public");
    q->table = dot < table.n ? str_after(table, dot + 1) : table;
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct question *q = d->arg;
    struct buf b;

    if (d->rc == ATH_E_MISSING) /* removed since it was looked up */
        return no_key(e, q->id);
    if (d->rc < 0)
        return d->rc;
    b = admin_answer(t, "Checked API key");
    buf_mem(&b, d->bytes.p + 1, d->bytes.n - 2); /* without its braces */
    return admin_reply(t, 200, &b);
}

static int known(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct admin_keys_state *s = ath_state_of(t);
    struct question *q = d->arg;

    if (!ath_host_->pg->count(d->rows))
        return no_key(e, q->id);
    q->ask.public_id = ath_cell(d->rows, 0, 0);
    return s->rights->can(t, &q->ask, told, q, e);
}

int key_can(ath_req *r, ath_err *e)
{
    static const char sql[] = "select public_id from api_keys where api_keys_id = $1::uuid";
    struct question *q = ath_new(ath_arena_of(r), sizeof(*q));
    ath_str table = str_trim(ath_param(r, "table"));
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = key_id(r, &q->id, e)) < 0)
        return rc;
    q->ask = (ath_rights_ask){ .size = sizeof(q->ask),
                               .right = str_trim(ath_param(r, "right")),
                               .client = ath_param(r, "client"),
                               .address = ath_param(r, "address") };
    if (!q->ask.right.n)
        return admin_fail(e, "VALIDATION_FAILED", "Missing right",
                          "Name the right to ask about: ?right=users.read");
    if (table.n)
        take_table(&q->ask, table);
    return admin_read(r, ADMIN_KEYS, CAN_FAILED, sql, &q->id, 1, known, q, e);
}

/* ---- the command ---- */

struct asked {
    ath_str key, right, table, client, address;
};

/* clang-format off */
static const ath_field fields[] = {
    ATH_STR(struct asked, key, "key", NULL, NULL, "The key: its id, public id or name.", .flags = ATH_CF_ARG),
    ATH_STR(struct asked, right, "right", NULL, NULL, "The right: gateway.query; of a table what is done to it: read, orders.read.", .flags = ATH_CF_ARG),
    ATH_STR(struct asked, table, "table", "", NULL, "The table, schema.table or of the schema public."),
    ATH_STR(struct asked, client, "client", "", NULL, "The client that the request is for; empty: none."),
    ATH_STR(struct asked, address, "address", "", NULL, "Where the request comes from; empty: anywhere."),
};
/* clang-format on */

/* Ends with 1 when the key would be refused. */
static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done result = { .size = sizeof(result), .bytes = d->bytes };
    const struct json *doc, *allowed;
    struct json_error why;

    if (d->rc < 0)
        return d->rc;
    if (d->status != 200)
        return ath_fail(e, ATH_E_UPSTREAM, "the server failed (%d): %.*s", d->status,
                        STR_ARG(d->bytes));
    doc = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), 1000, &why);
    allowed = json_get(json_get(doc, "data"), "allowed");
    result.status = allowed && allowed->type == JSON_TRUE ? 0 : 1;
    ath_host_->task->done(t, &result);
    return 0;
}

static void put_query(struct buf *b, const char *name, ath_str value)
{
    if (!value.n)
        return;
    buf_char(b, str_find(buf_view(b), '?') < b->n ? '&' : '?');
    buf_z(b, name);
    buf_char(b, '=');
    admin_segment(b, value);
}

static int can_run(ath_task *t, const void *options, ath_err *e)
{
    struct buf more = BUF_ARENA(ath_arena_of(t));
    const struct asked *o = options;
    struct key_call call = { .method = "GET", .then = answered };

    buf_lit(&more, "/can");
    put_query(&more, "right", o->right);
    put_query(&more, "table", o->table);
    put_query(&more, "client", o->client);
    put_query(&more, "address", o->address);
    call.more = more.p;
    return key_call(t, o->key, &call, e);
}

const ath_command keys_can_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "keys can"),
    .summary = "Would a key be let through, and why",
    .rows = "data data.lines",
    .columns = "allowed,enforced,required,summary;check,verdict,why",
    .run = can_run,
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct asked),
};
