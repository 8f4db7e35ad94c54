#include "backup/manifest.h"

#include "backup/sha.h"
#include "lib/json.h"

void manifest_free(struct manifest *m)
{
    char *text[] = { m->backup_id, m->client,         m->key,         m->label, m->created_at,
                     m->database,  m->server_version, m->tool_version };

    for (size_t i = 0; i < ATH_COUNT(text); i++)
        free(text[i]);
    for (size_t i = 0; i < m->files; i++)
        free(m->file[i].name);
    for (size_t i = 0; i < m->tables; i++) {
        free(m->table[i].schema);
        free(m->table[i].name);
    }
    free(m->file);
    free(m->table);
    *m = (struct manifest){ 0 };
}

void manifest_set(char **text, ath_str value)
{
    free(*text);
    *text = value.n ? strndup(value.p, value.n) : NULL;
    if (value.n && !*text)
        abort();
}

/* ---- writing ---- */

static void put_text(struct buf *b, const char *key, const char *text)
{
    if (text)
        buf_json_str(b, key, str_of(text));
}

static void put_sha(struct buf *b, const char *key, const uint8_t sha[BACKUP_SHA256])
{
    buf_json_key(b, key);
    buf_char(b, '"');
    buf_hex(b, sha, BACKUP_SHA256);
    buf_char(b, '"');
}

static void put_number(struct buf *b, const char *key, uint64_t v)
{
    buf_json_key(b, key);
    buf_u64(b, v);
}

static void put_files(struct buf *b, const struct manifest *m)
{
    buf_json_key(b, "files");
    buf_char(b, '[');
    for (size_t i = 0; i < m->files; i++) {
        buf_z(b, i ? ",\n{" : "\n{");
        put_text(b, "name", m->file[i].name);
        put_number(b, "bytes", m->file[i].bytes);
        put_sha(b, "sha256", m->file[i].sha256);
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static void put_tables(struct buf *b, const struct manifest *m)
{
    buf_json_key(b, "tables");
    buf_char(b, '[');
    for (size_t i = 0; i < m->tables; i++) {
        const struct manifest_table *t = &m->table[i];
        buf_z(b, i ? ",\n{" : "\n{");
        buf_json_str(b, "schema", str_of(t->schema ? t->schema : ""));
        buf_json_str(b, "name", str_of(t->name ? t->name : ""));
        if (m->rows) {
            put_number(b, "rows", t->rows);
            buf_json_key(b, "digest");
            buf_printf(b, "\"%016llx%016llx\"", (unsigned long long)t->digest[0],
                       (unsigned long long)t->digest[1]);
        }
        buf_char(b, '}');
    }
    buf_char(b, ']');
}

static void put_facts(struct buf *b, const struct manifest *m)
{
    put_text(b, "database", m->database);
    put_text(b, "server_version", m->server_version);
    put_text(b, "tool_version", m->tool_version);
    put_number(b, "bytes", m->bytes);
    put_sha(b, "sha256", m->sha256);
    if (m->seal_key[0]) {
        buf_json_key(b, "encryption");
        buf_lit(b, "{\"algorithm\":\"aes-256-gcm\",\"key_id\":");
        buf_json(b, str_of(m->seal_key));
        buf_char(b, '}');
    }
}

void manifest_json(struct buf *b, const struct manifest *m)
{
    buf_char(b, '{');
    put_number(b, "version", MANIFEST_VERSION);
    put_text(b, "backup_id", m->backup_id);
    put_text(b, "client", m->client);
    put_text(b, "key", m->key);
    put_text(b, "label", m->label);
    put_text(b, "created_at", m->created_at);
    buf_json_str(b, "layout", ATH_S("directory.tar.gz"));
    put_facts(b, m);
    if (m->rows)
        put_number(b, "rows_bytes", m->rows_bytes);
    put_files(b, m);
    put_tables(b, m);
    buf_lit(b, "}\n");
}

void manifest_facts(struct buf *b, const struct manifest *m)
{
    uint64_t bytes = 0, rows = 0;

    for (size_t i = 0; i < m->files; i++)
        bytes += m->file[i].bytes;
    for (size_t i = 0; i < m->tables; i++)
        rows += m->table[i].rows;
    buf_char(b, '{');
    put_facts(b, m);
    put_number(b, "files", m->files);
    put_number(b, "files_bytes", bytes);
    put_number(b, "tables", m->tables);
    if (m->rows) {
        put_number(b, "rows", rows);
        put_number(b, "rows_bytes", m->rows_bytes);
    }
    buf_char(b, '}');
}

/* ---- reading: each says false when it is not as it must be ---- */

static bool get_number(const struct json *o, const char *key, uint64_t *ret)
{
    const struct json *v = json_get(o, key);

    return v && v->type == JSON_NUMBER && str_u64(v->text, ret);
}

static bool get_text(const struct json *o, const char *key, size_t most, char **ret)
{
    const struct json *v = json_get(o, key);

    if (!v)
        return true;
    if (v->type != JSON_STRING || v->nul || v->text.n > most)
        return false;
    manifest_set(ret, v->text);
    return true;
}

static bool get_sha(const struct json *o, uint8_t ret[BACKUP_SHA256])
{
    return hex_read(json_text(json_get(o, "sha256")), ret, BACKUP_SHA256);
}

static bool get_encryption(const struct json *doc, struct manifest *m)
{
    const struct json *o = json_get(doc, "encryption");
    uint8_t id[4];
    ath_str key = json_text(json_get(o, "key_id"));

    if (!o)
        return true;
    if (!str_is(json_text(json_get(o, "algorithm")), "aes-256-gcm") || !hex_read(key, id, 4))
        return false;
    memcpy(m->seal_key, key.p, sizeof(m->seal_key) - 1);
    return true;
}

static const struct json *get_list(const struct json *doc, const char *key)
{
    const struct json *v = json_get(doc, key);

    return v && v->type == JSON_ARRAY && v->count <= MANIFEST_FILES ? v : NULL;
}

static bool get_files(const struct json *doc, struct manifest *m)
{
    const struct json *list = get_list(doc, "files");

    if (!list || !(m->file = calloc(list->count + 1, sizeof(*m->file))))
        return false;
    json_each(v, list)
    {
        struct manifest_file *f = &m->file[m->files++];
        if (!get_text(v, "name", 255, &f->name) || !f->name || !get_number(v, "bytes", &f->bytes) ||
            !get_sha(v, f->sha256))
            return false;
    }
    return true;
}

static bool get_digest(const struct json *v, uint64_t ret[2])
{
    uint8_t raw[16];

    if (!hex_read(json_text(json_get(v, "digest")), raw, sizeof(raw)))
        return false;
    for (size_t i = 0; i < 16; i++)
        ret[i / 8] = ret[i / 8] << 8 | raw[i];
    return true;
}

/* The rows of all tables are counted, or of none. */
static bool get_tables(const struct json *doc, struct manifest *m)
{
    const struct json *list = get_list(doc, "tables");

    if (!list || !(m->table = calloc(list->count + 1, sizeof(*m->table))))
        return false;
    json_each(v, list)
    {
        struct manifest_table *t = &m->table[m->tables++];
        if (!get_text(v, "schema", 255, &t->schema) || !get_text(v, "name", 255, &t->name) ||
            !t->name)
            return false;
        if (m->rows ? !get_number(v, "rows", &t->rows) || !get_digest(v, t->digest)
                    : json_get(v, "rows") != NULL)
            return false;
    }
    return true;
}

static bool get_all(const struct json *doc, struct manifest *m)
{
    m->rows = json_get(doc, "rows_bytes") != NULL;
    return str_is(json_text(json_get(doc, "layout")), "directory.tar.gz") &&
           get_text(doc, "backup_id", 64, &m->backup_id) &&
           get_text(doc, "client", 255, &m->client) && get_text(doc, "key", 2048, &m->key) &&
           get_text(doc, "label", 255, &m->label) &&
           get_text(doc, "created_at", 64, &m->created_at) &&
           get_text(doc, "database", 1024, &m->database) &&
           get_text(doc, "server_version", 1024, &m->server_version) &&
           get_text(doc, "tool_version", 1024, &m->tool_version) &&
           get_number(doc, "bytes", &m->bytes) && get_sha(doc, m->sha256) &&
           get_encryption(doc, m) && (!m->rows || get_number(doc, "rows_bytes", &m->rows_bytes)) &&
           get_files(doc, m) && get_tables(doc, m);
}

int manifest_read(struct manifest *ret, ath_str text, struct json_memory mem, ath_err *e)
{
    struct json_error why;
    const struct json *doc;
    uint64_t version;

    *ret = (struct manifest){ 0 };
    if (text.n > MANIFEST_BYTES)
        return ath_fail(e, ATH_E_TOO_LARGE, "the manifest has more than %d bytes", MANIFEST_BYTES);
    doc = json_read(text, mem, 12 * MANIFEST_FILES, &why);
    if (!doc)
        return ath_fail(e, ATH_E_INPUT, "the manifest is no JSON: line %u, column %u: %s", why.line,
                        why.column, why.why);
    if (!get_number(doc, "version", &version))
        return ath_fail(e, ATH_E_INPUT, "the manifest has no version");
    if (version != MANIFEST_VERSION)
        return ath_fail(e, ATH_E_INPUT, "the manifest has version %llu, which is not known",
                        (unsigned long long)version);
    if (get_all(doc, ret))
        return 0;
    manifest_free(ret);
    return ath_fail(e, ATH_E_INPUT,
                    "the manifest lacks something, or says something that none says");
}

/* ---- comparing ---- */

static int file_order(const void *a, const void *b)
{
    const struct manifest_file *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static const struct manifest_file **sorted(const struct manifest *m)
{
    const struct manifest_file **list = calloc(m->files + 1, sizeof(const void *));

    if (!list)
        abort();
    for (size_t i = 0; i < m->files; i++)
        list[i] = &m->file[i];
    qsort(list, m->files, sizeof(const void *), file_order);
    return list;
}

static int differs(const char *what, const char *name, ath_err *e)
{
    return ath_fail(e, ATH_E_INPUT, "the archive is not what its manifest says: %s \"%s\"", what,
                    name);
}

static int compare_files(const struct manifest *found, const struct manifest *told, ath_err *e)
{
    const struct manifest_file **a = sorted(found), **b = sorted(told);
    size_t i = 0;
    int rc = 0;

    for (; rc == 0 && i < found->files && i < told->files; i++) {
        int way = strcmp(a[i]->name, b[i]->name);
        if (way)
            rc = differs(way < 0 ? "it has" : "it lacks", way < 0 ? a[i]->name : b[i]->name, e);
        else if (a[i]->bytes != b[i]->bytes ||
                 memcmp(a[i]->sha256, b[i]->sha256, BACKUP_SHA256) != 0)
            rc = differs("other bytes in", a[i]->name, e);
    }
    if (rc == 0 && i < found->files)
        rc = differs("it has", a[i]->name, e);
    else if (rc == 0 && i < told->files)
        rc = differs("it lacks", b[i]->name, e);
    free(a);
    free(b);
    return rc;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

int manifest_compare_tables(const struct manifest *found, const struct manifest *told, ath_err *e)
{
    for (size_t i = 0; i < found->tables && i < told->tables; i++) {
        const struct manifest_table *a = &found->table[i], *b = &told->table[i];
        if (!same(a->schema, b->schema) || !same(a->name, b->name))
            return ath_fail(e, ATH_E_INPUT, "there is table \"%s.%s\" instead of \"%s.%s\"",
                            a->schema ? a->schema : "", a->name ? a->name : "",
                            b->schema ? b->schema : "", b->name ? b->name : "");
        if (found->rows && told->rows && a->rows != b->rows)
            return ath_fail(e, ATH_E_INPUT, "table \"%s.%s\" has %llu rows instead of %llu",
                            a->schema ? a->schema : "", a->name ? a->name : "",
                            (unsigned long long)a->rows, (unsigned long long)b->rows);
        if (found->rows && told->rows && memcmp(a->digest, b->digest, sizeof(a->digest)) != 0)
            return ath_fail(e, ATH_E_INPUT, "table \"%s.%s\" has other rows",
                            a->schema ? a->schema : "", a->name ? a->name : "");
    }
    if (found->tables != told->tables)
        return ath_fail(e, ATH_E_INPUT, "there are %zu tables instead of %zu", found->tables,
                        told->tables);
    return 0;
}

int manifest_compare(const struct manifest *found, const struct manifest *told, ath_err *e)
{
    int rc;

    if (!same(found->seal_key, told->seal_key))
        return ath_fail(
            e, ATH_E_INPUT,
            "the archive is not what its manifest says: it is sealed by another key, or "
            "not at all");
    if (found->bytes != told->bytes)
        return ath_fail(e, ATH_E_INPUT, "the archive has %llu bytes, and %llu by its manifest",
                        (unsigned long long)found->bytes, (unsigned long long)told->bytes);
    if (memcmp(found->sha256, told->sha256, BACKUP_SHA256) != 0)
        return ath_fail(e, ATH_E_INPUT, "the archive is not what its manifest says: its digest");
    if ((rc = compare_files(found, told, e)) < 0)
        return rc;
    return manifest_compare_tables(found, told, e);
}
