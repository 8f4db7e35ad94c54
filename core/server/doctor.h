/* core/server/doctor.h - the operator's checklist, one verdict a line: `athena doctor`, GET
 * /admin/doctor.
 *
 * Everything is looked at when it is asked, side by side, each check with a limit of its own; what
 * did not answer by then has failed. Nothing is changed. What one check needs of another (the
 * versions of the servers, for the tools) is judged at the end.
 *
 * To add one: a function in doctor_host.c or doctor_data.c and a line in doctor.c; of a plugin: an
 * ath_check.
 */
#ifndef CORE_SERVER_DOCTOR_H
#define CORE_SERVER_DOCTOR_H

#include <athena/service/doctor.h>

#include "server/setup.h"

/* What the process was made from, and whether it serves. Before the loops serve, and once; `s`
 * lives on. The service answers only after it. */
void doctor_start(struct setup *s, bool serving);

extern const ath_doctor doctor_service; /* "athena.doctor@1" */

int command_doctor(const struct cli *cli); /* `athena doctor`; 0: nothing has failed */

#endif
