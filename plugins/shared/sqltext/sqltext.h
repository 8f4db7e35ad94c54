/* plugins/shared/sqltext/sqltext.h - the text of SQL, read as PostgreSQL's lexer reads it
 * (src/backend/parser/scan.l): tokens, and the statements of a script.
 *
 *     struct sql_scan s = { .text = script, .line = 1 };
 *     struct sql_token t;
 *     while (sql_next(&s, &t))            tokens; blanks and comments are skipped
 *
 *     struct sql_statement st;
 *     while (sql_statement(&s, &st))      statements, without their semicolon
 *
 * A semicolon ends a statement where it stands outside quotes, comments, brackets and the BEGIN
 * ATOMIC ... END of a function's body. Text behind an opening quote or comment that never closes is
 * one broken token up to the end: PostgreSQL is the one to complain about it.
 *
 * Nothing allocates; everything borrows from the text. standard_conforming_strings is on, as in
 * every session of ours.
 */
#ifndef PLUGINS_SHARED_SQLTEXT_H
#define PLUGINS_SHARED_SQLTEXT_H

#include "lib/text.h"

enum sql_kind {
    SQL_WORD = 1, /* a keyword, or a name without quotes */
    SQL_NAME,     /* "name", U&"name" */
    SQL_STRING,   /* '...', E'...', B'...', X'...', U&'...', $tag$...$tag$; continued ones too */
    SQL_NUMBER,
    SQL_PARAM,  /* $1 */
    SQL_SIGN,   /* an operator, a bracket, a comma, "::", ... */
    SQL_BROKEN, /* a quote or comment that never closes */
};

struct sql_token {
    uint8_t kind; /* enum sql_kind */
    ath_str text; /* as it stands in the source */
    uint32_t line, line_end;
};

struct sql_scan {
    ath_str text;
    size_t at;
    uint32_t line; /* of `at`; begins with 1 */
};

/* False: the end. */
bool sql_next(struct sql_scan *s, struct sql_token *ret);

/* Is it this keyword (written in upper case)? */
bool sql_is(const struct sql_token *t, const char *word);

/* Is it this sign? */
static inline bool sql_sign(const struct sql_token *t, const char *sign)
{
    return t->kind == SQL_SIGN && str_is(t->text, sign);
}

enum sql_control { /* of the transaction */
                   SQL_CONTROL_NONE,
                   SQL_CONTROL_OPEN,   /* BEGIN, START TRANSACTION; COMMIT AND CHAIN and the like */
                   SQL_CONTROL_CLOSE,  /* COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION */
                   SQL_CONTROL_INSIDE, /* SAVEPOINT, RELEASE, ROLLBACK TO */
                   SQL_CONTROL_PREPARED, /* COMMIT PREPARED, ROLLBACK PREPARED */
};

struct sql_statement {
    ath_str text; /* from its first token to its last */
    uint32_t line_start, line_end;
    struct sql_token verb; /* what it does: its first word; of WITH ... the one behind the list;
                            * of (select ...) that inside; kind 0: none */
    uint8_t control;       /* enum sql_control */
    bool rows;             /* it may give many rows; else none, or the one of CALL */
    bool broken;
};

/* False: the end. Segments without a token are no statements. */
bool sql_statement(struct sql_scan *s, struct sql_statement *ret);

#endif
