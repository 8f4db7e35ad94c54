/* Sessions, by one statement.
 *
 * The tables are the tenants' own, in one of two forms: the newer one is tried first, then the
 * older. A database that lacks some of both has no sessions. What a permission says is read from
 * its row as JSON, so that a column that is not there grants nothing.
 */
#include "auth/session.h"

#include "base/err.h"
#include "db/query.h"
#include "lib/text.h"

enum { SESSION_MS = 5000, TOKEN_MOST = 4096 };

#define WHO(table, live)                                                                           \
    "select exists (select from athena." table " s join athena.users u on u.id = s.user_id where " \
    "s.token = $1 and s.expires_at > now() and u.banned is not true" live " and ("                 \
    "u.role in ('admin', 'super_admin') or $2::boolean and u.role in ('owner', 'storage_admin', "  \
    "'storage-admin') or $2::boolean and exists (select from athena.member m where "               \
    "m.user_id = u.id and m.role in ('admin', 'super_admin', 'owner', 'storage_admin', "           \
    "'storage-admin')) or exists (select from athena.user_permission_scopes p, to_jsonb(p) j "     \
    "where p.user_id = u.id and j ->> 'enabled' = 'true' and (j ->> 'is_global' = 'true' or "      \
    "j ->> 'scope' in ('admin', 'storage.admin', 'storage:admin', 'storage:*')))))"

static const char newer_sql[] = WHO("sessions", " and s.active");
static const char older_sql[] = WHO("session", "");

struct looking {
    ath_str client, token;
    bool org_roles, older;
    ath_then *then;
    void *arg;
};

ath_str session_token(struct req *r)
{
    ath_str bearer = req_find(r, ATH_S("authorization")), cookies, one;

    if (str_starts(bearer, "Bearer "))
        return str_trim(str_after(bearer, 7));
    cookies = req_find(r, ATH_S("cookie"));
    while (str_next(&cookies, ';', &one)) {
        one = str_trim(one);
        if (str_starts(one, "athena-auth.session-token="))
            return str_after(one, strlen("athena-auth.session-token="));
    }
    return (ath_str){ "", 0 };
}

static int ask(struct req *r, struct looking *l, ath_err *e);

static bool lacks_tables(const ath_err *e)
{
    ath_str state = err_get(e, "sqlstate");

    return str_is(state, "42P01") || str_is(state, "42703") || str_is(state, "3F000") ||
           str_is(state, "42501") || str_is(state, "42883");
}

static int asked(ath_task *t, const ath_done *d, ath_err *e)
{
    struct looking *l = d->arg;
    ath_done done = { .size = sizeof(done), .arg = l->arg, .rc = d->rc };

    if (d->rc < 0 && lacks_tables(e)) {
        if (!l->older) {
            l->older = true;
            return ask(req_of(t), l, e);
        }
        done.rc = 0;
    } else if (d->rc == 0) {
        done.count = str_is(db_rows_text(d->rows, 0, 0), "t");
    }
    return l->then(t, &done, e);
}

static int ask(struct req *r, struct looking *l, ath_err *e)
{
    const ath_str param[] = { l->token, l->org_roles ? ATH_S("true") : ATH_S("false") };
    const ath_stmt stmt = { .sql = l->older ? older_sql : newer_sql,
                            .param = param,
                            .param_count = 2 };
    ath_query q = { .size = sizeof(q),
                    .flags = ATH_PG_READ,
                    .client = l->client,
                    .timeout_ms = SESSION_MS,
                    .stmt = &stmt,
                    .stmt_size = sizeof(stmt),
                    .stmt_count = 1 };

    return db_query(&r->task, &q, asked, l, e);
}

int session_look(struct req *r, ath_str client, ath_str token, bool org_roles, ath_then *then,
                 void *arg, ath_err *e)
{
    struct looking *l = ARENA_NEW(&r->task.arena, struct looking);

    if (token.n > TOKEN_MOST || memchr(token.p, 0, token.n))
        return err_raise(e, "unauthorized", "the session's token is none");
    *l = (struct looking){ client, token, org_roles, false, then, arg };
    return ask(r, l, e);
}
