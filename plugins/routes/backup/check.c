/* What a request must be before anything is asked. The words are those of the published interface,
 * and so is the order: names, then the control plane, then the store, then the client. */
#include "backup.h"

#define INVALID "backup_request_invalid"

enum { CLIENT_MOST = 128, LABEL_MOST = 64, KEY_MOST = 2048, URI_MOST = 4096, PATH_MOST = 1024 };

/* ---- names ---- */

static bool is_word(ath_str s, size_t most)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    return s.n >= 1 && s.n <= most;
}

int backups_client_name(ath_str name, ath_err *e)
{
    if (is_word(name, CLIENT_MOST))
        return 0;
    return admin_fail(e, INVALID, "Invalid client_name",
                      "client_name must match [a-zA-Z0-9._-]{1,128}");
}

int backups_label(ath_str label, ath_err *e)
{
    if (is_word(label, LABEL_MOST))
        return 0;
    return admin_fail(e, INVALID, "Invalid label", "label must match [a-zA-Z0-9._-]{1,64}");
}

static bool has_control(ath_str s)
{
    return str_has_control(s) || str_find(s, '\t') < s.n;
}

/* Its host may be anything: an operator asks. */
int backups_pg_uri(ath_str uri, ath_err *e)
{
    bool known = str_starts(uri, "postgres://") || str_starts(uri, "postgresql://");

    if (known && uri.n <= URI_MOST && !has_control(uri))
        return 0;
    return admin_fail(e, INVALID, "Invalid pg_uri",
                      "pg_uri must be a PostgreSQL connection URI of at most %d bytes.", URI_MOST);
}

/* ---- what lists are asked for ---- */

static bool contains(ath_str s, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= s.n; i++)
        if (str_ieq(str_from(s.p + i, n), str_of(word)))
            return true;
    return false;
}

/* The published server refuses these words; values are parameters here, whatever they hold. */
static int unsuspicious(ath_str value, ath_err *e)
{
    static const char *const words[] = { "utl_inaddr", "waitfor delay", "randomblob(",
                                         "from dual",  "__import__",    "eval(" };

    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (contains(value, words[i]))
            return admin_fail(e, INVALID, "Invalid filter", "Unsupported filter value.");
    return 0;
}

static ath_str given(ath_req *r, const char *name)
{
    const ath_pair *pair;
    uint32_t n = ath_host_->req->pairs(r, "query", &pair);

    for (uint32_t i = 0; i < n; i++)
        if (str_is(pair[i].name, name))
            return pair[i].value.p ? pair[i].value : ATH_S("");
    return (ath_str){ NULL, 0 };
}

int backups_filter(ath_req *r, const char *name, ath_str *ret, ath_err *e)
{
    int rc;

    *ret = given(r, name);
    if (!ret->p)
        return 0;
    if (strcmp(name, "client_name") == 0 && (rc = backups_client_name(*ret, e)) < 0)
        return rc;
    return unsuspicious(*ret, e);
}

int64_t backups_limit(ath_req *r, int64_t otherwise, int64_t most)
{
    int64_t v;

    if (!str_i64(ath_param(r, "limit"), &v) || v < 1)
        return otherwise;
    return v <= most ? v : otherwise;
}

ath_str backups_text(ath_task *t, int64_t v)
{
    struct buf b = BUF_ARENA(ath_arena_of(t));

    buf_i64(&b, v);
    return buf_view(&b);
}

/* ---- {key} and {id} ---- */

static bool is_placeholder(ath_str key)
{
    static const char *const words[] = { "undefined", "null", ":key", "{key}" };

    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (str_ieq(str_trim(key), str_of(words[i])))
            return true;
    return false;
}

int backups_key(ath_req *r, ath_str *ret, ath_err *e)
{
    *ret = ath_param(r, "key");
    if (!ret->n)
        return admin_fail(e, INVALID, "Missing backup key",
                          "Provide the S3 object key as the path segment.");
    if (is_placeholder(*ret))
        return admin_fail(e, INVALID, "Invalid backup key",
                          "Provide the concrete S3 object key, not a placeholder value.");
    if (ret->n > KEY_MOST)
        return admin_fail(e, INVALID, "Invalid backup key", "Key is too long.");
    if (has_control(*ret))
        return admin_fail(e, INVALID, "Invalid backup key",
                          "Key may not contain control characters.");
    return 0;
}

/* Some stores take dots for folders, so with them a key could leave its prefix. */
static bool has_dots(ath_str key)
{
    ath_str piece;

    while (str_next(&key, '/', &piece))
        if (str_is(piece, ".") || str_is(piece, ".."))
            return true;
    return false;
}

int backups_own_key(ath_req *r, ath_str key, ath_err *e)
{
    const struct backups_config *cfg = ath_config_of(r);
    ath_s3_config s3;
    int rc = backups_storage(r, &s3, e);

    if (rc < 0 || cfg->allow_any_key)
        return rc;
    if (has_dots(key) || !str_utf8(key))
        return admin_fail(e, INVALID, "Invalid backup key",
                          "Key may not contain the segments \".\" and \"..\", and must be UTF-8.");
    if (!s3.prefix.n || (key.n > s3.prefix.n + 1 && key.p[s3.prefix.n] == '/' &&
                         str_eq(str_from(key.p, s3.prefix.n), s3.prefix)))
        return 0;
    return admin_fail(e, INVALID, "Invalid backup key", "Key must start with '%.*s/'.",
                      STR_ARG(s3.prefix));
}

int backups_id(ath_req *r, const char *name, int64_t *ret, ath_err *e)
{
    if (str_i64(ath_param(r, name), ret))
        return 0;
    return admin_fail(e, "not_found", "Not Found", "The requested resource was not found");
}

/* ---- what must be there ---- */

static const struct json *runtime(ath_req *r, ath_str name)
{
    const struct backups_state *s = ath_state_of(r);
    struct json_error why;
    ath_str text = s->clients->runtime(ath_arena_of(r), name, 0);

    return name.n && text.n ? json_read(text, JSON_ARENA(ath_arena_of(r)), 1000, &why) : NULL;
}

int backups_storage(ath_req *r, ath_s3_config *ret, ath_err *e)
{
    const struct backups_state *s = ath_state_of(r);

    *ret = (ath_s3_config){ .size = sizeof(*ret) };
    if (s->s3)
        s->s3->config(ret);
    if (ret->on)
        return 0;
    return admin_fail(e, "s3_not_configured", "S3 not configured",
                      "Configure backup.s3_bucket (and related fields) in config.yaml to enable "
                      "backups.");
}

int backups_ready(ath_req *r, bool storage, ath_err *e)
{
    ath_s3_config s3;
    ath_str name = ath_host_->inspect(r, "logging_client");
    const struct json *connected = json_get(runtime(r, name), "pool_connected");

    if (!connected || connected->type != JSON_TRUE)
        return admin_absent(r, ADMIN_BACKUPS, e);
    return storage ? backups_storage(r, &s3, e) : 0;
}

int backups_known_client(ath_req *r, ath_str name, ath_err *e)
{
    const struct backups_state *s = ath_state_of(r);
    ath_str uri;
    int rc = s->clients->uri(ath_arena_of(r), name, &uri, e);

    if (rc == 0 && uri.n)
        return 0;
    if (rc == ATH_E_MISSING || str_is(ath_host_->err->get(e, "code"), "client_unknown"))
        return admin_fail(e, INVALID, "Unknown client",
                          "No Postgres client named '%.*s' is registered.", STR_ARG(name));
    return admin_fail(e, INVALID, "Client URI unavailable",
                      "No Postgres URI is available for client '%.*s'.", STR_ARG(name));
}

/* ---- tools ---- */

/* Below the folder of tools, with no way out of it, or the configured one itself. */
static bool is_tool(ath_str path, ath_str folder, ath_str configured)
{
    while (folder.n > 1 && folder.p[folder.n - 1] == '/')
        folder.n--;
    if (path.n > PATH_MOST || has_control(path) || has_dots(path))
        return false;
    if (configured.n && str_eq(path, configured))
        return true;
    return folder.n && path.n > folder.n + 1 && path.p[folder.n] == '/' &&
           str_eq(str_from(path.p, folder.n), folder);
}

static int tool(ath_req *r, const char *header, ath_str configured, ath_str *ret, ath_err *e)
{
    const struct backups_config *cfg = ath_config_of(r);

    *ret = str_trim(ath_header(r, header));
    if (!ret->n || is_tool(*ret, cfg->tools_dir, configured))
        return 0;
    return admin_fail(e, INVALID, "Invalid pg tool path",
                      "%s must lie inside ATHENA_PG_TOOLS_DIR or be the configured tool.", header);
}

int backups_tools(ath_req *r, struct backup_payload *p, ath_err *e)
{
    const struct backups_config *cfg = ath_config_of(r);
    int rc = tool(r, "x-athena-pg-dump-path", cfg->pg_dump, &p->pg_dump_override, e);

    if (rc < 0)
        return rc;
    return tool(r, "x-athena-pg-restore-path", cfg->pg_restore, &p->pg_restore_override, e);
}

/* ---- bodies ---- */

int backups_body(ath_req *r, const struct json **ret, ath_err *e)
{
    *ret = NULL;
    return ath_host_->req->body(r).n ? admin_body(r, ret, e) : 0;
}

int backups_number(const struct json *body, const char *name, int64_t otherwise, int64_t *ret,
                   ath_err *e)
{
    const struct json *v = json_given(body, name);

    *ret = otherwise;
    if (!v || json_i64(v, ret))
        return 0;
    return ath_raise(e, "malformed_json_payload", "member \"%s\" is no whole number", name);
}
