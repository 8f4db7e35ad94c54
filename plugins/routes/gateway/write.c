/* PUT and POST /gateway/insert, POST /gateway/update, DELETE and POST /gateway/delete: body ->
 * names
 * -> catalogue -> right -> one trip -> caches are told -> rows as JSON.
 *
 * The trip is one transaction, so a request is done wholly or not at all. A right to write is
 * enough to see the rows that were written, as published: reading others is another right.
 */
#include "buffer.h"

#include <time.h>

#include "change.h"
#include "dataplane/effect.h"
#include "dataplane/refusal.h"
#include "lib/json.h"
#include "window.h"

struct write {
    struct dp_effect effect; /* first */
    enum dp_kind kind;
    const struct json *body; /* NULL: not read yet */
    struct change c;
    struct dp_once once;  /* with an idempotency key */
    struct waiter waiter; /* with a window */
    uint32_t window_ms;   /* 0: none */
    bool at_once;         /* it is not deferred */
    bool hidden;          /* the row is not shown, though the statement gives it */
    ath_str reply;
};

/* ---- the answer ---- */

static void member(struct buf *b, const char *key, ath_str text)
{
    buf_json_key(b, key);
    if (text.p)
        buf_json(b, text);
    else
        buf_lit(b, "null");
}

static void meta(struct buf *b, uint64_t affected)
{
    buf_lit(b, ",\"meta\":{\"rows_affected\":");
    buf_u64(b, affected);
    buf_char(b, '}');
}

static ath_str id_text(const struct write *x)
{
    const struct json *id = x->c.w.id;

    return !id ? (ath_str){ NULL, 0 } : id->type == JSON_STRING ? id->text : id->raw;
}

/* Members in the byte order of their keys, as everywhere. */
static void tail(ath_req *r, const struct write *x, uint64_t affected,
                 const struct dp_changed *done, struct buf *b)
{
    char words[64];

    (void)snprintf(words, sizeof(words), "Updated %llu rows", (unsigned long long)affected);
    member(b, "message",
           x->kind == DP_INSERT   ? ATH_S("Data inserted successfully")
           : x->kind == DP_DELETE ? ATH_S("Data deleted successfully")
                                  : str_of(words));
    meta(b, affected);
    if (x->kind != DP_UPDATE)
        member(b, "resource_id", x->kind == DP_INSERT ? done->id : id_text(x));
    member(b, "status", ATH_S("success"));
    if (x->kind != DP_UPDATE) {
        buf_json_bool(b, "success", true);
        member(b, "table_name", change_table(r, &x->c));
    }
    buf_char(b, '}');
}

static void account(ath_req *r, const struct write *x, uint64_t affected,
                    const struct dp_changed *done)
{
    ath_str id = x->kind == DP_INSERT ? done->id : id_text(x);

    if (x->kind == DP_UPDATE)
        dp_note_number(r, "updated_count", affected);
    dp_note_number(r, "rows_affected", affected);
    dp_note_number(r, "returned_row_count", done->returned);
    if (id.p && x->kind != DP_UPDATE)
        dp_note(r, "resource_id", id, ATH_V_TEXT);
    if (x->kind == DP_DELETE && x->c.w.id_column.n)
        dp_note(r, "column_name", x->c.w.id_column, ATH_V_TEXT);
}

/* Up to where the rows stand. */
static struct buf body_begin(ath_req *r, const struct write *x, uint64_t affected)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));
    ath_str column = x->c.w.id_column;

    buf_grow(&b, 511);
    buf_lit(&b, "{\"affected_rows\":");
    buf_u64(&b, affected);
    if (x->kind == DP_DELETE) {
        member(&b, "client", ath_host_->req->info(r, "client"));
        member(&b, "column_name", column.n ? column : (ath_str){ NULL, 0 });
    }
    if (x->c.w.counted)
        buf_json_int(&b, "count", (int64_t)affected);
    buf_json_key(&b, "data");
    return b;
}

/* Behind the rows, which begin at `from`. */
static void body_end(ath_req *r, struct write *x, uint64_t affected, const struct dp_changed *done,
                     size_t from, struct buf *b)
{
    account(r, x, affected, done);
    if (gateway_bare_rows(r)) {
        x->effect.reply = str_from(b->p + from, b->n - from);
        return;
    }
    tail(r, x, affected, done, b);
    x->effect.reply = buf_view(b);
}

static void body_of(ath_req *r, struct write *x, const ath_rows *rows)
{
    uint64_t affected = dp_change_affected(&x->c.sql, rows);
    struct buf b = body_begin(r, x, affected);
    struct dp_changed done;
    size_t from = b.n;

    dp_change_rows(&x->c.dp, &x->c.w, &x->c.sql, rows, &done, &b);
    body_end(r, x, affected, &done, from, &b);
}

static int say(ath_req *r, struct dp_effect *effect, const ath_rows *rows, ath_err *e)
{
    struct write *x = (struct write *)effect;

    x->c.dp.e = e;
    body_of(r, x, rows);
    return 0;
}

static int failed(ath_task *t, struct dp_ask *ask, int rc, ath_err *e)
{
    (void)t;
    return change_failed(&((struct write *)ask)->c, rc, e);
}

static bool names_database(ath_req *r)
{
    static const char *const direct[] = { "x-pg-uri", "x-athena-jdbc-url", "x-jdbc-url" };

    for (size_t i = 0; i < ATH_COUNT(direct); i++)
        if (ath_header(r, direct[i]).n)
            return true;
    return false;
}

/* ---- deferred ---- */

static uint64_t wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int ask_again(ath_req *r, struct write *x, ath_err *e)
{
    x->at_once = true;
    return dp_ask(r, &x->effect.ask, e);
}

/* What stands for the id's column before anybody has asked the database. */
static ath_str id_column(const struct write *x)
{
    if (x->c.w.id_column.n)
        return x->c.w.id_column;
    if (!x->c.w.id)
        return (ath_str){ NULL, 0 };
    return x->c.w.id_attribute ? x->c.w.id_attribute->name : ATH_S("id");
}

static int acknowledge(ath_req *r, const struct write *x)
{
    struct buf b = BUF_ARENA(ath_arena_of(r));

    if (gateway_bare_rows(r))
        return ath_reply(r, 200, "application/json", ATH_S("[]"));
    if (x->kind == DP_UPDATE)
        return ath_reply(r, 200, "application/json",
                         ATH_S("{\"data\":[],\"message\":\"Update queued (deferred write mode)\","
                               "\"status\":\"success\"}"));
    buf_char(&b, '{');
    member(&b, "client", ath_host_->req->info(r, "client"));
    member(&b, "column_name", id_column(x));
    member(&b, "message", ATH_S("Delete queued (deferred write mode)"));
    member(&b, "resource_id", id_text(x));
    member(&b, "status", ATH_S("success"));
    buf_json_bool(&b, "success", true);
    member(&b, "table_name", change_table(r, &x->c));
    buf_char(&b, '}');
    return ath_reply(r, 200, "application/json", buf_view(&b));
}

static int kept(ath_task *t, const ath_done *d, ath_err *e)
{
    return d->rc < 0 ? ask_again(t, d->arg, e) : acknowledge(t, d->arg);
}

/* What is meant, by the names that the caller was allowed to write by. 1: it is done at once. */
static int defer(ath_req *r, struct write *x, ath_err *e)
{
    const struct dp_node *root = &x->c.w.root;
    ath_who who = { .size = sizeof(who) };
    struct draft d = { .kind = x->kind, .at_ms = wall_ms() };
    char *id = ath_new(ath_arena_of(r), UUID_TEXT);

    uuid_make(id);
    ath_host_->req->who(r, &who);
    d.part[PART_ID] = str_of(id);
    d.part[PART_CLIENT] = ath_host_->req->info(r, "client");
    d.part[PART_ASKED] = change_table(r, &x->c);
    d.part[PART_SCHEMA] = root->relation ? root->relation->schema : root->schema;
    d.part[PART_TABLE] = root->relation ? root->relation->name : root->table;
    d.part[PART_KEY] = who.key_id;
    d.part[PART_PUBLIC] = who.public_id;
    d.part[PART_REQUEST] = ath_host_->req->info(r, "id");
    d.part[PART_BODY] = x->body->raw;
    return buffer_put(r, &d, kept, x, e);
}

/* A request of the deferred queue has waited already, and is done when it is answered. */
static bool has_waited(ath_req *r)
{
    return ath_header(r, "x-athena-deferred-id").n > 0;
}

/* A caller with an idempotency key wants the answer, and one with a database of its own (D-19) has
 * no lane. */
static bool may_wait(ath_req *r, const struct write *x)
{
    return !has_waited(r) && x->kind != DP_INSERT && !x->at_once && !x->effect.once.key.n &&
           !names_database(r);
}

/* ---- with a window ---- */

static bool switched_on(ath_str s)
{
    return str_is(s, "true") || str_is(s, "1") || str_is(s, "yes") || str_is(s, "on");
}

/* "a, b.c": by its name alone, or with its schema. */
static bool is_listed(ath_str list, const ath_relation *of)
{
    ath_str one;

    while (str_next(&list, ',', &one)) {
        size_t dot = str_find(one = str_trim(one), '.');
        if (str_eq(one, of->name) || (dot < one.n && str_eq(str_from(one.p, dot), of->schema) &&
                                      str_eq(str_after(one, dot + 1), of->name)))
            return true;
    }
    return false;
}

/* How long this insert may wait for others; 0: it is written by itself. */
static uint32_t window_of(ath_req *r, const struct write *x)
{
    const struct gateway_config *cfg = ath_config_of(r);
    const struct dp_write *w = &x->c.w;
    uint64_t ms = cfg->window_ms, asked, half = ath_host_->task->left_ms(r) / 2;

    if (str_u64(str_trim(ath_header(r, "x-athena-insert-window")), &asked) && asked)
        ms = asked < 60000 ? asked : 60000;
    if (ms > half) /* there must be time left to write it */
        ms = half;
    if (!ms || x->kind != DP_INSERT || !w->one || w->conflict || !w->column_count ||
        x->effect.once.key.n || !w->root.item->star || w->root.item->next ||
        (w->root.relation->kind != ATH_REL_TABLE &&
         w->root.relation->kind != ATH_REL_PARTITIONED) ||
        is_listed(ATH_S("storage_profiles,typesense_profiles,saved_queries"), w->root.relation) ||
        switched_on(ath_header(r, "x-athena-deadpool-enable")) || names_database(r) ||
        has_waited(r))
        return 0;
    return (uint32_t)ms;
}

/* The same columns in another order are the same lane. */
static int in_order(struct write *x)
{
    struct dp_write *w = &x->c.w;

    for (uint32_t i = 1; i < w->column_count; i++)
        for (uint32_t j = i; j > 0 && w->column[j - 1]->number > w->column[j]->number; j--) {
            const ath_attribute *a = w->column[j];
            const struct json *v = w->cell[j];
            w->column[j] = w->column[j - 1];
            w->cell[j] = w->cell[j - 1];
            w->column[j - 1] = a;
            w->cell[j - 1] = v;
        }
    w->head = false; /* others may want the row */
    w->ids = true;
    return dp_write_sql(&x->c.dp, w, &x->c.sql);
}

static int told(ath_task *t, const ath_done *d, ath_err *e)
{
    struct write *x = d->arg;
    const struct waiter *w = &x->waiter;
    struct dp_changed done = { .returned = w->row.p && !x->hidden, .id = w->id };
    uint64_t affected = w->row.p != NULL;
    struct buf b;
    size_t from;

    if (d->rc < 0)
        return d->rc;
    if (w->refusal.p)
        return dp_ask_failed(t, &x->effect.ask, dp_refuse_again(t, w->refusal, e), e);
    b = body_begin(t, x, affected);
    from = b.n;
    buf_str(&b, x->hidden ? ATH_S("[]") : w->row.p ? w->row : ATH_S("null"));
    body_end(t, x, affected, &done, from, &b);
    return dp_effect_done(t, &x->effect, e);
}

static int send_later(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    struct write *x = (struct write *)ask;
    int rc;

    x->waiter = (struct waiter){ .c = &x->c,
                                 .window_ms = x->window_ms,
                                 .alone = is_listed(cfg->window_deny, x->c.w.root.relation),
                                 .told = told,
                                 .arg = x };
    rc = window_join(r, &x->waiter, e);
    if (rc == WINDOW_FULL)
        return gateway_overloaded(r, &x->waiter, e);
    if (rc != WINDOW_NO)
        return rc;
    x->c.w.head = x->hidden;
    return dp_ask_send(r, ask, e);
}

/* ---- the way there ---- */

static int read_text(ath_req *r, struct write *x, ath_err *e)
{
    if (x->body)
        return 0;
    if (x->kind == DP_UPDATE && !str_trim(ath_host_->req->body(r)).n) {
        ath_raise(e, "missing_request_body", "request body is required for /gateway/update");
        ath_host_->err->detail(e, "title", ATH_S("\"Request body is required\""));
        return ATH_E_INPUT;
    }
    return dp_body(r, "malformed_json_payload", &x->body, e);
}

static int read_body(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    struct write *x = (struct write *)ask;
    int rc;

    if ((rc = dp_once_key(r, ATH_S(""), &x->effect.once.key, e)) < 0 ||
        (rc = read_text(r, x, e)) < 0 || (rc = change_read(r, &x->c, x->kind, x->body, e)) < 0)
        return rc;
    dp_note(r, "table_name", change_table(r, &x->c), ATH_V_TEXT);
    return 0;
}

static int bind(ath_req *r, struct dp_ask *ask, ath_err *e)
{
    const struct gateway_config *cfg = ath_config_of(r);
    struct write *x = (struct write *)ask;
    int rc = change_bind(r, &x->c, ask->snapshot, &ask->unknown, e), put;

    /* Whether a name exists is found out later, when the catalogue that knows best does not. */
    if (x->effect.writes && (rc == 0 || (ask->unknown && ask->refreshed)) && may_wait(r, x) &&
        (put = defer(r, x, e)) != 1)
        return put;
    if (rc < 0 || (rc = dp_effect_bound(r, &x->effect, e)) < 0)
        return rc;
    x->effect.changed = &x->c.relation;
    x->effect.changes = 1;
    if ((x->window_ms = window_of(r, x)) > 0) {
        x->hidden = x->c.w.head;
        if ((rc = in_order(x)) < 0)
            return rc;
        dp_effect_send(&x->effect, send_later);
    }
    ask->query.stmt = x->c.sql.stmt;
    ask->query.stmt_count = x->c.sql.stmt_count;
    ask->query.timeout_ms = (uint32_t)cfg->query_timeout_ms;
    return 0;
}

int gateway_write_check(ath_req *r, enum dp_kind kind, const struct dp_write **ret, ath_err *e)
{
    struct write *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->kind = kind;
    *ret = &x->c.w;
    return read_body(r, &x->effect.ask, e);
}

static int begin(ath_req *r, enum dp_kind kind, ath_err *e)
{
    const struct gateway_state *s = ath_state_of(r);
    struct write *x = ath_new(ath_arena_of(r), sizeof(*x));

    x->kind = kind;
    x->effect = (struct dp_effect){
        .ask = { .catalog = s->catalog, .read = read_body, .bind = bind, .failed = failed },
        .cache = s->cache,
        .writes = s->writes,
        .say = say,
    };
    return dp_ask(r, &x->effect.ask, e);
}

int gateway_insert(ath_req *r, ath_err *e)
{
    return begin(r, DP_INSERT, e);
}

int gateway_update(ath_req *r, ath_err *e)
{
    return begin(r, DP_UPDATE, e);
}

int gateway_delete(ath_req *r, ath_err *e)
{
    return begin(r, DP_DELETE, e);
}
