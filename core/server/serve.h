/* core/server/serve.h - a process that runs on, in whatever role: from a checked configuration to the
 * last closed log. */
#ifndef CORE_SERVER_SERVE_H
#define CORE_SERVER_SERVE_H

#include "server/setup.h"

/* Until TERM or INT; returns the exit status. */
int serve(const struct cli *cli);

#endif
