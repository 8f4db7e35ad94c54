/* sdk/lib/sqlname.h - quoting, the only way a name gets into SQL. Values never do: they are $1, $2. */
#ifndef SDK_LIB_SQLNAME_H
#define SDK_LIB_SQLNAME_H

#include "lib/buf.h"

/* Appends "name" with its quotes doubled. A NUL byte cannot be quoted: the name is cut there, and
 * PostgreSQL then knows no such name. */
void buf_ident(struct buf *b, ath_str name);

/* Appends "schema"."name", or "name" when the schema is empty. */
void buf_ident2(struct buf *b, ath_str schema, ath_str name);

/* Appends 'text' as a literal that means the same whatever standard_conforming_strings says. For
 * the few statements that take no parameters (LISTEN, SET); never for user text that could be one. */
void buf_literal(struct buf *b, ath_str text);

#endif
