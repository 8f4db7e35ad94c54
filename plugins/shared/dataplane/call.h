/* plugins/shared/dataplane/call.h - calling a function of the database: from a request to one
 * statement, and from its result to JSON.
 *
 *     dp_read_call(&dp, body, ...)     what is asked, by names          no catalogue needed
 *     dp_bind_call(&dp, &c)            which signature, what it gives   needs dp.snapshot
 *     dp_call_sql(&dp, &c)             one statement and its values     a pure function
 *     dp_call_answer(&c, format)       what becomes of its result
 *
 * The statement:
 *
 *     WITH f AS (SELECT * FROM "public"."list"("low" => $1, "high" => $2) AS t)
 *     SELECT t0."id" FROM f AS t0 WHERE t0."total" > $3 ORDER BY t0."id" DESC LIMIT $4
 *
 * Every argument is a parameter of its declared type, so which overload is meant never depends on how
 * a value was written. What a function gives is filtered, ordered, counted and cut like a table. A
 * single value is a row with one column that has the function's name; a NULL is no row.
 */
#ifndef PLUGINS_SHARED_DATAPLANE_CALL_H
#define PLUGINS_SHARED_DATAPLANE_CALL_H

#include "dataplane/dataplane.h"

struct dp_call {
    ath_str schema, name;
    const struct json *args;     /* an object; NULL: none */
    bool texts;                  /* its members are texts of a query string: "null" is null */
    struct dp_fetch f;           /* of what it gives: selection, filters, order, page, count */
    bool selects;                /* the request says which columns */
    struct dp_query q;           /* after dp_call_sql() */
    /* after dp_bind_call() */
    const ath_function *function;
    bool scalar;                 /* it gives values, not rows */
    bool bare;                   /* the answer has them as they are, not as objects */
};

/* The body of POST /gateway/rpc (`path` empty) and of POST /rpc/{path}: the request, or, when it has
 * none of a request's keys, the arguments. body NULL: there was none. */
int dp_read_call(struct dp *dp, ath_str path, const struct json *body,
                 const struct dp_limits *limits, struct dp_call *c);

/* GET /rpc/{path}: the pairs of the query string. */
int dp_read_call_query(struct dp *dp, ath_str path, const ath_pair *pair, uint32_t n,
                       const struct dp_limits *limits, struct dp_call *c);

int dp_bind_call(struct dp *dp, struct dp_call *c);

/* Rights to read the relations that the selection embeds. */
uint32_t dp_call_rights(struct dp *dp, const struct dp_call *c, const ath_right **ret);

int dp_call_sql(struct dp *dp, struct dp_call *c);

/* What the writer (writer.h) makes of the result. */
struct dp_answer dp_call_answer(const struct dp_call *c, enum dp_format format);

/* ---- inside ---- */

/* The value of an argument: its text and the type that the parameter gets. */
struct dp_given {
    ath_str text;                /* p NULL: SQL null */
    uint32_t type;
};
int dp_argument(struct dp *dp, const struct dp_call *c, const ath_argument *a,
                const struct json *v, struct dp_given *ret);

/* How well a value suits a declared type: 0 badly, 1 it may, 2 it is of that kind, 3 it is what the
 * value would be if nothing were declared. */
unsigned dp_argument_fit(const struct dp_call *c, const ath_argument *a, const struct json *v);

/* One that takes a value, by its name; NULL: none. */
const ath_argument *dp_argument_named(const ath_function *f, ath_str name);

#endif
