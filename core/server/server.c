/* The process: what its command line names. */
#include "server/server.h"

#include <stdio.h>

#include "config/env.h"
#include "server/clientsfile.h"
#include "server/command.h"
#include "server/completion.h"
#include "server/diag.h"
#include "server/doctor.h"
#include "server/serve.h"

/* CLI_GO, or the exit status. */
static int take_env_file(const struct cli *cli)
{
    ath_err e;

    err_reset(&e);
    if (cli->env_file.n == 0 || env_override(cli->env_file.p, &e) >= 0)
        return CLI_GO;
    fprintf(stderr, "athena: %s\n", e.message);
    return 1;
}

int server_main(int argc, char **argv)
{
    static const struct cli_runs runs = {
        .serve = serve, .daemon = serve, .worker = serve, .check_config = command_check_config,
        .config_reference = command_reference, .plugins = command_plugins,
        .plugin = command_plugin, .doctor = command_doctor, .diag = command_diag,
        .completion = command_completion, .clients_list = command_clients_list,
        .clients_add = command_clients_add, .clients_remove = command_clients_remove,
        .clients_set_default = command_clients_set_default, .migrate = command_migrate,
    };
    struct commands commands = { 0 };
    struct cli_finder finder = commands_finder(&commands);
    struct cli cli;
    int status = cli_parse(argc, argv, &finder, &cli, stdout, stderr);

    if (status == CLI_GO)
        status = take_env_file(&cli);
    if (status == CLI_GO)
        status = cli_run(&cli, &runs, stderr);
    cli_free(&cli);
    commands_free(&commands);
    return status;
}
