/* GET /admin/rights/catalog: the rights that the server itself asks for, and those that have been
 * declared. It works without the key store, and says so (21.34). */
#include "admin_keys.h"

struct native {
    const char *key, *resource, *action, *kind, *description;
    bool pattern;
};

/* By source, then by key. */
static const struct native billing[] = {
    { "billing.customer.manage", "billing.customer", "manage", "grant", "Change customers", false },
    { "billing.document.read", "billing.document", "read", "grant", "Read invoices and receipts",
      false },
    { "billing.manage", "billing", "manage", "grant", "Change billing", false },
    { "billing.provider.admin", "billing.provider", "admin", "grant",
      "Administer the payment provider", false },
    { "billing.read", "billing", "read", "grant", "Read billing", false },
    { "billing.refund.manage", "billing.refund", "manage", "grant", "Make refunds", false },
    { "billing.subscription.manage", "billing.subscription", "manage", "grant",
      "Change subscriptions", false },
    { "invoice.open", "invoice", "open", "grant", "Report open invoices", false },
    { "invoice.paid", "invoice", "paid", "grant", "Report paid invoices", false },
    { "payment-link.failed", "payment-link", "failed", "grant", "Report failed payment links",
      false },
    { "payment-link.paid", "payment-link", "paid", "grant", "Report paid payment links", false },
    { "payment.failed", "payment", "failed", "grant", "Report failed payments", false },
    { "payment.paid", "payment", "paid", "grant", "Report payments", false },
    { "payment.refunded", "payment", "refunded", "grant", "Report refunded payments", false },
    { "subscription.active", "subscription", "active", "grant", "Report active subscriptions",
      false },
    { "subscription.canceled", "subscription", "canceled", "grant", "Report canceled subscriptions",
      false },
    { "subscription.past-due", "subscription", "past-due", "grant", "Report subscriptions past due",
      false },
};

static const struct native gateway[] = {
    { "*", "*", "*", "wildcard", "Everything", true },
    { "*.delete", "*", "delete", "wildcard", "Delete rows of any table", true },
    { "*.read", "*", "read", "wildcard", "Read any table", true },
    { "*.write", "*", "write", "wildcard", "Write any table", true },
    { "gateway.*", "gateway", "*", "wildcard", "Everything that the gateway does", true },
    { "gateway.delete", "gateway", "delete", "fallback",
      "Delete rows where a table has no right of its own", false },
    { "gateway.query", "gateway", "query", "capability", "Run SQL", false },
    { "gateway.read", "gateway", "read", "fallback", "Read where a table has no right of its own",
      false },
    { "gateway.rpc.execute", "gateway.rpc", "execute", "capability", "Call functions", false },
    { "gateway.storage_proxy", "gateway.storage_proxy", "proxy", "capability", "Use object storage",
      false },
    { "gateway.typesense_proxy", "gateway.typesense_proxy", "proxy", "capability", "Use Typesense",
      false },
    { "gateway.write", "gateway", "write", "fallback",
      "Write where a table has no right of its own", false },
    { "{resource}.delete", "{resource}", "delete", "template", "Delete rows of a table", true },
    { "{resource}.read", "{resource}", "read", "template", "Read a table", true },
    { "{resource}.write", "{resource}", "write", "template", "Write a table", true },
};

static void put_native(struct buf *b, const struct native *list, size_t n, const char *source)
{
    for (size_t i = 0; i < n; i++) {
        buf_z(b, b->p[b->n - 1] == '[' ? "{" : ",{");
        buf_json_str(b, "action", str_of(list[i].action));
        buf_json_str(b, "description", str_of(list[i].description));
        buf_json_bool(b, "isPattern", list[i].pattern);
        buf_json_str(b, "key", str_of(list[i].key));
        buf_json_str(b, "kind", str_of(list[i].kind));
        buf_json_str(b, "resource", str_of(list[i].resource));
        buf_json_str(b, "source", str_of(source));
        buf_char(b, '}');
    }
}

enum { D_CREATED, D_DESCRIPTION, D_ID, D_KEY, D_UPDATED };

static void put_dynamic(struct buf *b, const ath_rows *rows, uint32_t i)
{
    buf_z(b, i ? ",{" : "{");
    buf_json_str(b, "action", ATH_S("assign"));
    buf_json_key(b, "createdAt");
    admin_value(b, ADMIN_TIME, ath_cell(rows, i, D_CREATED));
    buf_json_key(b, "description");
    admin_value(b, ADMIN_TEXT, ath_cell(rows, i, D_DESCRIPTION));
    buf_json_str(b, "id", ath_cell(rows, i, D_ID));
    buf_json_bool(b, "isPattern", false);
    buf_json_str(b, "key", ath_cell(rows, i, D_KEY));
    buf_json_str(b, "kind", ATH_S("dynamic"));
    buf_json_str(b, "resource", ATH_S("api_key"));
    buf_json_str(b, "source", ATH_S("api_key_store"));
    buf_json_key(b, "updatedAt");
    admin_value(b, ADMIN_TIME, ath_cell(rows, i, D_UPDATED));
    buf_char(b, '}');
}

static int show(ath_req *r, const ath_rows *rows, const char *status)
{
    struct buf b = admin_answer(r, "Listed Athena rights catalog");
    uint32_t own = ATH_COUNT(billing) + ATH_COUNT(gateway);
    uint32_t dynamic = rows ? ath_host_->pg->count(rows) : 0;

    buf_json_str(&b, "apiKeyRightsStatus", str_of(status));
    buf_printf(&b, ",\"counts\":{\"dynamicApiKeyRights\":%u,\"native\":%u,\"total\":%u}", dynamic,
               own, own + dynamic);
    buf_lit(&b, ",\"dynamicApiKeyRights\":[");
    for (uint32_t i = 0; i < dynamic; i++)
        put_dynamic(&b, rows, i);
    buf_lit(&b, "],\"nativeRights\":[");
    put_native(&b, billing, ATH_COUNT(billing), "billing");
    put_native(&b, gateway, ATH_COUNT(gateway), "gateway");
    buf_lit(&b, "],\"sources\":{\"api_key_rights\":\"/admin/api-key-rights\","
                "\"athena_auth_grants\":\"/admin/grant/list\","
                "\"athena_auth_rights\":\"/admin/rights/catalog\","
                "\"billing\":\"/admin/billing/grants\"}");
    return admin_reply(r, 200, &b);
}

/* The database said no, or there was nobody to ask. */
static int show_without(ath_req *r, ath_err *e)
{
    bool asked = ath_host_->err->get(e, "sqlstate").n > 0;

    return show(r, NULL, asked ? "query_failed" : "unavailable");
}

static int loaded(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? show_without(t, e) : show(t, d->rows, "ok");
}

int catalog_show(ath_req *r, ath_err *e)
{
    static const char sql[] =
        "select " ADMIN_UTC(created_at) ", description, api_key_rights_id::text, name, " ADMIN_UTC(
            updated_at) " from api_key_rights order by name collate \"C\"";
    const ath_stmt stmt = { .sql = sql, .flags = ATH_PG_READ };
    ath_query q = { .size = sizeof(q),
                    .client = admin_database(ADMIN_KEYS),
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return ath_host_->pg->query(r, &q, loaded, NULL, e) < 0 ? show_without(r, e) : 0;
}
