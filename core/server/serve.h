/* core/server/serve.h - the server itself: from a checked configuration to the last closed log. */
#ifndef CORE_SERVER_SERVE_H
#define CORE_SERVER_SERVE_H

#include "server/setup.h"

/* Serves until TERM or INT and returns the exit status. */
int serve(const struct cli *cli);

#endif
