/* athena/command.h - operator commands: athena NAME ... */
#ifndef ATHENA_COMMAND_H
#define ATHENA_COMMAND_H

#include <athena/config.h>
#include <athena/task.h>

/* clang-format off */

/* cap.name: its words, "backup create". The plugin's note offers "command.backup" (the first word),
 * so that the server finds the plugin without loading the others. */
typedef struct {
    ath_cap          cap;
    const char      *summary;    /* one line of help */
    const char      *columns;    /* names between commas: the table made from the JSON that the
                                  * command is done with (unless --json); NULL: the JSON as it is */
    const ath_field *field;      /* its options, as in config.h: --key value, or by position */
    uint32_t         field_size, field_count;
    size_t           options_size;       /* of the struct that the fields fill */
    /* A task on the control loop. Ends with `done`: d->bytes is JSON, d->status the exit status. A
     * negative code is printed and the command exits with 1. */
    int (*run)(ath_task *t, const void *options, ath_err *e);
    /* Where in the JSON the rows are: "data.pools"; NULL: it is the rows. Several, blanks between, are
     * a table each, and `columns` has a list for each of them, `;` between. What is not there is
     * left out. */
    const char      *rows;
} ath_command;

/* clang-format on */
#endif
