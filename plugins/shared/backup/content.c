/* A file is by its name the table of contents, data (plain or compressed), or something else, of
 * which the digest alone is known: "blobs.toc", data compressed by other means than gzip. */
#include "backup/content.h"

#include "backup/gunzip.h"
#include "backup/rows.h"
#include "backup/sha.h"
#include "backup/toc.h"

enum kind { OTHER, CONTENTS, DATA, PACKED };
enum { NOT_CONTENTS = 3 };

struct note { /* of a file, beside its entry in the manifest */
    enum kind kind;
    bool whole;
    uint64_t rows, digest[2], bytes;
};

struct content {
    bool count, decode;
    uint32_t most;
    struct manifest_file *file;
    struct note *note;
    size_t files, room;
    EVP_MD_CTX *sha;
    struct gunzip *gunzip; /* of the file under way, if it is PACKED */
    struct rows rows;
    struct toc toc, next; /* the one that counts, and the one under way */
    unsigned rank;        /* of the first; NOT_CONTENTS: none */
    char folder[64];
};

struct content *content_begin(bool rows, bool decode, uint32_t most_files)
{
    struct content *c = calloc(1, sizeof(*c));

    if (!c)
        abort();
    c->count = rows;
    c->decode = decode;
    c->most = most_files && most_files < MANIFEST_FILES ? most_files : MANIFEST_FILES;
    c->rank = NOT_CONTENTS;
    return c;
}

void content_free(struct content *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->files; i++)
        free(c->file[i].name);
    free(c->file);
    free(c->note);
    EVP_MD_CTX_free(c->sha);
    gunzip_free(c->gunzip);
    toc_free(&c->toc);
    toc_free(&c->next);
    free(c);
}

/* ---- one file ---- */

static unsigned rank_of(ath_str name)
{
    ath_str rest = str_after(name, sizeof("dump/") - 1);

    if (str_is(rest, "toc.dat"))
        return 0;
    if (!str_ends(rest, "/toc.dat") || str_find(rest, '/') != rest.n - sizeof("toc.dat"))
        return NOT_CONTENTS;
    return str_is(rest, "dump/toc.dat") ? 1 : 2;
}

static enum kind kind_of(const struct content *c, ath_str name)
{
    if (rank_of(name) < NOT_CONTENTS)
        return CONTENTS;
    if (str_ends(name, ".gz"))
        return c->decode ? PACKED : OTHER;
    return str_ends(name, ".dat") ? DATA : OTHER;
}

static int unpacked(void *arg, ath_str bytes, ath_err *e)
{
    struct content *c = arg;

    (void)e;
    rows_feed(&c->rows, bytes);
    return 0;
}

static void grow(struct content *c)
{
    if (c->files < c->room)
        return;
    c->room = c->room ? 2 * c->room : 64;
    c->file = realloc(c->file, c->room * sizeof(*c->file));
    c->note = realloc(c->note, c->room * sizeof(*c->note));
    if (!c->file || !c->note)
        abort();
}

int content_entry(struct content *c, ath_str name, ath_err *e)
{
    enum kind kind = kind_of(c, name);

    if (c->files == c->most)
        return ath_fail(e, ATH_E_TOO_LARGE, "the archive holds more than %u files", c->most);
    grow(c);
    c->file[c->files] = (struct manifest_file){ 0 };
    c->note[c->files] = (struct note){ .kind = kind };
    manifest_set(&c->file[c->files].name, name);
    c->files++;
    sha_begin(&c->sha);
    rows_begin(&c->rows, c->count);
    if (kind == PACKED)
        c->gunzip = gunzip_begin(unpacked, c);
    if (kind == CONTENTS)
        toc_begin(&c->next);
    return 0;
}

/* Says which file it is that is damaged. */
static int of_file(const struct content *c, int rc, ath_err *e)
{
    char why[256];
    ath_str text;

    if (rc >= 0)
        return rc;
    text = ath_host_->err->get(e, "message");
    snprintf(why, sizeof(why), "%.*s", STR_ARG(text));
    return ath_fail(e, rc, "\"%s\": %s", c->file[c->files - 1].name, why);
}

int content_data(struct content *c, ath_str bytes, ath_err *e)
{
    c->file[c->files - 1].bytes += bytes.n;
    sha_more(c->sha, bytes);
    switch (c->note[c->files - 1].kind) {
    case CONTENTS:
        return of_file(c, toc_feed(&c->next, bytes, e), e);
    case PACKED:
        return of_file(c, gunzip_feed(c->gunzip, bytes, e), e);
    case DATA:
        rows_feed(&c->rows, bytes);
        return 0;
    case OTHER:
        break;
    }
    return 0;
}

static int contents_done(struct content *c, ath_err *e)
{
    ath_str name = str_of(c->file[c->files - 1].name);
    unsigned rank = rank_of(name);
    int rc = toc_end(&c->next, e);

    if (rc == 0 && rank < c->rank) {
        toc_free(&c->toc);
        c->toc = c->next;
        c->next = (struct toc){ 0 };
        c->rank = rank;
        snprintf(c->folder, sizeof(c->folder), "%.*s", (int)(name.n - sizeof("toc.dat")), name.p);
    }
    toc_free(&c->next);
    return rc;
}

int content_done(struct content *c, ath_err *e)
{
    struct note *note = &c->note[c->files - 1];
    int rc = 0;

    sha_end(c->sha, c->file[c->files - 1].sha256);
    if (note->kind == PACKED)
        rc = gunzip_end(c->gunzip, e);
    else if (note->kind == CONTENTS)
        rc = contents_done(c, e);
    gunzip_free(c->gunzip);
    c->gunzip = NULL;
    note->whole = rows_whole(&c->rows);
    note->rows = c->rows.rows;
    note->bytes = c->rows.bytes;
    memcpy(note->digest, c->rows.digest, sizeof(note->digest));
    return of_file(c, rc, e);
}

/* ---- all of them ---- */

static int by_name(const void *a, const void *b, void *arg)
{
    const struct manifest_file *file = arg;

    return strcmp(file[*(const uint32_t *)a].name, file[*(const uint32_t *)b].name);
}

static const struct note *look(const struct content *c, const uint32_t *order, const char *name)
{
    size_t low = 0, high = c->files;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int way = strcmp(name, c->file[order[middle]].name);
        if (way == 0)
            return &c->note[order[middle]];
        if (way < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* What the table of contents calls "1.dat" is that, or compressed and then named for how. */
static const struct note *find(const struct content *c, const uint32_t *order, const char *file)
{
    static const char *const suffix[] = { "", ".gz", ".lz4", ".zst" };
    const struct note *found = NULL;
    struct buf b = BUF_HEAP;

    for (size_t i = 0; i < ATH_COUNT(suffix) && !found; i++) {
        buf_reset(&b);
        buf_printf(&b, "%s/%s%s", c->folder, file, suffix[i]);
        found = look(c, order, b.p);
    }
    buf_free(&b);
    return found;
}

static int add_table(struct manifest *m, struct toc_data *d, const struct note *note, ath_err *e)
{
    struct manifest_table *table = &m->table[m->tables];

    if (d->copy && note->kind != OTHER && !note->whole)
        return ath_fail(e, ATH_E_INPUT, "the data of table \"%s.%s\" is cut short",
                        d->schema ? d->schema : "", d->name ? d->name : "");
    m->rows = m->rows && note->kind != OTHER && d->copy;
    m->rows_bytes += note->bytes;
    *table = (struct manifest_table){ .schema = d->schema,
                                      .name = d->name,
                                      .rows = note->rows,
                                      .digest = { note->digest[0], note->digest[1] } };
    d->schema = d->name = NULL; /* they are the manifest's now */
    m->tables++;
    return 0;
}

static int table_order(const void *a, const void *b)
{
    const struct manifest_table *x = a, *y = b;
    int way = strcmp(x->schema ? x->schema : "", y->schema ? y->schema : "");

    return way ? way : strcmp(x->name ? x->name : "", y->name ? y->name : "");
}

static int join(struct content *c, const uint32_t *order, struct manifest *m, ath_err *e)
{
    struct toc *toc = &c->toc;
    int rc = 0;

    if (!(m->table = calloc(toc->count + 1, sizeof(*m->table))))
        abort();
    m->rows = c->count;
    for (size_t i = 0; rc == 0 && i < toc->count; i++) {
        struct toc_data *d = &toc->data[i];
        const struct note *note = find(c, order, d->file);
        if (!note)
            rc = ath_fail(e, ATH_E_INPUT, "the archive lacks \"%s/%s\", the data of \"%s.%s\"",
                          c->folder, d->file, d->schema ? d->schema : "", d->name ? d->name : "");
        else if (d->table)
            rc = add_table(m, d, note, e);
    }
    if (!m->rows)
        for (size_t i = 0; i < m->tables; i++)
            m->table[i].rows = m->table[i].digest[0] = m->table[i].digest[1] = 0;
    qsort(m->table, m->tables, sizeof(*m->table), table_order);
    return rc;
}

static int check(struct content *c, uint32_t *order, ath_err *e)
{
    for (uint32_t i = 0; i < c->files; i++)
        order[i] = i;
    qsort_r(order, c->files, sizeof(*order), by_name, c->file);
    for (size_t i = 1; i < c->files; i++)
        if (strcmp(c->file[order[i]].name, c->file[order[i - 1]].name) == 0)
            return ath_fail(e, ATH_E_INPUT, "the archive holds \"%s\" twice",
                            c->file[order[i]].name);
    return c->rank < NOT_CONTENTS
               ? 0
               : ath_fail(e, ATH_E_INPUT, "the archive holds no \"dump/toc.dat\"");
}

static void move_text(char **to, char **from)
{
    free(*to);
    *to = *from;
    *from = NULL;
}

int content_finish(struct content *c, struct manifest *m, ath_err *e)
{
    uint32_t *order = calloc(c->files + 1, sizeof(*order));
    int rc;

    if (!order)
        abort();
    if ((rc = check(c, order, e)) == 0)
        rc = join(c, order, m, e);
    free(order);
    if (rc < 0)
        return rc;
    move_text(&m->database, &c->toc.database);
    move_text(&m->server_version, &c->toc.server_version);
    move_text(&m->tool_version, &c->toc.tool_version);
    m->file = c->file;
    m->files = c->files;
    c->file = NULL;
    c->files = 0;
    return 0;
}

ath_str content_folder(const struct content *c)
{
    return str_of(c->folder);
}
