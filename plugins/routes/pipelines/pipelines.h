/* plugins/routes/pipelines/pipelines.h - rows of one table, changed a little, into another one.
 *
 *     definition.c   what a pipeline is: from a body, from a template, one over the other
 *     templates.c    pipelines with a name: GET /pipelines/templates, and how a run finds its own
 *     store.c        the templates of the control plane: /admin/pipeline-templates
 *     run.c          POST /pipelines, /pipelines/simulate
 *     transform.c    the rows of the source become those of the sink
 *     steps.c        what became of each step: pipeline_step_log
 *     command.c      athena pipeline
 *
 * Whose rows are read and written is decided by the routes that do it: a run calls /gateway/fetch
 * for the source's client and /gateway/insert for the sink's, with the caller's own key, so the
 * rights, bindings, addresses and switches of both clients hold as if the caller had called them.
 */
#ifndef ROUTES_PIPELINES_H
#define ROUTES_PIPELINES_H

#include "admin/admin.h"

enum { NAME_MOST = 255, VALUES_MOST = 1 << 20 };

struct pipelines_config {
    int64_t max_rows;   /* of one run */
    uint64_t max_bytes; /* of what is read for it */
};

enum { METRIC_LOST }; /* index into the plugin's metrics */

/* ---- definition.c ---- */

struct definition { /* texts and values are borrowed from the documents */
    ath_str name;   /* empty: it has none */
    ath_str source_table, source_client, sink_table, sink_client;
    const struct json *columns, *conditions; /* as /gateway/fetch takes them; NULL: none */
    int64_t limit;                           /* -1: all rows */
    ath_str group_by, granularity, sum_column, strategy;
    bool dedup;
    const struct json *aliases; /* object of texts; NULL: none */
    bool dry_run;
};

/* Puts what a document says over what is in `d`: a template first, then the body of a request. What
 * nobody knows is refused, by its name. `request`: "pipeline" and "dry_run" may be there. */
int definition_read(struct definition *d, const struct json *v, bool request, ath_err *e);

/* Is it whole? Both tables are named, and what belongs together is there. */
int definition_check(const struct definition *d, ath_err *e);

static inline bool definition_changes(const struct definition *d)
{
    return d->group_by.n || (d->aliases && d->aliases->count);
}

/* ---- templates.c ---- */

struct template
{
    ath_str name;
    const struct json *definition;
    bool mutable; /* it lies in the control plane, not in the file */
};

/* `then` with d->arg as given and *ret filled; of a name that nobody has, the task fails. */
struct template_search {
    struct template found;
    ath_then *then;
    void *arg;
    ath_str param;
};
int template_find(ath_req *r, struct template_search *s, ath_str name, ath_err *e);

/* Of the file; false: it has none of that name. */
bool template_of_file(ath_req *r, ath_str name, struct template *ret);

/* The members that every list shows, the object left open. */
void template_put(struct buf *b, const struct template *t);

/* Those of the file, in their order, as an array's items; `only`: what is of other clients than
 * this one is left out (empty: nothing is). `open`: behind each, before its brace closes. */
void template_put_file(ath_req *r, struct buf *b, ath_str only, void (*more)(struct buf *b));

bool template_is_for(const struct json *definition, ath_str client);

ath_handler templates_list;

/* ---- store.c ---- */

ath_handler store_list, store_get, store_put, store_delete;

/* ---- transform.c ---- */

struct rows {
    ath_str text; /* JSON array of objects */
    uint32_t count;
};

/* From the answer of /gateway/fetch. */
int transform(ath_req *r, const struct definition *d, const struct json *answer, struct rows *ret,
              ath_err *e);

/* ---- steps.c ---- */

enum step { STEP_SOURCE, STEP_TRANSFORM, STEP_SINK, STEPS };

struct step_row {
    bool done;
    uint32_t status; /* as HTTP has it; 0: there was no answer */
    uint64_t began_ms, ms;
    uint32_t rows;
    ath_str client, table, error;
};

struct steps {
    ath_str run, name, request;
    bool dry_run;
    struct step_row row[STEPS];
};

const char *step_word(enum step step);
void step_begin(ath_req *r, struct steps *s, enum step step);
void step_end(ath_req *r, struct steps *s, enum step step, uint32_t status, ath_str error);

/* Writes them in the background; a run never waits for its log. */
void steps_write(ath_req *r, const struct steps *s);

/* ---- run.c ---- */

ath_handler pipelines_run, pipelines_simulate, pipelines_sink;

extern const ath_command pipeline_command; /* command.c */
extern const char openapi_yaml[];          /* openapi.yaml */

#endif
