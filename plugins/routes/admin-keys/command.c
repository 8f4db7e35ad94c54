/* athena keys ...: what the routes do, from a terminal. A key is named by its id, by its public id
 * (with or without "ath_"), or by its name when that is nobody else's. */
#include "admin_keys.h"

/* ---- finding a key ---- */

struct found { /* in the command's arena */
    ath_str given;
    const struct json *record;
    struct key_call call;
};

static bool is_named(const struct json *record, ath_str given, const char *by)
{
    return str_eq(json_text(json_get(record, by)), given);
}

/* Ids first: a name may look like one. */
static int pick(struct found *f, const struct json *keys, ath_err *e)
{
    ath_str given = str_starts(f->given, "ath_") ? str_after(f->given, 4) : f->given;
    uint32_t named = 0;

    if (keys && keys->type == JSON_ARRAY)
        json_each(record, keys)
        {
            if (is_named(record, f->given, "id") || is_named(record, given, "public_id")) {
                f->record = record;
                return 0;
            }
            if (is_named(record, f->given, "name") && named++ == 0)
                f->record = record;
        }
    if (named > 1)
        return ath_fail(e, ATH_E_CONFLICT, "%u keys have the name \"%.*s\": give an id", named,
                        STR_ARG(f->given));
    if (!named)
        return ath_fail(e, ATH_E_MISSING, "no key has the id, public id or name \"%.*s\"",
                        STR_ARG(f->given));
    return 0;
}

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf path = BUF_ARENA(ath_arena_of(t));
    struct found *f = d->arg;
    struct json_error why;
    const struct json *doc;

    if (d->rc < 0)
        return d->rc;
    if (d->status != 200)
        return ath_fail(e, ATH_E_UPSTREAM, "/admin/api-keys failed (%d): %.*s", d->status,
                        STR_ARG(d->bytes));
    doc = json_read(d->bytes, JSON_ARENA(ath_arena_of(t)), 10000000, &why);
    if (pick(f, json_get(json_get(doc, "data"), "api_keys"), e) < 0)
        return ATH_E_MISSING;
    buf_lit(&path, "/admin/api-keys/");
    admin_segment(&path, json_text(json_get(f->record, "id")));
    buf_z(&path, f->call.more);
    if (!f->call.then)
        return admin_remote(t, f->call.method, buf_view(&path), f->call.body, e);
    return ath_host_->req->call(
        t,
        &(ath_fetch){ .size = sizeof(ath_fetch), .method = f->call.method, .url = buf_view(&path) },
        f->call.then, NULL, e);
}

int key_call(ath_task *t, ath_str key, const struct key_call *call, ath_err *e)
{
    const ath_fetch all = {
        .size = sizeof(all), .method = "GET", .url = ATH_S("/admin/api-keys"), .max_body = 64u << 20
    };
    struct found *f = ath_new(ath_arena_of(t), sizeof(*f));

    *f = (struct found){ .given = key, .call = *call };
    return ath_host_->req->call(t, &all, listed, f, e);
}

static int of_key(ath_task *t, ath_str key, const char *method, const char *more, ath_str body,
                  ath_err *e)
{
    return key_call(t, key, &(struct key_call){ .method = method, .more = more, .body = body }, e);
}

/* ---- options ---- */

struct keyed {
    ath_str key;
};

struct created {
    ath_str name, rights, client, description, expires, allow;
    int32_t virgin;
    int64_t until, most;
};

struct granted {
    ath_str key, rights;
};

struct rotated {
    ath_str key;
    int64_t overlap;
};

struct enforced {
    ath_str word, client;
};

#define KEY(type)                                                                                  \
    ATH_STR(type, key, "key", NULL, NULL, "The key: its id, public id or name.",                   \
            .flags = ATH_CF_ARG)

/* clang-format off */
static const ath_field keyed_fields[] = { KEY(struct keyed) };
static const ath_field created_fields[] = {
    ATH_STR(struct created, name, "name", NULL, NULL, "What it is called.", .flags = ATH_CF_ARG),
    ATH_STR(struct created, rights, "rights", "", NULL, "What it may do, between commas: orders.read,*.write."),
    ATH_STR(struct created, client, "client", "", NULL, "The one client that it is for; empty: any."),
    ATH_STR(struct created, description, "description", "", NULL, "What it is for."),
    ATH_STR(struct created, expires, "expires_at", "", NULL, "When it ends, as in 2027-01-31T00:00:00Z; empty: never."),
    ATH_STR(struct created, allow, "allow", "", NULL, "Addresses that it may be used from, between commas; empty: any."),
    ATH_BOOL(struct created, virgin, "virgin", "false", "It learns where it is used from, and is then locked to that."),
    ATH_INT(struct created, until, "virgin_until", "0", "0..2147483647", "So many requests teach it; 0: any number."),
    ATH_INT(struct created, most, "max_whitelist_ips", "0", "0..2147483647", "So many addresses at most; 0: any number."),
};
static const ath_field granted_fields[] = {
    KEY(struct granted),
    ATH_STR(struct granted, rights, "rights", "", NULL, "What it may do from now on, between commas; without it, what it may do is shown.", .flags = ATH_CF_ARG),
};
static const ath_field rotated_fields[] = {
    KEY(struct rotated),
    ATH_INT(struct rotated, overlap, "overlap_secs", "86400", "0..31622400", "So long the old key holds, too."),
};
static const ath_field enforced_fields[] = {
    ATH_STR(struct enforced, word, "word", "", "|on|off|default", "on, off, or default: a client is as all others; nothing: shown.", .flags = ATH_CF_ARG),
    ATH_STR(struct enforced, client, "client", "", NULL, "For this client; empty: in general."),
};
/* clang-format on */

/* ---- bodies ---- */

static struct buf object(ath_task *t)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_char(&b, '{');
    return b;
}

static ath_str closed(struct buf *b)
{
    buf_char(b, '}');
    return buf_view(b);
}

/* "a, b" as ["a","b"] */
static void put_words(struct buf *b, const char *name, ath_str words)
{
    ath_str word;

    buf_json_key(b, name);
    buf_char(b, '[');
    while (str_next(&words, ',', &word)) {
        word = str_trim(word);
        if (!word.n)
            continue;
        if (b->p[b->n - 1] != '[')
            buf_char(b, ',');
        buf_json(b, word);
    }
    buf_char(b, ']');
}

static void put_given(struct buf *b, const char *name, ath_str text)
{
    if (text.n)
        buf_json_str(b, name, text);
}

/* ---- the commands ---- */

static int list_run(ath_task *t, const void *options, ath_err *e)
{
    (void)options;
    return admin_remote(t, "GET", ATH_S("/admin/api-keys"), (ath_str){ 0 }, e);
}

static int show_run(ath_task *t, const void *options, ath_err *e)
{
    const struct keyed *o = options;

    return of_key(t, o->key, "GET", "", (ath_str){ 0 }, e);
}

static int create_run(ath_task *t, const void *options, ath_err *e)
{
    const struct created *o = options;
    struct buf b = object(t);

    buf_json_str(&b, "name", o->name);
    put_words(&b, "rights", o->rights);
    put_given(&b, "client_name", o->client);
    put_given(&b, "description", o->description);
    put_given(&b, "expires_at", o->expires);
    if (o->allow.n)
        put_words(&b, "ip_whitelist", o->allow);
    if (o->virgin)
        buf_json_bool(&b, "virgin_mode", true);
    if (o->until)
        buf_json_int(&b, "virgin_until_n_requests", o->until);
    if (o->most)
        buf_json_int(&b, "max_whitelist_ips", o->most);
    return admin_remote(t, "POST", ATH_S("/admin/api-keys"), closed(&b), e);
}

static int rights_run(ath_task *t, const void *options, ath_err *e)
{
    const struct granted *o = options;
    struct buf b = object(t);

    if (!o->rights.n)
        return of_key(t, o->key, "GET", "", (ath_str){ 0 }, e);
    put_words(&b, "rights", o->rights);
    return of_key(t, o->key, "PATCH", "", closed(&b), e);
}

static int rotate_run(ath_task *t, const void *options, ath_err *e)
{
    const struct rotated *o = options;
    struct buf b = object(t);

    buf_json_int(&b, "overlap_secs", o->overlap);
    return of_key(t, o->key, "POST", "/rotate", closed(&b), e);
}

static int revoke_run(ath_task *t, const void *options, ath_err *e)
{
    const struct keyed *o = options;

    return of_key(t, o->key, "PATCH", "", ATH_S("{\"is_active\":false}"), e);
}

static int delete_run(ath_task *t, const void *options, ath_err *e)
{
    const struct keyed *o = options;

    return of_key(t, o->key, "DELETE", "", (ath_str){ 0 }, e);
}

static int enforce_run(ath_task *t, const void *options, ath_err *e)
{
    const struct enforced *o = options;
    ath_str none = { 0 }, body = str_is(o->word, "on") ? ATH_S("{\"enforce_api_keys\":true}")
                                                       : ATH_S("{\"enforce_api_keys\":false}");
    struct buf path = BUF_ARENA(ath_arena_of(t));
    bool back = str_is(o->word, "default");

    if (!o->word.n)
        return admin_remote(t, "GET", ATH_S("/admin/api-key-config"), none, e);
    if (!o->client.n && back)
        return ath_fail(e, ATH_E_INPUT, "\"default\" is for one client: --client NAME");
    if (!o->client.n)
        return admin_remote(t, "PUT", ATH_S("/admin/api-key-config"), body, e);
    buf_lit(&path, "/admin/api-key-clients/");
    admin_segment(&path, o->client);
    return admin_remote(t, back ? "DELETE" : "PUT", buf_view(&path), back ? none : body, e);
}

#define RECORD "id,public_id,name,client_name,is_active,expires_at,last_used_at,rights"
#define COMMAND(symbol, words_, summary_, rows_, columns_, run_, ...)                              \
    const ath_command symbol = { ATH_CAP(ath_command, ATH_CAP_COMMAND, words_),                    \
                                 .summary = (summary_),                                            \
                                 .columns = (columns_),                                            \
                                 .rows = (rows_),                                                  \
                                 .run = (run_),                                                    \
                                 __VA_ARGS__ }
#define OF(type, f) ATH_ARRAY(field, f), .options_size = sizeof(type)

COMMAND(keys_list_command, "keys list", "API keys, newest first", "data.api_keys", RECORD, list_run,
        .options_size = 0);
COMMAND(keys_show_command, "keys show", "One API key", "data.record",
        RECORD ",virgin_mode,virgin_resolved,description", show_run,
        OF(struct keyed, keyed_fields));
COMMAND(keys_create_command, "keys create", "Make an API key; it is printed this once",
        "data data.record", "api_key;" RECORD, create_run, OF(struct created, created_fields));
COMMAND(keys_rights_command, "keys rights", "What a key may do; with rights: from now on",
        "data.record", "public_id,name,rights", rights_run, OF(struct granted, granted_fields));
COMMAND(keys_rotate_command, "keys rotate",
        "Make another key in its place; it is printed this once", "data data.record data.previous",
        "api_key;" RECORD ";" RECORD, rotate_run, OF(struct rotated, rotated_fields));
COMMAND(keys_revoke_command, "keys revoke", "Disable a key", "data.record", RECORD, revoke_run,
        OF(struct keyed, keyed_fields));
COMMAND(keys_delete_command, "keys delete", "Remove a key and what is known of it", "data", "id",
        delete_run, OF(struct keyed, keyed_fields));
COMMAND(keys_enforce_command, "keys enforce", "Whether keys are asked for: on, off, or as it is",
        "data.global data.clients data.client data",
        "enforce_api_keys,updated_at;client_name,enforce_api_keys,updated_at;"
        "client_name,enforce_api_keys,updated_at;client_name",
        enforce_run, OF(struct enforced, enforced_fields));
