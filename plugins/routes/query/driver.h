/* plugins/routes/query/driver.h - the members `driver` and `db_name`, which two routes take. */
#ifndef ROUTES_QUERY_DRIVER_H
#define ROUTES_QUERY_DRIVER_H

#include "query.h"

/* There is one driver; the database's name is only repeated in the answer. `instead`: what an
 * unknown driver is told to use. */
int driver_read(ath_req *r, const struct json *body, const char *instead, ath_str *ret_database,
                ath_err *e);

#endif
