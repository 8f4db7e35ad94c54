/* Who may see a deferred request, and change what becomes of it (D-01).
 *
 *     an administrator         everything
 *     the key that asked       its own requests
 *     another key              of its client, with the right to do what the request does
 *     nobody                   may look where keys are not asked for; changing takes a key
 *
 * gateway.deferred_routes_public lets everybody, as the published server does.
 */
#include "deferred.h"

struct access {
    const ath_rows *row;
    ath_then *then;
    void *arg;
};

static ath_who who_of(ath_req *r)
{
    ath_who who = { .size = sizeof(who) };

    ath_host_->req->who(r, &who);
    return who;
}

static bool is_free(ath_req *r, const ath_who *who)
{
    const struct deferred_config *cfg = ath_config_of(r);

    return cfg->public_routes || who->flags & ATH_WHO_ADMIN;
}

static int refuse_unknown(ath_err *e)
{
    return ath_raise(e, "api_key_required", "Missing API key. Use X-Athena-Key.");
}

static int refuse_foreign(ath_req *r, ath_err *e)
{
    return ath_raise(e, "deferred_request_not_found", "No deferred request exists for '%.*s'.",
                     STR_ARG(ath_param(r, "request_id")));
}

int deferred_may_ask(ath_req *r, bool change, ath_err *e)
{
    ath_who who = who_of(r);

    if (is_free(r, &who) || who.flags & ATH_WHO_KEY)
        return 0;
    return change || who.flags & ATH_WHO_ENFORCED ? refuse_unknown(e) : 0;
}

static int pass(ath_task *t, const struct access *x, ath_err *e)
{
    ath_done d = { .size = sizeof(d), .arg = x->arg, .rows = x->row };

    return x->then(t, &d, e);
}

/* ---- a key ---- */

static int judged(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct access *x = d->arg;
    struct json_error why;
    const struct json *said, *allowed;

    if (d->rc < 0)
        return d->rc;
    said = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), 1000, &why);
    allowed = json_get(said, "allowed");
    if (allowed && allowed->type == JSON_TRUE)
        return pass(t, x, e);
    return ath_raise(e, "forbidden", "%.*s", STR_ARG(json_text(json_get(said, "summary"))));
}

static ath_str right_of(ath_str kind)
{
    static const char *const rights[][2] = {
        { "gateway_fetch", "read" },
        { "gateway_insert", "write" },
        { "gateway_update", "write" },
        { "gateway_delete", "delete" },
    };

    for (size_t i = 0; i < ATH_COUNT(rights); i++)
        if (str_is(kind, rights[i][0]))
            return str_of(rights[i][1]);
    return ATH_S("gateway.query");
}

/* "sales.orders" names its schema, too. */
static void name_table(const ath_rows *row, ath_rights_ask *ask)
{
    ath_str table = ath_cell(row, 0, A_TABLE), schema = ath_cell(row, 0, A_SCHEMA);
    size_t dot = str_find(table, '.');

    if (!table.n || str_is(ask->right, "gateway.query"))
        return;
    ask->schema = schema.n ? schema : dot < table.n ? str_from(table.p, dot) : ATH_S("public");
    ask->table = !schema.n && dot < table.n ? str_after(table, dot + 1) : table;
}

static int judge(ath_req *r, const ath_who *who, struct access *x, ath_err *e)
{
    const struct deferred_state *s = ath_state_of(r);
    ath_rights_ask ask = { .size = sizeof(ask),
                           .public_id = who->public_id,
                           .right = right_of(ath_cell(x->row, 0, A_KIND)),
                           .client = ath_cell(x->row, 0, A_CLIENT) };

    if (who->client.n && !str_ieq(who->client, ask.client))
        return refuse_foreign(r, e);
    if (str_same(who->public_id, ath_cell(x->row, 0, A_KEY)))
        return pass(r, x, e);
    name_table(x->row, &ask);
    return s->rights->can(r, &ask, judged, x, e);
}

/* ---- nobody ---- */

static int asked_again(ath_task *t, const ath_done *d, ath_err *e)
{
    if (d->rc < 0)
        return d->rc;
    if (d->status == 401)
        return refuse_unknown(e);
    return ath_reply(t, d->status, "application/json", d->bytes);
}

/* Whether keys are asked for is each client's own, so the question is asked once more for the
 * request's. */
static int ask_again(ath_req *r, ath_str client, ath_err *e)
{
    ath_pair header[] = { { ATH_S("x-athena-client"), client } };
    ath_fetch f = { .size = sizeof(f),
                    .method = "GET",
                    .url = ath_host_->req->info(r, "path"),
                    .max_body = 4 << 20,
                    .header = header,
                    .header_count = 1 };

    return ath_host_->req->call(r, &f, asked_again, NULL, e);
}

int deferred_may(ath_req *r, bool change, const ath_rows *row, ath_then *then, void *arg,
                 ath_err *e)
{
    struct access *x = ath_new(ath_arena_of(r), sizeof(*x));
    ath_str client = ath_cell(row, 0, A_CLIENT);
    ath_who who = who_of(r);

    *x = (struct access){ .row = row, .then = then, .arg = arg };
    if (is_free(r, &who))
        return pass(r, x, e);
    if (who.flags & ATH_WHO_KEY)
        return judge(r, &who, x, e);
    if (change || who.flags & ATH_WHO_ENFORCED)
        return refuse_unknown(e);
    if (client.n && !str_ieq(client, ath_host_->req->info(r, "client")))
        return ask_again(r, client, e);
    return pass(r, x, e);
}
