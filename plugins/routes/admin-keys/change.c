/* Whatever changes the key store: all statements and the word to the other processes are one trip,
 * which is one transaction; then this process reads what it needs, and only then the caller is
 * answered. So the next request is judged by the change, wherever it goes a moment later.
 *
 * A refusal by settle() comes after the transaction: statements that find nothing change nothing.
 */
#include "admin_keys.h"

struct change *change_new(ath_req *r, const char *failed, const char *message,
                          change_settle *settle)
{
    struct change *c = ath_new(ath_arena_of(r), sizeof(*c));

    c->failed = failed;
    c->message = message;
    c->settle = settle;
    c->status = 200;
    return c;
}

void change_add(struct change *c, const char *sql, const ath_str *param, uint32_t params)
{
    if (c->count < CHANGE_STATEMENTS)
        c->stmt[c->count++] = (ath_stmt){ .sql = sql, .param = param, .param_count = params };
}

const ath_rows *rows_of(const ath_rows *rows, uint32_t i)
{
    while (rows && i--)
        rows = ath_host_->pg->next(rows);
    return rows;
}

int keys_ready(ath_req *r, ath_err *e)
{
    if (ath_host_->inspect(r, "auth_client").n)
        return 0;
    return admin_fail(e, "auth_store_unavailable", "Auth store unavailable",
                      "No gateway auth client is configured.");
}

/* ---- after it ---- */

void change_said(ath_req *r, struct change *c, const char *word, ath_str value)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    buf_z(&b, word);
    buf_char(&b, ' ');
    buf_str(&b, value);
    c->changed = buf_view(&b);
}

/* For the audit log, where the names of what was sent do not say it. */
static void note_change(ath_req *r, const struct change *c)
{
    const ath_fact fact = { ATH_S("changed"), c->changed, ATH_V_TEXT, 0 };

    if (c->changed.n)
        ath_host_->req->note(r, &fact);
}

void warn_unknown_client(ath_req *r, ath_str client)
{
    const struct admin_keys_state *s = ath_state_of(r);
    const ath_fact fact[] = { { ATH_S("client_name"), client, ATH_V_TEXT, 0 } };
    const ath_event ev = { .size = sizeof(ev),
                           .level = ATH_WARN,
                           .source = ATH_S("athena::keys"),
                           .message = ATH_S("the key store names a client that is not known here"),
                           .fact = fact,
                           .fact_count = ATH_COUNT(fact) };

    if (client.n && !s->clients->runtime(ath_arena_of(r), client, 0).n)
        ath_host_->log->event(ath_self_, r, &ev);
}

static int refreshed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct change *c = d->arg;

    (void)e;
    return d->rc < 0 ? d->rc : admin_reply(t, c->status, &c->answer);
}

/* ---- the trip ---- */

static int run(ath_req *r, struct change *c, ath_err *e);

static bool is_taken(const ath_err *e)
{
    return str_is(ath_host_->err->get(e, "sqlstate"), "23505") &&
           str_is(ath_host_->err->get(e, "constraint"), "api_keys_public_id_key");
}

static int refused(ath_req *r, struct change *c, ath_err *e)
{
    if (c->again && is_taken(e) && c->again(r, c->arg))
        return run(r, c, e);
    return admin_refuse(r, ADMIN_KEYS, c->failed, e);
}

static int changed(ath_task *t, const ath_done *d, ath_err *e)
{
    const struct admin_keys_config *cfg = ath_config_of(t);
    const struct admin_keys_state *s = ath_state_of(t);
    struct change *c = d->arg;
    int rc;

    if (d->rc < 0)
        return refused(t, c, e);
    c->answer = admin_answer(t, c->message);
    if ((rc = c->settle(t, c, d->rows, &c->answer, e)) < 0)
        return rc;
    note_change(t, c);
    if (!s->auth)
        return admin_reply(t, c->status, &c->answer);
    return s->auth->refresh(t, (uint32_t)cfg->refresh_ms, refreshed, c, e);
}

static int run(ath_req *r, struct change *c, ath_err *e)
{
    c->query = (ath_query){ .size = sizeof(c->query),
                            .client = admin_database(ADMIN_KEYS),
                            .stmt = c->stmt,
                            .stmt_size = sizeof(c->stmt[0]),
                            .stmt_count = c->count };
    return ath_host_->pg->query(r, &c->query, changed, c, e) < 0 ? refused(r, c, e) : 0;
}

int change_run(ath_req *r, struct change *c, ath_err *e)
{
    c->stmt[c->count++] = (ath_stmt){ .sql = "select pg_notify('athena_auth_changed', '')" };
    return run(r, c, e);
}
