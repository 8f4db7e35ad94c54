/* What an answer means (D-06).
 *
 *     2xx                                        done
 *     nothing was sent: no connection, no room   again
 *     the database asks for it: 40001, 40P01,
 *     53xxx, 57P03                               again
 *     nobody can check who asked                 again, and it does not count
 *     the route is not loaded in this process    again, and it does not count
 *     the connection broke, no answer came       again if it is done once by its key; else given
 * up, for it may have taken effect anything else                              given up at once
 */
#include "deferred.h"

#include "lib/json.h"

enum { VALUES_MOST = 10000 };

struct answer { /* of an error */
    ath_str code, words, state;
    const struct json *details;
    int status;
};

static bool is_any(ath_str s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(s, list[i]))
            return true;
    return false;
}

#define IS_ANY(s, list) is_any((s), (list), ATH_COUNT(list))

static ath_str first(const struct json *o, const char *a, const char *b)
{
    ath_str s = json_text(json_get(o, a));

    return s.n ? s : json_text(json_get(o, b));
}

static struct answer read_answer(ath_task *t, const ath_done *d)
{
    struct json_error why;
    const struct json *v = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), VALUES_MOST, &why);
    struct answer a = { .status = d->status, .details = json_get(v, "details") };

    a.code = json_text(json_get(v, "code"));
    a.words = first(v, "error", "message");
    a.state = first(a.details, "sql_state", "sqlstate");
    return a;
}

/* ---- words (contract jobs 2.4) ---- */

/* Which statement of a script it was. */
static void say_statement(struct buf *b, const struct answer *a)
{
    static const char *const places[] = { "statement_index", "total_statements", "line_start",
                                          "line_end" };
    int64_t at[ATH_COUNT(places)];

    buf_lit(b, "deferred query execution failed: ");
    for (size_t i = 0; i < ATH_COUNT(places); i++) {
        const struct json *v = json_given(a->details, places[i]);
        if (!v || !json_i64(v, &at[i]))
            return;
    }
    buf_printf(b, "Statement %lld/%lld failed at lines %lld-%lld: ", (long long)at[0],
               (long long)at[1], (long long)at[2], (long long)at[3]);
}

static ath_str say(ath_task *t, const struct work *w, const struct answer *a)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));
    ath_str word = str_of(w->kind->word);

    if (str_is(word, "query"))
        say_statement(&b, a);
    else if (str_is(word, "fetch"))
        buf_lit(&b, "deferred fetch execution failed: failed to execute select query: ");
    else if (!a->state.n)
        buf_lit(&b, "invalid payload: ");
    buf_str(&b, a->words.n ? a->words : ATH_S("no answer"));
    if (str_is(word, "insert") && a->state.n)
        buf_printf(&b, " (sql_state=%.*s)", STR_ARG(a->state));
    return buf_view(&b);
}

static ath_str no_client(ath_task *t, const struct work *w)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_printf(&b, "Athena client '%.*s' unavailable for deferred execution", STR_ARG(w->client));
    return buf_view(&b);
}

/* ---- kinds of failures ---- */

/* By its SQLSTATE: the database refused it, so nothing of it has taken effect. */
static struct verdict refused(ath_task *t, const struct work *w, const struct answer *a)
{
    static const char *const again[] = { "40001", "40P01", "57P03" };
    static const char *const lost[] = { "57P01", "57P02" };
    bool later = IS_ANY(a->state, again) || str_starts(a->state, "53") ||
                 (w->once && (IS_ANY(a->state, lost) || str_starts(a->state, "08")));

    return (struct verdict){ .is = later ? AGAIN : GIVEN_UP, .sure = true, .words = say(t, w, a) };
}

/* Who asked may not, or cannot be checked now. */
static struct verdict unauthorized(const struct answer *a)
{
    if (a->status == 503)
        return (struct verdict){
            .is = AGAIN, .sure = true, .free = true, .words = ATH_S("authorization unavailable")
        };
    return (struct verdict){ .is = GIVEN_UP, .sure = true, .words = ATH_S("authorization failed") };
}

static bool is_of_caller(const struct answer *a)
{
    static const char *const store[] = { "auth_store_unavailable", "api_key_policy_unavailable",
                                         "session_store_unavailable", "ip_policy_unavailable" };

    return a->status == 401 || a->status == 403 || IS_ANY(a->code, store);
}

/* Nothing was sent. */
static bool is_before(const struct answer *a)
{
    static const char *const codes[] = {
        "client_unavailable",       "client_draining",     "server_busy",
        "server_draining",          "feature_unavailable", "api_key_rate_limited",
        "api_key_budget_exhausted", "backend_unavailable"
    };

    return a->status == 429 || IS_ANY(a->code, codes);
}

/* The plugin of its route is not loaded in this process; in another one it may be. */
static struct verdict no_route(ath_task *t, const struct work *w)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_printf(&b, "route %s is not loaded in the process that tried", w->kind->path);
    return (struct verdict){ .is = AGAIN, .sure = true, .free = true, .words = buf_view(&b) };
}

static struct verdict by_answer(ath_task *t, const struct work *w, const struct answer *a)
{
    static const char *const keyless[] = { "idempotency_not_installed",
                                           "idempotency_answer_too_large" };

    if (w->once && !w->own_key && IS_ANY(a->code, keyless))
        return (struct verdict){ .is = WITHOUT_KEY, .sure = true };
    if (str_is(a->code, "idempotency_key_running"))
        return (struct verdict){ .is = AGAIN, .free = true, .words = a->words };
    if (a->state.n)
        return refused(t, w, a);
    if (is_of_caller(a))
        return unauthorized(a);
    if (str_is(a->code, "client_unknown"))
        return (struct verdict){ .is = GIVEN_UP, .sure = true, .words = no_client(t, w) };
    if (str_is(a->code, "client_unavailable"))
        return (struct verdict){ .is = AGAIN, .sure = true, .words = no_client(t, w) };
    if (is_before(a))
        return (struct verdict){ .is = AGAIN, .sure = true, .words = say(t, w, a) };
    if (str_is(a->code, "not_found"))
        return no_route(t, w);
    if (a->status < 500)
        return (struct verdict){ .is = GIVEN_UP, .sure = true, .words = say(t, w, a) };
    return (struct verdict){ .is = w->once || w->kind->reads ? AGAIN : GIVEN_UP,
                             .words = say(t, w, a) };
}

/* The call itself failed: no answer came. */
static struct verdict by_error(ath_task *t, const struct work *w, int rc, ath_err *e)
{
    struct answer a = { .code = ath_host_->err->get(e, "code") };
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_str(&b, ath_host_->err->get(e, "message"));
    a.words = buf_view(&b);
    if (is_before(&a))
        return (struct verdict){ .is = AGAIN, .sure = true, .words = say(t, w, &a) };
    if (rc == ATH_E_TOO_LARGE) /* it has taken effect, and would be as large again */
        return (struct verdict){ .is = GIVEN_UP, .words = say(t, w, &a) };
    return (struct verdict){ .is = w->once || w->kind->reads ? AGAIN : GIVEN_UP,
                             .words = say(t, w, &a) };
}

struct verdict verdict_of(ath_task *t, const struct work *w, const ath_done *d, ath_err *e)
{
    struct answer a;

    if (d->rc < 0)
        return by_error(t, w, d->rc, e);
    if (d->status >= 200 && d->status < 300)
        return (struct verdict){ .is = DONE };
    a = read_answer(t, d);
    return by_answer(t, w, &a);
}
