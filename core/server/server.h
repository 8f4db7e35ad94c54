/* core/server/server.h - the process: command line to exit status. */
#ifndef CORE_SERVER_SERVER_H
#define CORE_SERVER_SERVER_H

/* Runs the command that argv names (none: serve). Returns the exit status: 0 done, 1 refused or
 * failed, 2 wrong usage. */
int server_main(int argc, char **argv);

#endif
