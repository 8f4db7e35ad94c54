/* core/server/diag.h - `athena diag`: this machine as Athena sees it, as JSON for a support case.
 * No configuration is read, and nothing in it is a secret.
 */
#ifndef CORE_SERVER_DIAG_H
#define CORE_SERVER_DIAG_H

#include "server/cli.h"

int command_diag(const struct cli *cli);

#endif
