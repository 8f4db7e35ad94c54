/* The process: what its command line names. */
#include "server/server.h"

#include <stdio.h>

#include "server/command.h"
#include "server/serve.h"

int server_main(int argc, char **argv)
{
    static const struct cli_runs runs = {
        .serve = serve, .check_config = command_check_config,
        .config_reference = command_reference, .plugins = command_plugins,
        .plugin = command_plugin,
    };
    struct commands commands = { 0 };
    struct cli_finder finder = commands_finder(&commands);
    struct cli cli;
    int status = cli_parse(argc, argv, &finder, &cli, stdout, stderr);

    if (status == CLI_GO)
        status = cli_run(&cli, &runs, stderr);
    cli_free(&cli);
    commands_free(&commands);
    return status;
}
