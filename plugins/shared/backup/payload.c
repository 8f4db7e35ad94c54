/* One table says which member is which field, for whom; reader and writer go through it. */
#include "backup/payload.h"

#include <stddef.h>

#include "lib/jsonread.h"

enum { PAYLOAD_VALUES = 1000 };

enum {
    OF_BACKUP = 1 << PAYLOAD_BACKUP,
    OF_RESTORE = 1 << PAYLOAD_RESTORE,
    OF_PROVE = 1 << PAYLOAD_PROVE,
    OF_DRILL = 1 << PAYLOAD_DRILL,
    OF_ALL = OF_BACKUP | OF_RESTORE | OF_PROVE | OF_DRILL
};

enum member_is {
    KIND,
    TEXT,    /* ath_str; published: written as null when empty */
    SWITCH,  /* bool; ours: written when true */
    SECONDS, /* timeout_seconds, brought into its bounds */
    HOURS,   /* keep_hours */
    JOB,     /* int64 above 0 */
    STRATEGY,
    MODE
};

struct member {
    const char *name;
    enum member_is is;
    uint32_t of; /* kinds that may have it */
    size_t at;   /* its field */
};

#define F(field) offsetof(struct backup_payload, field)

/* clang-format off */
static const struct member members[] = {
    { "kind", KIND, OF_ALL, F(kind) },
    { "client_name", TEXT, OF_ALL, F(client_name) },
    { "pg_uri", TEXT, OF_ALL, F(pg_uri) },
    { "key", TEXT, OF_RESTORE | OF_PROVE | OF_DRILL, F(key) },
    { "label", TEXT, OF_ALL, F(label) },
    { "timeout_seconds", SECONDS, OF_ALL, F(timeout_seconds) },
    { "execution_daemon_id", TEXT, OF_ALL, F(execution_daemon_id) },
    { "recovery_strategy", STRATEGY, OF_ALL, F(repair_roles) },
    { "pg_dump_override", TEXT, OF_ALL, F(pg_dump_override) },
    { "pg_restore_override", TEXT, OF_ALL, F(pg_restore_override) },
    { "mode", MODE, OF_RESTORE, F(in_place) },
    { "single_transaction", SWITCH, OF_RESTORE, F(single_transaction) },
    { "allow_control_plane", SWITCH, OF_RESTORE, F(allow_control_plane) },
    { "keep_hours", HOURS, OF_RESTORE, F(keep_hours) },
    { "undo_of", JOB, OF_RESTORE, F(undo_of) },
};
/* clang-format on */

static const char *const kinds[] = { [PAYLOAD_BACKUP] = "backup",
                                     [PAYLOAD_RESTORE] = "restore",
                                     [PAYLOAD_PROVE] = "prove",
                                     [PAYLOAD_DRILL] = "drill" };

const char *payload_kind_name(enum payload_kind kind)
{
    return kinds[kind];
}

/* ---- reading ---- */

#define INVALID "Invalid queued backup job payload: "

static int wrong(ath_err *e, ath_str name, const char *expected)
{
    return ath_fail(e, ATH_E_INPUT, INVALID "\"%.*s\" is not %s", STR_ARG(name), expected);
}

static int read_kind(const struct json *v, enum payload_kind *ret, ath_err *e)
{
    for (size_t i = PAYLOAD_BACKUP; i < ATH_COUNT(kinds); i++)
        if (str_is(json_text(v), kinds[i])) {
            *ret = (enum payload_kind)i;
            return 0;
        }
    return wrong(e, ATH_S("kind"), "backup, restore, prove or drill");
}

static int read_text(const struct json *v, ath_str *ret, ath_err *e)
{
    if (v->type != JSON_STRING || v->nul)
        return wrong(e, v->key, "a text");
    *ret = v->text;
    return 0;
}

static int read_switch(const struct json *v, bool *ret, ath_err *e)
{
    if (v->type != JSON_TRUE && v->type != JSON_FALSE)
        return wrong(e, v->key, "true or false");
    *ret = v->type == JSON_TRUE;
    return 0;
}

static int read_seconds(const struct json *v, uint32_t *ret, ath_err *e)
{
    int64_t n;

    if (!json_i64(v, &n))
        return wrong(e, v->key, "a whole number");
    n = n < PAYLOAD_TIMEOUT_LEAST ? PAYLOAD_TIMEOUT_LEAST : n;
    *ret = (uint32_t)(n > PAYLOAD_TIMEOUT_MOST ? PAYLOAD_TIMEOUT_MOST : n);
    return 0;
}

static int read_hours(const struct json *v, struct backup_payload *p, ath_err *e)
{
    int64_t n;

    if (!json_i64(v, &n) || n < 0 || n > PAYLOAD_KEEP_MOST)
        return wrong(e, v->key, "a number of hours");
    p->keep_hours = (uint32_t)n;
    p->keep_given = true;
    return 0;
}

static int read_job(const struct json *v, int64_t *ret, ath_err *e)
{
    if (!json_i64(v, ret) || *ret <= 0)
        return wrong(e, v->key, "the id of a job");
    return 0;
}

static int read_strategy(const struct json *v, bool *ret, ath_err *e)
{
    ath_str s = json_text(v);

    *ret = str_is(s, "repair_missing_role_oids") || str_is(s, "schema_heal");
    return *ret || str_is(s, "none") ? 0 : wrong(e, v->key, "none or repair_missing_role_oids");
}

static int read_mode(const struct json *v, bool *ret, ath_err *e)
{
    *ret = str_is(json_text(v), "in_place");
    return *ret || str_is(json_text(v), "swap") ? 0 : wrong(e, v->key, "swap or in_place");
}

static int read_member(const struct member *m, const struct json *v, struct backup_payload *p,
                       ath_err *e)
{
    void *at = (char *)p + m->at;

    switch (m->is) {
    case KIND:
        return 0;
    case TEXT:
        return read_text(v, at, e);
    case SWITCH:
        return read_switch(v, at, e);
    case SECONDS:
        return read_seconds(v, at, e);
    case HOURS:
        return read_hours(v, p, e);
    case JOB:
        return read_job(v, at, e);
    case STRATEGY:
        return read_strategy(v, at, e);
    case MODE:
        return read_mode(v, at, e);
    }
    return 0;
}

static const struct member *member_of(ath_str name, enum payload_kind kind)
{
    for (size_t i = 0; i < ATH_COUNT(members); i++)
        if (str_is(name, members[i].name) && (members[i].of & 1u << kind))
            return &members[i];
    return NULL;
}

static int check(const struct backup_payload *p, ath_err *e)
{
    if (!p->client_name.n)
        return ath_fail(e, ATH_E_INPUT, INVALID "it has no client_name");
    if (p->kind != PAYLOAD_BACKUP && !p->key.n && !p->undo_of)
        return ath_fail(e, ATH_E_INPUT, INVALID "it has no key");
    return 0;
}

int payload_read(ath_arena *a, ath_str json, struct backup_payload *ret, ath_err *e)
{
    struct json_error why = { 0 };
    const struct json *doc = json_read(json, JSON_ARENA(a), PAYLOAD_VALUES, &why);
    int rc;

    *ret = (struct backup_payload){ .timeout_seconds = PAYLOAD_TIMEOUT };
    if (!doc || doc->type != JSON_OBJECT)
        return ath_fail(e, ATH_E_INPUT, INVALID "%s", doc ? "it is no object" : why.why);
    if ((rc = read_kind(json_get(doc, "kind"), &ret->kind, e)) < 0)
        return rc;
    json_each(v, doc)
    {
        const struct member *m = member_of(v->key, ret->kind);
        if (!m)
            return ath_fail(e, ATH_E_INPUT, INVALID "unknown member \"%.*s\"", STR_ARG(v->key));
        if (v->type != JSON_NULL && (rc = read_member(m, v, ret, e)) < 0)
            return rc;
    }
    return check(ret, e);
}

/* ---- writing ---- */

static void put_text(struct buf *b, const char *name, ath_str text)
{
    if (text.n) {
        buf_json_str(b, name, text);
        return;
    }
    buf_json_key(b, name);
    buf_lit(b, "null");
}

static void put_number(struct buf *b, const char *name, int64_t v, bool given)
{
    if (given)
        buf_json_int(b, name, v);
}

static void put_member(struct buf *b, const struct member *m, const struct backup_payload *p)
{
    const void *at = (const char *)p + m->at;

    switch (m->is) {
    case KIND:
        buf_json_str(b, m->name, str_of(kinds[p->kind]));
        break;
    case TEXT:
        put_text(b, m->name, *(const ath_str *)at);
        break;
    case SWITCH:
        if (*(const bool *)at)
            buf_json_bool(b, m->name, true);
        break;
    case SECONDS:
        buf_json_int(b, m->name, p->timeout_seconds);
        break;
    case HOURS:
        put_number(b, m->name, p->keep_hours, p->keep_given);
        break;
    case JOB:
        put_number(b, m->name, p->undo_of, p->undo_of > 0);
        break;
    case STRATEGY:
        buf_json_str(b, m->name,
                     p->repair_roles ? ATH_S("repair_missing_role_oids") : ATH_S("none"));
        break;
    case MODE:
        if (p->in_place)
            buf_json_str(b, m->name, ATH_S("in_place"));
        break;
    }
}

void payload_write(struct buf *b, const struct backup_payload *p)
{
    buf_char(b, '{');
    for (size_t i = 0; i < ATH_COUNT(members); i++)
        if (members[i].of & 1u << p->kind)
            put_member(b, &members[i], p);
    buf_char(b, '}');
}
