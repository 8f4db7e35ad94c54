/* core/db/catalog.h - the service athena.catalog@1, filled from pg_catalog. */
#ifndef CORE_DB_CATALOG_H
#define CORE_DB_CATALOG_H

#include <athena/service/catalog.h>

#include "db/client.h"

extern const ath_catalog catalog_service;

#endif
