/* Names of rights: what may be granted. A key has the rights that these rows name, so a name that
 * changes or goes changes the keys that have it. */
#include "admin_keys.h"

enum { NAME_MOST = 255 };

static const struct admin_member members[] = {
    { "created_at", ADMIN_TIME }, { "description", ADMIN_TEXT }, { "id", ADMIN_TEXT },
    { "name", ADMIN_TEXT },       { "updated_at", ADMIN_TIME },
};
#define RIGHT_COLUMNS                                                                              \
    ADMIN_UTC(created_at) ", description, api_key_rights_id::text, name, " ADMIN_UTC(updated_at)

static int listed(ath_task *t, const ath_done *d, ath_err *e)
{
    struct buf b = admin_answer(t, "Listed API key rights");

    (void)e;
    buf_json_key(&b, "rights");
    admin_objects(&b, d->rows, ADMIN_MEMBERS(members));
    return admin_reply(t, 200, &b);
}

int rights_list(ath_req *r, ath_err *e)
{
    static const char sql[] =
        "select " RIGHT_COLUMNS " from api_key_rights order by name collate \"C\"";

    return admin_read(r, ADMIN_KEYS, "Failed to list API key rights", sql, NULL, 0, listed, NULL,
                      e);
}

static int no_right(ath_err *e, ath_str id)
{
    return admin_fail(e, "not_found", "API key right not found", "No right exists for '%.*s'.",
                      STR_ARG(id));
}

struct named {
    ath_str param[3]; /* name, description, id */
};

static int written(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    const struct named *n = c->arg;

    (void)r;
    if (!ath_host_->pg->count(rows))
        return no_right(e, n->param[2]);
    buf_json_key(b, "right");
    admin_object(b, rows, 0, ADMIN_MEMBERS(members));
    return 0;
}

/* Names that only look alike would be granted by mistake (D-45). */
static int take_named(const struct json *body, struct named *n, ath_err *e)
{
    int rc;

    if ((rc = take_text(body, "name", &n->param[0], e)) < 0 ||
        (rc = admin_text(body, "description", &n->param[1], e)) < 0)
        return rc;
    if (!n->param[0].n || str_trim(n->param[0]).n != n->param[0].n || n->param[0].n > NAME_MOST)
        return admin_fail(e, "VALIDATION_FAILED", "Invalid API key right name",
                          "The right name must have 1 to %d bytes and no blanks around it.",
                          NAME_MOST);
    return 0;
}

int rights_create(ath_req *r, ath_err *e)
{
    static const char sql[] =
        "insert into api_key_rights (name, description) values ($1, $2) returning " RIGHT_COLUMNS;
    struct change *c =
        change_new(r, "Failed to create API key right", "Created API key right", written);
    struct named *n = ath_new(ath_arena_of(r), sizeof(*n));
    const struct json *body;
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = admin_body(r, &body, e)) < 0 || (rc = take_named(body, n, e)) < 0)
        return rc;
    c->status = 201;
    change_said(r, c, "right", n->param[0]);
    c->arg = n;
    change_add(c, sql, n->param, 2);
    return change_run(r, c, e);
}

int rights_patch(ath_req *r, ath_err *e)
{
    static const char sql[] = "update api_key_rights set name = $1, description = $2, updated_at = "
                              "now() where api_key_rights_id = $3::uuid returning " RIGHT_COLUMNS;
    struct change *c =
        change_new(r, "Failed to update API key right", "Updated API key right", written);
    struct named *n = ath_new(ath_arena_of(r), sizeof(*n));
    const struct json *body;
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = right_id(r, &n->param[2], e)) < 0 || (rc = admin_body(r, &body, e)) < 0 ||
        (rc = take_named(body, n, e)) < 0)
        return rc;
    change_said(r, c, "right", n->param[0]);
    c->arg = n;
    change_add(c, sql, n->param, 3);
    return change_run(r, c, e);
}

static int deleted(ath_req *r, struct change *c, const ath_rows *rows, struct buf *b, ath_err *e)
{
    (void)r;
    if (!ath_host_->pg->count(rows))
        return no_right(e, c->subject);
    buf_json_str(b, "id", c->subject);
    return 0;
}

int rights_delete(ath_req *r, ath_err *e)
{
    static const char sql[] =
        "delete from api_key_rights where api_key_rights_id = $1::uuid returning 1";
    struct change *c =
        change_new(r, "Failed to delete API key right", "Deleted API key right", deleted);
    int rc = keys_ready(r, e);

    if (rc < 0 || (rc = right_id(r, &c->subject, e)) < 0)
        return rc;
    change_add(c, sql, &c->subject, 1);
    return change_run(r, c, e);
}
