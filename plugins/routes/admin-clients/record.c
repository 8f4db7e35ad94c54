/* Rows of the catalogue as JSON: nothing leaves with a password in it. */
#include "admin_clients.h"

static const struct admin_member members[] = {
    { "id", ADMIN_TEXT },
    { "client_name", ADMIN_TEXT },
    { "description", ADMIN_TEXT },
    { "pg_uri", ADMIN_TEXT },
    { "pg_uri_env_var", ADMIN_TEXT },
    { "config_uri_template", ADMIN_TEXT },
    { "source", ADMIN_TEXT },
    { "is_active", ADMIN_BOOL },
    { "is_frozen", ADMIN_BOOL },
    { "last_synced_from_config_at", ADMIN_TIME },
    { "last_seen_at", ADMIN_TIME },
    { "metadata", ADMIN_JSON },
    { "created_at", ADMIN_TIME },
    { "updated_at", ADMIN_TIME },
    { "deleted_at", ADMIN_TIME },
};

enum { METADATA_VALUES = 100000 };

static bool reveals(ath_req *r)
{
    const struct admin_clients_config *c = ath_config_of(r);

    return c->reveal;
}

static bool is_sealed(ath_str s)
{
    return s.n > 7 && memcmp(s.p, "enc:v1:", 7) == 0;
}

ath_str client_uri(ath_req *r, ath_str stored)
{
    const struct admin_clients_state *s = ath_state_of(r);
    ath_str plain = stored;
    struct buf unsaid = BUF_ARENA(ath_arena_of(r));

    if (!stored.p)
        return stored;
    if (is_sealed(stored) && s->secrets->open(ath_arena_of(r), stored, &plain, NULL) < 0) {
        buf_lit(&unsaid, "***"); /* no key opens it */
        return buf_view(&unsaid);
    }
    return reveals(r) ? plain : s->secrets->mask(ath_arena_of(r), plain);
}

/* Metadata name URIs too (network.private_pg_uri and others). */
static void put_masked(ath_req *r, struct buf *b, const struct json *v)
{
    bool list = v->type == JSON_ARRAY, object = v->type == JSON_OBJECT;

    if (v->type == JSON_STRING) {
        bool uri = false;
        for (size_t i = 0; i + 3 <= v->text.n && !uri; i++)
            uri = memcmp(v->text.p + i, "://", 3) == 0;
        buf_json(b, uri || is_sealed(v->text) ? client_uri(r, v->text) : v->text);
        return;
    }
    if (!list && !object) {
        buf_str(b, v->raw);
        return;
    }
    buf_char(b, list ? '[' : '{');
    json_each(item, v)
    {
        if (item != v->first)
            buf_char(b, ',');
        if (object) {
            buf_json(b, item->key);
            buf_char(b, ':');
        }
        put_masked(r, b, item);
    }
    buf_char(b, list ? ']' : '}');
}

void client_json(ath_req *r, struct buf *b, ath_str text)
{
    struct json_error why;
    const struct json *doc = json_read(text, JSON_ARENA(ath_arena_of(r)), METADATA_VALUES, &why);

    if (doc)
        put_masked(r, b, doc);
    else
        buf_lit(b, "{}"); /* larger than anything that was made for this */
}

void client_object(ath_req *r, struct buf *b, const ath_rows *rows, uint32_t row)
{
    buf_char(b, '{');
    for (uint32_t i = 0; i < ATH_COUNT(members); i++) {
        ath_str cell = ath_cell(rows, row, i);
        buf_json_key(b, members[i].name);
        if (members[i].form == ADMIN_JSON)
            client_json(r, b, cell);
        else if (i == CLIENT_URI || i == CLIENT_URI + 2)
            admin_value(b, ADMIN_TEXT, client_uri(r, cell));
        else
            admin_value(b, members[i].form, cell);
    }
    buf_char(b, '}');
}
