/* What went wrong with a change, where the contract has words of its own for it (17.2, 17.6). */
#include "dataplane/write.h"

#include "lib/json.h"

static void detail(struct dp *dp, const char *key, const struct buf *words)
{
    struct buf b = dp_buf(dp);

    buf_json(&b, buf_view(words));
    ath_host_->err->detail(dp->e, key, buf_view(&b));
}

/* Whether a view takes a write depends on its query and its triggers, so PostgreSQL is asked. */
int dp_write_view(struct dp *dp, const struct dp_write *w)
{
    const ath_relation *r = w->root.relation;
    struct buf words = dp_buf(dp);
    int rc;

    if (w->kind != DP_INSERT)
        return ath_raise(dp->e, "view_not_writable", "cannot %s view \"%.*s\"",
                         w->kind == DP_UPDATE ? "update" : "delete from", STR_ARG(r->name));
    buf_printf(&words,
               "Cannot insert into '%.*s': target relation is a view. Insert into a base table "
               "instead.",
               STR_ARG(r->name));
    rc = ath_raise(dp->e, "view_not_insertable", "%s", words.p);
    detail(dp, "title", &words);
    ath_host_->err->detail(dp->e, "relation_kind",
                           r->kind == ATH_REL_MATVIEW ? ATH_S("\"m\"") : ATH_S("\"v\""));
    ath_host_->err->detail(dp->e, "blocked_operation", ATH_S("\"insert\""));
    return rc;
}

static void duplicate(struct dp *dp)
{
    ath_str name = ath_host_->err->get(dp->e, "constraint");
    struct buf words = dp_buf(dp);

    buf_lit(&words, "Insert would create a duplicate record");
    if (name.n)
        buf_printf(&words, " (unique constraint '%.*s')", STR_ARG(name));
    buf_lit(&words, ". Use /gateway/update to modify the existing record or change the unique "
                    "field values.");
    detail(dp, "title", &words);
}

int dp_write_failed(struct dp *dp, const struct dp_write *w, int rc)
{
    ath_str state = ath_host_->err->get(dp->e, "sql_state");

    if (str_is(state, "55000") && w->root.relation && w->root.relation->kind == ATH_REL_VIEW)
        return dp_write_view(dp, w);
    if (str_is(state, "23505") && w->kind == DP_INSERT)
        duplicate(dp);
    return rc;
}
