/* The file is a sequence of fields, each an integer (a byte for the sign, then as many as the head
 * says, the lowest first) or a text (its length as an integer, -1: none; then its bytes). Which
 * fields there are depends on the version: one table each for what stands in front and for an
 * entry.
 */
#include "backup/toc.h"

#include "backup/manifest.h"

enum { HEAD = 11, KEEP = 255, INT_MOST = 8 }; /* names have at most 63 bytes */
#define MAGIC          "PGDMP"
#define VERSION(minor) (0x0100u + (minor))

enum kind { INT, TEXT, BYTE, UNTIL_NONE };
enum slot { SKIP, DATABASE, SERVER, TOOL, COUNT, TAG, KIND, COPY, SCHEMA, FILE_NAME, SLOTS };

struct field {
    enum kind kind;
    enum slot slot;
    unsigned since, before; /* versions; 0: any */
};

static const struct field front[] = {
    { INT, SKIP, 0, VERSION(15) }, /* compression: a level, later an algorithm */
    { BYTE, SKIP, VERSION(15), 0 },
    { INT, SKIP, 0, 0 }, /* when it was made: seven numbers */
    { INT, SKIP, 0, 0 },
    { INT, SKIP, 0, 0 },
    { INT, SKIP, 0, 0 },
    { INT, SKIP, 0, 0 },
    { INT, SKIP, 0, 0 },
    { INT, SKIP, 0, 0 },
    { TEXT, DATABASE, 0, 0 },
    { TEXT, SERVER, 0, 0 },
    { TEXT, TOOL, 0, 0 },
    { INT, COUNT, 0, 0 },
};
static const struct field entry[] = {
    { INT, SKIP, 0, 0 },  /* its number */
    { INT, SKIP, 0, 0 },  /* whether it has data */
    { TEXT, SKIP, 0, 0 }, /* OIDs: of the catalogue, of the object */
    { TEXT, SKIP, 0, 0 },
    { TEXT, TAG, 0, 0 },
    { TEXT, KIND, 0, 0 },
    { INT, SKIP, 0, 0 },  /* section */
    { TEXT, SKIP, 0, 0 }, /* how it is made, and dropped */
    { TEXT, SKIP, 0, 0 },
    { TEXT, COPY, 0, 0 },
    { TEXT, SCHEMA, 0, 0 },
    { TEXT, SKIP, 0, 0 },           /* tablespace */
    { TEXT, SKIP, VERSION(14), 0 }, /* access method */
    { INT, SKIP, VERSION(16), 0 },  /* relkind */
    { TEXT, SKIP, 0, 0 },           /* owner */
    { TEXT, SKIP, 0, 0 },           /* with OIDs */
    { UNTIL_NONE, SKIP, 0, 0 },     /* what it depends on */
    { TEXT, FILE_NAME, 0, 0 },
};

struct toc_reader {
    uint8_t head[HEAD], raw[1 + INT_MOST];
    size_t head_n, raw_n;
    unsigned version;
    size_t int_bytes;
    bool in_entry, in_text;
    size_t at;        /* of the fields in `front` or `entry` */
    uint64_t entries; /* left */
    uint64_t left;    /* of a text */
    struct buf text[SLOTS];
};

void toc_begin(struct toc *t)
{
    *t = (struct toc){ .reader = calloc(1, sizeof(struct toc_reader)) };
    if (!t->reader)
        abort();
}

static void reader_free(struct toc_reader *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        buf_free(&r->text[i]);
    free(r);
}

void toc_free(struct toc *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->data[i].schema);
        free(t->data[i].name);
        free(t->data[i].file);
    }
    free(t->data);
    free(t->database);
    free(t->server_version);
    free(t->tool_version);
    reader_free(t->reader);
    *t = (struct toc){ 0 };
}

static int damaged(const char *how, ath_err *e)
{
    return ath_fail(e, ATH_E_INPUT, "the table of contents of the dump %s", how);
}

/* ---- what was read ---- */

/* What goes into a manifest is UTF-8, whatever encoding the database has. */
static void set(char **text, const struct buf *b)
{
    manifest_set(text, buf_view(b));
    if (*text)
        utf8_mend(*text, strlen(*text));
}

static int keep_data(struct toc *t, struct toc_reader *r, ath_err *e)
{
    ath_str kind = buf_view(&r->text[KIND]);
    struct toc_data *d;

    if (t->count == MANIFEST_FILES)
        return ath_fail(e, ATH_E_TOO_LARGE, "the dump holds the data of more than %d tables",
                        MANIFEST_FILES);
    if ((t->count & (t->count - 1)) == 0) { /* at powers of two it grows */
        size_t room = t->count ? 2 * t->count : 1;
        if (!(t->data = realloc(t->data, room * sizeof(*t->data))))
            abort();
    }
    d = &t->data[t->count++];
    *d = (struct toc_data){ .table = str_is(kind, "TABLE DATA"), .copy = r->text[COPY].n > 0 };
    set(&d->schema, &r->text[SCHEMA]);
    set(&d->name, &r->text[TAG]);
    set(&d->file, &r->text[FILE_NAME]);
    return 0;
}

static int entry_done(struct toc *t, ath_err *e)
{
    struct toc_reader *r = t->reader;
    int rc = r->text[FILE_NAME].n ? keep_data(t, r, e) : 0;

    for (size_t i = TAG; i < SLOTS; i++)
        buf_reset(&r->text[i]);
    r->at = 0;
    t->done = --r->entries == 0;
    return rc;
}

static void front_done(struct toc *t)
{
    struct toc_reader *r = t->reader;

    set(&t->database, &r->text[DATABASE]);
    set(&t->server_version, &r->text[SERVER]);
    set(&t->tool_version, &r->text[TOOL]);
    r->in_entry = true;
    r->at = 0;
    t->done = r->entries == 0;
}

static bool is_there(const struct toc_reader *r, const struct field *f)
{
    return (!f->since || r->version >= f->since) && (!f->before || r->version < f->before);
}

static const struct field *field_of(const struct toc_reader *r)
{
    return r->in_entry ? &entry[r->at] : &front[r->at];
}

/* On to the next field that this version has. */
static int advance(struct toc *t, ath_err *e)
{
    struct toc_reader *r = t->reader;
    size_t count = r->in_entry ? ATH_COUNT(entry) : ATH_COUNT(front);

    do
        r->at++;
    while (r->at < count && !is_there(r, field_of(r)));
    if (r->at < count)
        return 0;
    if (r->in_entry)
        return entry_done(t, e);
    front_done(t);
    return 0;
}

/* ---- reading ---- */

static int read_head(struct toc *t, ath_err *e)
{
    struct toc_reader *r = t->reader;
    const uint8_t *h = r->head;

    if (memcmp(h, MAGIC, 5) != 0)
        return damaged("is none", e);
    r->version = (unsigned)h[5] << 8 | h[6];
    r->int_bytes = h[8];
    if (r->version < VERSION(12) || r->version > VERSION(16))
        return ath_fail(e, ATH_E_INPUT,
                        "the table of contents of the dump has version %d.%d, which is not known",
                        h[5], h[6]);
    if (r->int_bytes < 4 || r->int_bytes > INT_MOST)
        return damaged("has integers of no known size", e);
    r->at = is_there(r, &front[0]) ? 0 : 1;
    return 0;
}

static int64_t raw_int(const struct toc_reader *r)
{
    uint64_t v = 0;

    for (size_t i = r->int_bytes; i > 0; i--)
        v = v << 8 | r->raw[i];
    return r->raw[0] ? -(int64_t)(v & INT64_MAX) : (int64_t)(v & INT64_MAX);
}

static int have_int(struct toc *t, const struct field *f, ath_err *e)
{
    struct toc_reader *r = t->reader;
    int64_t v = raw_int(r);

    if (v > INT32_MAX || v < INT32_MIN || r->raw[0] > 1)
        return damaged("holds a number out of range", e);
    if (f->kind == INT) {
        if (f->slot == COUNT && v < 0)
            return damaged("has fewer than no entries", e);
        if (f->slot == COUNT)
            r->entries = (uint64_t)v;
        return advance(t, e);
    }
    if (v < -1)
        return damaged("holds a text shorter than nothing", e);
    if (v > 0) {
        r->in_text = true;
        r->left = (uint64_t)v;
        return 0;
    }
    return f->kind == UNTIL_NONE && v == 0 ? 0 : advance(t, e);
}

static int take_text(struct toc *t, const struct field *f, ath_str *bytes, ath_err *e)
{
    struct toc_reader *r = t->reader;
    size_t n = r->left < bytes->n ? (size_t)r->left : bytes->n;
    struct buf *text = &r->text[f->slot];

    if (f->slot != SKIP && text->n < KEEP)
        buf_mem(text, bytes->p, n < KEEP - text->n ? n : KEEP - text->n);
    *bytes = str_after(*bytes, n);
    if ((r->left -= n) > 0)
        return 0;
    r->in_text = false;
    return f->kind == UNTIL_NONE ? 0 : advance(t, e);
}

static int take(struct toc *t, ath_str *bytes, ath_err *e)
{
    struct toc_reader *r = t->reader;
    const struct field *f;

    if (r->head_n < HEAD) {
        r->head[r->head_n++] = (uint8_t)bytes->p[0];
        *bytes = str_after(*bytes, 1);
        return r->head_n == HEAD ? read_head(t, e) : 0;
    }
    if (t->done)
        return damaged("goes on behind its end", e);
    f = field_of(r);
    if (r->in_text)
        return take_text(t, f, bytes, e);
    r->raw[r->raw_n++] = (uint8_t)bytes->p[0];
    *bytes = str_after(*bytes, 1);
    if (f->kind != BYTE && r->raw_n < 1 + r->int_bytes)
        return 0;
    r->raw_n = 0;
    return f->kind == BYTE ? advance(t, e) : have_int(t, f, e);
}

int toc_feed(struct toc *t, ath_str bytes, ath_err *e)
{
    int rc = 0;

    while (rc == 0 && bytes.n)
        rc = take(t, &bytes, e);
    return rc;
}

int toc_end(struct toc *t, ath_err *e)
{
    return t->done ? 0 : damaged("ends too early", e);
}
