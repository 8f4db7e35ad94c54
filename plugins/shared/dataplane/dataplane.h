/* plugins/shared/dataplane/dataplane.h - from a request's JSON to one statement, and from its rows
 * back to JSON.
 *
 *     struct dp dp = { .arena = ..., .catalog = ..., .code = "invalid_fetch_condition", .e = e };
 *     dp_read_fetch(&dp, body, &limits, &f)    what is asked, by names         no catalogue needed
 *     dp_bind(&dp, &f.root)                    names to relations and columns  needs dp.snapshot
 *     dp_rights(&dp, &f.root, ...)             what must be allowed first
 *     dp_fetch_sql(&dp, &f, &q)                one statement and its values    a pure function
 *     dp_fetch_rows(...)                       the result as JSON, NDJSON or CSV
 *
 * The text of a statement depends on the shape of the request alone: values, limits and keys of JSON
 * paths are parameters with explicit types, names are the catalogue's and pass through buf_ident().
 * Nothing that narrows a statement is ever ignored: an unknown operator, key or shape is refused by
 * its name.
 *
 * Everything lives in the request's arena and borrows from the body and from the snapshot. The
 * functions return 0 or a negative ATH_E_* with the words in dp->e.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_H
#define PLUGINS_SHARED_DATAPLANE_H

#include <athena/service/catalog.h>

#include "lib/jsonread.h"
#include "lib/typed.h"

enum { DP_DEPTH = 8,             /* of relations inside relations */
       DP_RELATIONS = 64, DP_ITEMS = 1000, DP_TERMS = 2000, DP_LOGIC_DEPTH = 32,
       DP_TEXT_TERMS = 200,      /* of one boolean text */
       DP_PARAMS = 65535, DP_NAME = 63,
       DP_VALUES = 1 << 20 };    /* of one JSON document */

struct dp {
    ath_arena *arena;
    ath_err *e;
    const char *code;            /* raised for a refused filter, order or limit */
    const char *select_code;     /* for a refused selection */
    const char *table_code;      /* for a refused table or schema name */
    bool structured;             /* a table that is missing is said in this form's words */
    const ath_catalog *catalog;
    const ath_snapshot *snapshot;
    bool fold;                   /* names from camelCase to snake_case first */
    bool fixed;                  /* set when more than the kind of a value decided: see plan.c */
    bool unknown;                /* set when a name was not in the snapshot: it may be new */
    uint32_t relations, items, terms; /* so far, for the bounds */
    struct dp_item *spare;       /* items that wait to be used */
    uint32_t spares;
};

/* ---- what a request asks for ---- */

struct dp_cast {
    const char *name;            /* as requests write it and SQL takes it */
    uint32_t type;               /* its OID */
};

struct dp_step {                 /* of a JSON path: -> 'key', ->> 'key', -> 0 */
    struct dp_step *next;
    ath_str key;
    bool index, text;            /* a number; ->> */
};

struct dp_ref {                  /* a column, perhaps a path into it */
    ath_str name;
    struct dp_step *path;
    const ath_attribute *column; /* after dp_bind() */
    bool exact;                  /* the column has the very name */
};

enum dp_op { DP_EQ = 1, DP_NEQ, DP_GT, DP_GTE, DP_LT, DP_LTE, DP_LIKE, DP_ILIKE, DP_IS, DP_IN,
             DP_CONTAINS, DP_CONTAINED };
enum dp_logic { DP_TERM = 1, DP_AND, DP_OR, DP_NOT }; /* NOT: not all of them */

struct dp_pred {
    struct dp_pred *next, *first, *last; /* siblings; of AND, OR, NOT: what is below */
    uint8_t logic, op;
    bool wild;                   /* REST: '*' in a pattern means '%' */
    struct dp_ref ref;
    const struct dp_cast *column_cast, *value_cast;
    const struct json *value;
};

struct dp_order {
    struct dp_order *next;
    struct dp_ref ref;
    bool desc, jsonb;            /* jsonb: ordered as such, for json has no order */
    uint8_t nulls;               /* 0: as the direction has them, 1: first, 2: last */
};

struct dp_node;
struct dp_item {                 /* of a selection; one of star, child, ref */
    struct dp_item *next;
    bool star;
    struct dp_node *child;
    struct dp_ref ref;
    const struct dp_cast *cast;
    ath_str key;                 /* in the output */
};

struct dp_pair {                 /* parent's column = child's column */
    const ath_attribute *parent, *child;
};

struct dp_node {                 /* a relation that is read: the root, or one inside another */
    struct dp_node *parent;
    ath_str asked;               /* as written, for messages */
    ath_str schema, table;
    ath_str key;                 /* in the output; of the root empty */
    ath_str hint, via;           /* which foreign key or table joins it to the parent */
    bool inner;
    struct dp_item *item, *item_last;
    struct dp_pred *where, *where_last; /* ANDed */
    struct dp_order *order;
    int64_t limit, offset;       /* < 0: none */
    /* after dp_bind() */
    const ath_relation *relation;
    const ath_relation *through; /* many to many */
    struct dp_pair *pair;        /* parent and child; with `through` parent and through */
    struct dp_pair *through_pair; /* through and child */
    uint32_t pair_count, through_count;
    bool many;                   /* an array of rows, not one */
    uint32_t number;             /* of its alias */
    uint32_t alias_n;
    char alias[8];               /* "t0." */
    size_t sql_from, sql_to;     /* its conditions in the statement, once written */
};

enum dp_count { DP_COUNT_NONE, DP_COUNT_EXACT, DP_COUNT_PLANNED, DP_COUNT_ESTIMATED };
enum dp_grain { DP_GRAIN_NONE, DP_GRAIN_DAY, DP_GRAIN_HOUR, DP_GRAIN_MINUTE };

struct dp_group {                /* contract 15 */
    ath_str by, sum;             /* output keys; by empty: nothing is grouped */
    enum dp_grain grain;
    bool cumulative, dedup;
};

struct dp_keys {                 /* of the answer's rows, as they are written: ,"key": */
    uint32_t n;
    ath_str *prefix;
};

struct dp_fetch {
    struct dp_node root;
    const struct dp_keys *keys;  /* of a plan; NULL: root.item has them */
    bool structured;             /* the body had `select` */
    bool head;
    bool in_pieces;              /* its result may be long: it is asked for in pieces */
    int strip_nulls;             /* -1: not said in the body */
    enum dp_count count;
    struct dp_group group;
};

struct dp_limits {
    int64_t max_rows;            /* 0: any number */
};

/* Reads the body of a fetch. */
int dp_read_fetch(struct dp *dp, const struct json *body, const struct dp_limits *limits,
                  struct dp_fetch *ret);

/* ---- its parts, for other requests ---- */

/* "schema.table", each part perhaps in double quotes; refused when it is malformed. */
int dp_read_table(struct dp *dp, ath_str text, ath_str *ret_schema, ath_str *ret_table);

/* The values of table_name and schema_name; NULL: not given. */
int dp_read_selector(struct dp *dp, const struct json *table, const struct json *schema,
                     struct dp_node *node);

/* Flat conditions, an array; a structured where, an object or an array; a boolean text; one
 * parameter of a REST query ("id", "gte.5"). Each is ANDed to the node's. */
int dp_read_conditions(struct dp *dp, const struct json *list, struct dp_node *node);
int dp_read_where(struct dp *dp, const struct json *where, struct dp_node *node);
int dp_read_logic(struct dp *dp, ath_str text, enum dp_logic logic, struct dp_pred **ret);
int dp_read_rest(struct dp *dp, ath_str name, ath_str value, struct dp_pred **ret);

/* A selection as text, object or array (contract 14.2, 14.5), added to the node's items. */
int dp_read_select(struct dp *dp, const struct json *select, struct dp_node *node);
int dp_read_items(struct dp *dp, ath_str text, struct dp_node *node);

/* {column, direction}, {col: "asc"}, [...]: the node's order. */
int dp_read_order(struct dp *dp, const struct json *order, struct dp_node *node);

/* sort_by: {field or column, direction}; a direction that is not known means descending. */
int dp_read_sort(struct dp *dp, const struct json *o, struct dp_node *node);

/* "name.desc.nullslast,id": the node's order. */
int dp_read_order_text(struct dp *dp, ath_str text, struct dp_node *node);

/* A SELECT as clients write it (fromsql.c; contract 21.5, 21.6), into `ret`. Returns what it is;
 * negative: relations with something that is not understood. */
enum dp_sql_kind {
    DP_SQL_ELSE,                 /* SQL: nothing was said, nothing is wrong */
    DP_SQL_FETCH,
    DP_SQL_RELATIONS             /* with alias:table(...), which SQL does not have */
};
int dp_read_sql(struct dp *dp, ath_str sql, struct dp_fetch *ret);

/* ---- names to the catalogue ---- */

/* A root whose `relation` is set already keeps it. */
int dp_bind(struct dp *dp, struct dp_node *root);

/* Exact, then ignoring case when only one fits, then folded; NULL: none. */
const ath_attribute *dp_column(const struct dp *dp, const ath_relation *r, ath_str name);

/* Rights to read every relation of the tree, also those not found. Callable whether or not
 * dp_bind() succeeded. Returns how many. */
uint32_t dp_rights(struct dp *dp, const struct dp_node *root, const char *action,
                   const ath_right **ret);

/* The same of all relations but the root itself. */
uint32_t dp_rights_below(struct dp *dp, const struct dp_node *root, const char *action,
                         const ath_right **ret);

/* "createdAt" as "created_at" (contract 10); `name` itself when there is nothing to fold. */
ath_str dp_fold(const struct dp *dp, ath_str name);

/* NULL: no such cast. */
const struct dp_cast *dp_cast_find(ath_str name);

/* ---- the statement ---- */

enum { DP_FEW = 8 };             /* parameters that need no memory of their own */
struct dp_sql {
    struct buf text;
    ath_str *param;
    uint32_t *type;
    uint32_t count, cap;
    ath_str few_param[DP_FEW];
    uint32_t few_type[DP_FEW];
};

struct dp_query {
    struct dp_sql sql;
    struct buf plan;             /* asks for the plan of planned and estimated counts */
    ath_stmt stmt[2];            /* the statement, the plan */
    uint32_t stmt_count;
    bool rows;                   /* the statement gives rows (else only a count) */
    bool counted;                /* its first two columns are the count and "is a row" */
};

int dp_fetch_sql(struct dp *dp, const struct dp_fetch *f, struct dp_query *ret);

/* Two independent 64-bit hashes: of the statement and of what is done to its rows, then of the
 * values too. Equal questions have equal pairs, in every process. */
void dp_digest_shape(const struct dp_query *q, const struct dp_fetch *f, uint64_t ret[2]);
void dp_digest_values(const struct dp_query *q, uint64_t h[2]);

/* ---- plans: what bodies that differ in values only become (plan.c) ---- */

struct dp_hole {                 /* where a value stands in a body */
    uint32_t at, n, param;
    bool text;                   /* between quotes; else an integer */
};

struct dp_plan {
    uint32_t refs, holes, params;
    const ath_snapshot *snapshot; /* compared, never followed */
    uint64_t version, digest[2];
    int64_t max_rows;
    const char *client, *sql;
    size_t client_n;
    ath_str body, schema, table, asked;
    struct dp_hole hole[DP_FEW];
    ath_str param[DP_FEW];
    uint32_t type[DP_FEW];
    struct dp_keys keys;         /* n 0: the result has them */
    enum dp_count count;
    int strip_nulls;
    bool rows, counted, head, fold, in_pieces;
};

struct dp_plan_key {             /* what a plan depends on besides the body */
    ath_str client;
    const ath_snapshot *snapshot;
    uint64_t version;            /* of the snapshot */
    int64_t max_rows;
    bool fold;
};

struct dp_plans;                 /* of one loop */
struct dp_plans *dp_plans_new(void); /* NULL: out of memory */
void dp_plans_free(struct dp_plans *p);

/* The plan for this body, held until dp_plan_drop(), with the values that fill it; NULL: none. */
struct dp_plan *dp_plan_find(struct dp_plans *p, const struct dp_plan_key *key, ath_str body,
                             ath_str hole[DP_FEW]);
void dp_plan_drop(void *plan);

/* Fills what dp_fetch_rows() and a query need. The right to ask for is that on plan->schema,
 * plan->table. */
void dp_plan_use(const struct dp_plan *plan, const ath_str hole[DP_FEW], struct dp_fetch *f,
                 struct dp_query *q);

/* Remembers what a body became, when that is worth it. */
void dp_plan_keep(struct dp_plans *p, const struct dp_plan_key *key, const struct dp *dp,
                  ath_str body, const struct dp_fetch *f, const struct dp_query *q);

/* ---- the answer (in pieces: writer.h) ---- */

enum dp_format {
    DP_JSON,                     /* rows as objects between the envelope's members */
    DP_NDJSON,                   /* an object a line, nothing else */
    DP_CSV                       /* RFC 4180: a line of keys, then PostgreSQL's text; null is nothing */
};

enum dp_body {                   /* JSON: what stands beside the rows; dp_fetch_rows() has the first */
    DP_BODY_FETCH,               /* {"cache_key", "count", "data", "message", "status"} */
    DP_BODY_CALL,                /* {"count", "data", "message", "status"} */
    DP_BODY_DATA                 /* {"data"} */
};

struct dp_answer {
    ath_str cache_key;           /* 64 hex digits */
    enum dp_format format;
    enum dp_body body;           /* this and `values` count for the writer (writer.h) */
    bool values;                 /* JSON: the first column of each row, no object */
    bool strip_nulls;
    bool bare;                   /* JSON in pieces: the array of rows alone */
    int64_t planned;             /* in pieces: of a planned or estimated count */
    uint32_t row_count;          /* set by dp_fetch_rows() */
    int64_t count;               /* the same; < 0: none was asked for */
    size_t data_from, data_to;   /* the same: where the array of rows stands in the body */
};

/* The whole body of a 200 answer, into `b`. Only JSON can be grouped. */
int dp_fetch_rows(struct dp *dp, const struct dp_fetch *f, const struct dp_query *q,
                  const ath_rows *rows, struct dp_answer *a, struct buf *b);

/* ---- inside: shared by the files of this folder ---- */

void *dp_new(const struct dp *dp, size_t n);
struct buf dp_buf(const struct dp *dp);
ath_str dp_copy(const struct dp *dp, ath_str s); /* ended by NUL */

/* Raises dp->code. */
#define dp_refuse(dp, ...) ath_raise((dp)->e, (dp)->code, __VA_ARGS__)
int dp_no_column(struct dp *dp, const ath_relation *r, ath_str name);
int dp_no_table(struct dp *dp, ath_str schema, ath_str table);

struct dp_pred *dp_pred_new(struct dp *dp, enum dp_logic logic); /* NULL: too many; refused */
void dp_pred_add(struct dp_pred *to, struct dp_pred *p);
void dp_where_add(struct dp_node *to, struct dp_pred *p);
enum dp_op dp_op_find(ath_str word); /* 0: none */
struct dp_node *dp_node_new(struct dp *dp, struct dp_node *parent);
struct dp_item *dp_item_add(struct dp *dp, struct dp_node *node);
int dp_read_ref(struct dp *dp, ath_str text, struct dp_ref *ret); /* "col", "col->a->>b" */
int dp_bind_join(struct dp *dp, struct dp_node *node);

bool dp_needs_json(const ath_attribute *a); /* its text is not enough: to_json(column) */
const ath_attribute *dp_column_at(const ath_relation *r, uint32_t i);

/* The text of `v` as a parameter of this type; `array`: the type is an array. */
int dp_value(struct dp *dp, const struct json *v, uint32_t type, bool array, ath_str *ret);
/* The same of a list for `= ANY`, {1,"a b"}: without its nulls. type: the array's. */
int dp_array_text(struct dp *dp, const struct json *list, uint32_t type, ath_str *ret);
void dp_element(struct buf *b, ath_str s); /* "a b" of an array's text, in quotes */

/* Adds a value and writes its $n. False: too many; refused. */
bool dp_param(struct dp *dp, struct dp_sql *sql, ath_str value, uint32_t type);
int dp_ref_sql(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
               const struct dp_ref *ref);
int dp_term_sql(struct dp *dp, struct dp_sql *sql, const struct dp_node *node,
                const struct dp_pred *p);
int dp_items_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node); /* with nothing before */
int dp_where_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node); /* " WHERE ..." or nothing */
int dp_order_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node); /* " ORDER BY ..." */
int dp_page_sql(struct dp *dp, struct dp_sql *sql, struct dp_node *node);  /* " LIMIT $1 OFFSET $2" */

struct dp_span {                 /* some rows of a result; the last columns may be hidden */
    const ath_rows *rows;
    uint32_t first, count, hidden;
};

/* Each row as a JSON object, between commas, and behind one when a row stands there already. Of `f`
 * the root's items and the keys count. */
void dp_rows_json(struct dp *dp, const struct dp_fetch *f, const struct dp_span *of, bool strip,
                  struct buf *b);

struct dp_table {                /* rows of a result, and where the JSON of each stands in the answer */
    const ath_rows *rows;
    uint32_t first, count;       /* rows */
    uint32_t column, columns;    /* the first one that is shown; how many */
    const ath_str *key;          /* of each shown column */
    const struct typed *type;
    const size_t *at;            /* count + 1 offsets into the answer */
};
int dp_group_write(struct dp *dp, const struct dp_group *g, const struct dp_table *t,
                   ath_str cache_key, struct buf *b);

#endif
