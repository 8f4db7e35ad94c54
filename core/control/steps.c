#include "control/steps.h"

#include <athena/abi.h>

extern const char sql_logging_0001_catalog[], sql_logging_0001_traffic[];
extern const char sql_logging_0001_statistics[], sql_logging_0001_queues[];
extern const char sql_logging_0001_typesense[], sql_logging_0001_console[];
extern const char sql_logging_0002_columns[], sql_logging_0003_integrity[];
extern const char sql_logging_0004_indexes[], sql_logging_0005_storage[];
extern const char sql_logging_0006_audit[];
extern const char sql_logging_0007_jobs[], sql_logging_0008_deferred[];
extern const char sql_logging_0009_backup[];
extern const char sql_logging_0010_backup_proof[];
extern const char sql_logging_0011_schedules[];
extern const char sql_logging_0012_backup_kept[];
extern const char sql_auth_0001_baseline[], sql_auth_0002_indexes[];
extern const char sql_auth_0003_notify[], sql_auth_0004_rights[], sql_auth_0005_switch[];

static const struct step logging[] = {
    { 1,
      "baseline",
      { sql_logging_0001_catalog, sql_logging_0001_traffic, sql_logging_0001_statistics,
        sql_logging_0001_queues, sql_logging_0001_typesense, sql_logging_0001_console } },
    { 2, "columns", { sql_logging_0002_columns } },
    { 3, "integrity", { sql_logging_0003_integrity } },
    { 4, "indexes", { sql_logging_0004_indexes } },
    { 5, "storage", { sql_logging_0005_storage } },
    { 6, "audit", { sql_logging_0006_audit } },
    { 7, "jobs", { sql_logging_0007_jobs } },
    { 8, "deferred", { sql_logging_0008_deferred } },
    { 9, "backup", { sql_logging_0009_backup } },
    { 10, "backup_proof", { sql_logging_0010_backup_proof } },
    { 11, "schedules", { sql_logging_0011_schedules } },
    { 12, "backup_kept", { sql_logging_0012_backup_kept } },
};

static const struct step auth[] = {
    { 1, "baseline", { sql_auth_0001_baseline } },
    { 2, "indexes", { sql_auth_0002_indexes } },
    { 3, "notify", { sql_auth_0003_notify } },
    { 4, "rights", { sql_auth_0004_rights } },
    { 5, "switch", { sql_auth_0005_switch } },
};

const struct component core_components[] = {
    { "logging", "@control", NULL, logging, ATH_COUNT(logging) },
    { "auth", "@auth", NULL, auth, ATH_COUNT(auth) },
};
const size_t core_component_count = ATH_COUNT(core_components);
