/* core/server/table.h - what a command is done with, as a table for people. */
#ifndef CORE_SERVER_TABLE_H
#define CORE_SERVER_TABLE_H

#include <stdio.h>

#include "lib/buf.h"

/* `json` is an array of objects, or one object, which is a row; `columns` the members to be shown,
 * comma between, in that order. Numbers stand right, yes and no for booleans, "-" for what is null
 * or missing. On a terminal, the widest column of text is cut so that rows fit. Text that is no
 * such JSON is printed as it is. `rows`, as in ath_command: where in the JSON they are; NULL: it is
 * the rows. */
void table_print(ath_str json, const char *rows, const char *columns, FILE *out);

/* The same for a line of that many characters; 0: of any length. */
void table_print_within(ath_str json, const char *rows, const char *columns, size_t width,
                        FILE *out);

/* JSON with a line for each value; what is none, as it is. */
void table_json(ath_str json, FILE *out);

#endif
