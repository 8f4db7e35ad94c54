/* POST /query/sql and /gateway/sql: SQL with a driver named, in an envelope of its own (contract
 * 22). The host has asked for the key and for gateway.query.
 */
#include "query.h"

#include "driver.h"
#include "lib/json.h"

struct sql {
    struct run run; /* first: run.c hands it back */
    ath_str database;
};

static void answer(ath_req *r, struct run *run)
{
    const struct sql *x = (const struct sql *)run;
    const struct script *s = &run->script;
    struct buf *b = &run->body;

    (void)r;
    buf_json_str(b, "db_name", x->database);
    buf_json_int(b, "duration_ms", (int64_t)run->took_ms);
    buf_json_str(b, "execution_mode",
                 s->each ? ATH_S("per_statement") : ATH_S("single_transaction"));
    answer_preprocess(b);
    buf_json_int(b, "returned_row_count", (int64_t)run->data_rows);
    buf_json_int(b, "rows_affected", (int64_t)run->affected);
    if (s->schema.n)
        buf_json_str(b, "schema_name", s->schema);
    else
        buf_lit(b, ",\"schema_name\":null");
    buf_json_int(b, "statement_count", s->count);
    answer_statements(b, s);
    buf_char(b, '}');
    buf_json_str(b, "message", ATH_S("Successfully executed query"));
    buf_json_str(b, "status", ATH_S("success"));
    buf_char(b, '}');
}

int query_sql(ath_req *r, ath_err *e)
{
    struct sql *x = ath_new(ath_arena_of(r), sizeof(*x));
    const struct json *body;
    int rc;

    if ((rc = script_body(r, 0, &body, e)) < 0 ||
        (rc = driver_read(r, body, "Use postgresql.", &x->database, e)) < 0 ||
        (rc = script_read(r, body, &x->run.script, e)) < 0 || (rc = query_allowed(r, e)) < 0)
        return rc;
    x->run.answer = answer;
    x->run.head = ATH_S("{\"data\":{\"rows\":");
    x->run.echo = true;
    return run_start(r, &x->run, e);
}
