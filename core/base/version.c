/* Versions. */
#include "base/version.h"

const char athena_version[] = ATHENA_VERSION;
const char athena_published_version[] = "3.27.1";
