/* POST .../local/databases: everything that can be refused without asking anybody is refused here;
 * what is left is one document for make.c. */
#include "provision.h"

#define FAILED "Failed to create local cluster database"

struct asked {
    struct database_order order;
    ath_str client, owner; /* owner: of a management request, the client that asks */
    ath_str typed, registers, description;
    ath_str provision, runtime, catalog, keep;
};

static int take_options(const struct json *body, struct asked *x, ath_err *e)
{
    for (size_t i = 0; i < DATABASE_OPTIONS; i++)
        if (admin_text(body, database_option[i], &x->order.option[i], e) < 0)
            return ATH_E_INPUT;
    if (admin_text(body, "register_name", &x->registers, e) < 0 ||
        admin_text(body, "description", &x->description, e) < 0 ||
        admin_bool(body, "provision_schema", &x->provision, e) < 0 ||
        admin_bool(body, "register_runtime", &x->runtime, e) < 0 ||
        admin_bool(body, "register_catalog", &x->catalog, e) < 0)
        return ATH_E_INPUT;
    return admin_bool(body, "keep_on_failure", &x->keep, e);
}

static int take(ath_req *r, struct asked *x, ath_err *e)
{
    const struct json *body;

    if (admin_body(r, &body, e) < 0)
        return ATH_E_INPUT;
    if (!x->owner.n && admin_text(body, "client_name", &x->client, e) < 0)
        return ATH_E_INPUT;
    if (!x->client.p)
        return ath_raise(e, "malformed_json_payload", "missing member \"client_name\"");
    if (admin_text(body, "database_name", &x->order.name, e) < 0)
        return ATH_E_INPUT;
    if (!x->order.name.p)
        return ath_raise(e, "malformed_json_payload", "missing member \"database_name\"");
    if (json_given(body, "catalog_public_proxy"))
        return admin_fail(
            e, "VALIDATION_FAILED", FAILED,
            "'catalog_public_proxy' is not supported: routes to ports are not made here");
    x->client = str_trim(x->client);
    x->typed = str_trim(x->order.name);
    return take_options(body, x, e);
}

static bool is_on(ath_str given, bool otherwise)
{
    return given.p ? str_is(given, "true") : otherwise;
}

static void put_options(struct buf *b, const struct database_order *o)
{
    buf_json_key(b, "options");
    buf_char(b, '{');
    for (size_t i = 0; i < DATABASE_OPTIONS; i++) {
        buf_json_key(b, database_option[i]);
        if (o->option[i].p)
            buf_json(b, o->option[i]);
        else
            buf_lit(b, "null");
    }
    buf_char(b, '}');
}

static ath_str document(ath_req *r, const struct asked *x)
{
    struct buf b = BUF_ARENA(ath_arena_of(r)), about = BUF_ARENA(ath_arena_of(r));

    buf_printf(&about, "Local cluster database '%.*s'", STR_ARG(x->typed));
    buf_char(&b, '{');
    buf_json_str(&b, "client", x->client);
    buf_json_str(&b, "owner", x->owner);
    buf_json_str(&b, "typed", x->typed);
    buf_json_str(&b, "name", x->order.name);
    put_options(&b, &x->order);
    buf_json_str(&b, "register_name", x->registers.n ? x->registers : x->typed);
    buf_json_str(&b, "description", x->description.p ? x->description : buf_view(&about));
    buf_json_bool(&b, "provision_schema", is_on(x->provision, true));
    buf_json_bool(&b, "register_runtime", is_on(x->runtime, true));
    buf_json_bool(&b, "register_catalog", is_on(x->catalog, true));
    buf_json_bool(&b, "keep", is_on(x->keep, false));
    buf_char(&b, '}');
    return buf_view(&b);
}

static int create(ath_req *r, struct asked *x, ath_err *e)
{
    if (take(r, x, e) < 0)
        return ATH_E_INPUT;
    if (database_check(ath_arena_of(r), &x->order, e) < 0)
        return provision_fail(e, "VALIDATION_FAILED", FAILED, "");
    admin_changed(r, "create_database", x->order.name);
    return work_begin(r, make_run, document(r, x), e);
}

int local_create(ath_req *r, ath_err *e)
{
    struct asked x = { .client = { NULL, 0 } };

    return create(r, &x, e);
}

int local_create_own(ath_req *r, ath_err *e)
{
    struct asked x = { .client = ath_host_->req->info(r, "client") };

    x.owner = x.client;
    return create(r, &x, e);
}
