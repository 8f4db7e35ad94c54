#include "change.h"

int change_read(ath_req *r, struct change *c, enum dp_kind kind, const struct json *body,
                ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    const struct gateway_state *s = ath_state_of(r);

    c->kind = kind;
    c->dp = (struct dp){
        .arena = ath_arena_of(r), .e = e, .catalog = s->catalog, .fold = cfg->fold_names
    };
    if (kind == DP_INSERT)
        return dp_read_insert(&c->dp, body, &c->w);
    return kind == DP_UPDATE ? dp_read_update(&c->dp, body, &c->w)
                             : dp_read_delete(&c->dp, body, &c->w);
}

static int names(struct change *c, const ath_snapshot *s, const ath_right **ret_right, ath_err *e)
{
    int rc;

    c->dp.e = e;
    c->dp.snapshot = s;
    rc = dp_bind_write(&c->dp, &c->w);
    dp_write_rights(&c->dp, &c->w, ret_right);
    return rc;
}

static int statement(struct change *c)
{
    c->relation = (ath_relation_name){ c->w.root.relation->schema, c->w.root.relation->name };
    return dp_write_sql(&c->dp, &c->w, &c->sql);
}

int change_bind(ath_req *r, struct change *c, const ath_snapshot *s, bool *ret_unknown, ath_err *e)
{
    const ath_right *right;
    int rc = names(c, s, &right, e), allowed;

    if ((allowed = ath_host_->req->allow(r, right, 1, e)) < 0)
        return allowed;
    *ret_unknown = c->dp.unknown;
    return rc < 0 ? rc : statement(c);
}

int change_rebind(struct change *c, const ath_snapshot *s, const ath_right **ret_right,
                  bool *ret_unknown, ath_err *e)
{
    int rc = names(c, s, ret_right, e);

    *ret_unknown = c->dp.unknown;
    return rc < 0 ? rc : statement(c);
}

int change_failed(struct change *c, int rc, ath_err *e)
{
    c->dp.e = e;
    return dp_write_failed(&c->dp, &c->w, rc);
}

ath_str change_table(ath_req *r, const struct change *c)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    ath_str asked = str_trim(c->w.root.asked);

    if (!c->w.root.schema.n || str_find(asked, '.') < asked.n)
        return asked;
    buf_str(&b, c->w.root.schema);
    buf_char(&b, '.');
    buf_str(&b, asked);
    return buf_view(&b);
}
