/* plugins/routes/daemons/daemons.h - the processes that run workers: which there are, and which
 * there could be.
 */
#ifndef ROUTES_DAEMONS_H
#define ROUTES_DAEMONS_H

#include "admin/admin.h"

ath_handler daemons_list;    /* inventory.c */
ath_handler daemons_catalog; /* catalog.c */

extern const ath_command daemons_command; /* command.c */

extern const char openapi_yaml[]; /* openapi.yaml */

#endif
