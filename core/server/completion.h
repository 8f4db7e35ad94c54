/* core/server/completion.h - `athena completion SHELL`: a script that completes commands, options
 * and words, made from the tables of the core and of all installed plugins.
 */
#ifndef CORE_SERVER_COMPLETION_H
#define CORE_SERVER_COMPLETION_H

#include "server/cli.h"

int command_completion(const struct cli *cli);

#endif
