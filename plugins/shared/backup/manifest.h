/* plugins/shared/backup/manifest.h - what a backup holds, beside its archive as KEY.manifest.json.
 *
 * Who packs an archive fills one; who reads an archive fills another and compares. Its texts and
 * lists are on the heap, so that threads of the pool can make it: manifest_free() gives them back.
 *
 * The JSON is read strictly: what is there has its type and its range. Members that this version does
 * not know are left alone.
 */
#ifndef PLUGINS_SHARED_BACKUP_MANIFEST_H
#define PLUGINS_SHARED_BACKUP_MANIFEST_H

#include "lib/jsonread.h"

#define MANIFEST_SUFFIX ".manifest.json"

enum {
    MANIFEST_VERSION = 1,
    MANIFEST_BYTES = 64 << 20,   /* of the text */
    MANIFEST_FILES = 100000,     /* and as many tables */
    BACKUP_SHA256 = 32
};

struct manifest_file {
    char *name;                  /* as in the archive: "dump/3371.dat.gz" */
    uint64_t bytes;
    uint8_t sha256[BACKUP_SHA256];
};

/* Of a table's data. `digest` does not depend on the order of the rows (rows.h). */
struct manifest_table {
    char *schema, *name;
    uint64_t rows, digest[2];
};

struct manifest {
    /* Who made what: set by whoever packs; NULL or 0: unknown. */
    char *backup_id, *client, *key, *label, *created_at;
    /* Of the dump's own table of contents. */
    char *database, *server_version, *tool_version;
    /* The stored bytes, as a whole. */
    uint64_t bytes;
    uint8_t sha256[BACKUP_SHA256];
    char seal_key[9];            /* id of the key that they are sealed by; empty: they are not */
    bool rows;                   /* the tables' rows were counted */
    uint64_t rows_bytes;         /* of them, as text */
    struct manifest_file *file;
    size_t files;
    struct manifest_table *table; /* by schema and name */
    size_t tables;
};

void manifest_free(struct manifest *m); /* and empty it */

/* Replaces a text of it by a copy: manifest_set(&m->client, name). Empty: NULL. */
void manifest_set(char **text, ath_str value);

void manifest_json(struct buf *b, const struct manifest *m);

/* The same in short, for records and jobs: bytes, sha256, and how many files, tables and rows. */
void manifest_facts(struct buf *b, const struct manifest *m);

/* ATH_E_INPUT: it is none. The tree of the JSON is made with `mem` and of no use afterwards. */
int manifest_read(struct manifest *ret, ath_str text, struct json_memory mem, ath_err *e);

/* What was found in an archive against what its manifest says: its stored bytes, files and tables.
 * ATH_E_INPUT names the first difference. Rows are compared where both have counted them. */
int manifest_compare(const struct manifest *found, const struct manifest *told, ath_err *e);

/* The tables alone, of two dumps: of the source, and of what was restored from it. */
int manifest_compare_tables(const struct manifest *found, const struct manifest *told, ath_err *e);

#endif
