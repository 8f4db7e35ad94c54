/* athena/service/doctor.h - "athena.doctor@1": the operator's checklist.
 *
 * One document, the same that `athena doctor --json` prints:
 *
 *     {"status":"warn","version":"0.1.0","generated_at":"2026-01-05T10:00:00Z","took_ms":41,
 *      "counts":{"ok":20,"warn":1,"fail":0,"skip":3},
 *      "checks":[{"name":"logging.reachable","verdict":"ok","seen":"...","hint":null,"took_ms":3}]}
 *
 * `status` is the worst verdict but skip. What is checked is asked at the moment of the call, side by
 * side, each with a limit of its own: it takes seconds at most.
 */
#ifndef ATHENA_SERVICE_DOCTOR_H
#define ATHENA_SERVICE_DOCTOR_H

#include <athena/plugin.h>

typedef struct {
    uint32_t size, pad;
    /* d->bytes: the document, as long as the task lives. limit_ms: of each check; 0: 5 s. */
    ATH_OP(examine, uint32_t limit_ms);
} ath_doctor;

#endif
