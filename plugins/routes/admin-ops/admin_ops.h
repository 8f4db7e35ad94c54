/* plugins/routes/admin-ops/admin_ops.h - how the server and its databases are doing, for those who
 * run it.
 */
#ifndef ROUTES_ADMIN_OPS_H
#define ROUTES_ADMIN_OPS_H

#include "admin/admin.h"

ath_handler pools_list;                 /* pools.c */
ath_handler vacuum_list, vacuum_detail; /* vacuum.c */
ath_handler admission_list;             /* admission.c */
ath_handler audit_list;                 /* audit.c */
ath_handler schema_debug;               /* schema.c */
ath_handler doctor_show;                /* doctor.c */

extern const ath_command pools_command, audit_command; /* command.c */

extern const char openapi_yaml[]; /* openapi.yaml */

#endif
