/* core/control/audit.h - rows of database_audit_log for what a step did. */
#ifndef CORE_CONTROL_AUDIT_H
#define CORE_CONTROL_AUDIT_H

#include "control/plan.h"
#include "lib/buf.h"

struct audit {
    const char *component;
    ath_str client;              /* of the logging database, as configured */
    const char *step;
    uint32_t version;
};

/* Adds one statement to a JSON array that begins with an empty buffer; `error` empty: it worked. */
void audit_add(struct buf *b, const struct audit *a, const struct mutation *m, ath_str schema,
               uint64_t took_ms, ath_str error);

/* Takes that array, closed by audit_end(), as $1. */
extern const char audit_sql[];
void audit_end(struct buf *b);

#endif
