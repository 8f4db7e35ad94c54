/* Statements: what stands between two semicolons that count, and what its first words say. */
#include "sqltext/sqltext.h"

enum { WORDS = 5 };

struct reading {                  /* of one statement */
    struct sql_token word[WORDS]; /* its first tokens */
    uint32_t tokens, depth, body; /* open brackets; BEGIN ATOMIC and CASE that were not ended */
    bool routine;                 /* CREATE FUNCTION or PROCEDURE */
    bool listed;                  /* behind the bracket of a WITH list */
    bool chained;                 /* ... AND CHAIN */
    bool returning;
    struct sql_token before;
};

static bool at(const struct reading *r, uint32_t i, const char *word)
{
    return i < r->tokens && i < WORDS && sql_is(&r->word[i], word);
}

/* The words behind CREATE [OR REPLACE]. */
static void notice_routine(struct reading *r)
{
    uint32_t i = at(r, 1, "OR") && at(r, 2, "REPLACE") ? 3 : 1;

    if (at(r, 0, "CREATE") && (at(r, i, "FUNCTION") || at(r, i, "PROCEDURE")))
        r->routine = true;
}

/* In the body of a routine written in SQL semicolons end its own statements. CASE has an END, too.
 */
static void notice_body(struct reading *r, const struct sql_token *t)
{
    if (!r->routine || r->depth)
        return;
    if (r->body == 0)
        r->body = sql_is(t, "ATOMIC") && sql_is(&r->before, "BEGIN");
    else if (sql_is(t, "CASE"))
        r->body++;
    else if (sql_is(t, "END"))
        r->body--;
}

static bool is_main(const struct sql_token *t)
{
    static const char *const words[] = { "SELECT", "INSERT", "UPDATE", "DELETE",
                                         "MERGE",  "VALUES", "TABLE" };

    for (size_t i = 0; i < ATH_COUNT(words); i++)
        if (sql_is(t, words[i]))
            return true;
    return false;
}

/* WITH a AS (...), b AS (...) INSERT: the first main word behind a closed bracket that is not a
 * name of the list, which stands behind WITH, RECURSIVE or a comma. */
static void notice_verb(const struct reading *r, const struct sql_token *t,
                        struct sql_statement *ret)
{
    if (ret->verb.kind == 0 && (t->kind == SQL_WORD))
        ret->verb = *t;
    else if (r->listed && r->depth == 0 && sql_is(&ret->verb, "WITH") && is_main(t) &&
             !sql_sign(&r->before, ","))
        ret->verb = *t;
}

static void notice(struct reading *r, const struct sql_token *t, struct sql_statement *ret)
{
    if (r->tokens < WORDS)
        r->word[r->tokens] = *t;
    r->tokens++;
    if (r->tokens <= WORDS)
        notice_routine(r);
    notice_body(r, t);
    notice_verb(r, t, ret);
    if (sql_sign(t, "("))
        r->depth++;
    else if (sql_sign(t, ")") && r->depth)
        r->depth--;
    r->listed = r->listed || (sql_sign(t, ")") && r->depth == 0);
    r->chained = r->chained || (sql_is(t, "CHAIN") && sql_is(&r->before, "AND"));
    r->returning = r->returning || sql_is(t, "RETURNING");
    r->before = *t;
}

/* Whatever is not known to give none. */
static bool gives_rows(const struct reading *r, const struct sql_statement *st)
{
    static const char *const changes[] = { "INSERT", "UPDATE", "DELETE", "MERGE" };
    static const char *const others[] = {
        "ALTER",    "ANALYZE",   "BEGIN",   "CALL",    "CLOSE",    "COMMENT",  "COMMIT", "CREATE",
        "DECLARE",  "DISCARD",   "DO",      "DROP",    "END",      "GRANT",    "LISTEN", "LOCK",
        "MOVE",     "NOTIFY",    "PREPARE", "REFRESH", "REINDEX",  "RELEASE",  "RESET",  "REVOKE",
        "ROLLBACK", "SAVEPOINT", "SET",     "START",   "TRUNCATE", "UNLISTEN", "VACUUM", "ABORT",
    };

    for (size_t i = 0; i < ATH_COUNT(changes); i++)
        if (sql_is(&st->verb, changes[i]))
            return r->returning;
    for (size_t i = 0; i < ATH_COUNT(others); i++)
        if (sql_is(&st->verb, others[i]))
            return false;
    return true;
}

static enum sql_control control_of(const struct reading *r)
{
    bool commit = at(r, 0, "COMMIT") || at(r, 0, "END");
    bool rollback = at(r, 0, "ROLLBACK") || at(r, 0, "ABORT");

    if (at(r, 0, "BEGIN") || (at(r, 0, "START") && at(r, 1, "TRANSACTION")))
        return SQL_CONTROL_OPEN;
    if ((commit || rollback) && at(r, 1, "PREPARED"))
        return SQL_CONTROL_PREPARED;
    if (at(r, 0, "SAVEPOINT") || at(r, 0, "RELEASE") ||
        (rollback && (at(r, 1, "TO") || at(r, 2, "TO"))))
        return SQL_CONTROL_INSIDE;
    if (commit || rollback)
        return r->chained ? SQL_CONTROL_OPEN : SQL_CONTROL_CLOSE;
    if (at(r, 0, "PREPARE") && at(r, 1, "TRANSACTION"))
        return SQL_CONTROL_CLOSE;
    return SQL_CONTROL_NONE;
}

bool sql_statement(struct sql_scan *s, struct sql_statement *ret)
{
    struct reading r = { 0 };
    struct sql_token t;
    const char *from = NULL;

    *ret = (struct sql_statement){ 0 };
    while (sql_next(s, &t)) {
        if (sql_sign(&t, ";") && r.depth == 0 && r.body == 0) {
            if (from)
                break;
            continue;
        }
        if (!from) {
            from = t.text.p;
            ret->line_start = t.line;
        }
        notice(&r, &t, ret);
        ret->broken = ret->broken || t.kind == SQL_BROKEN;
        ret->text = str_from(from, (size_t)(t.text.p + t.text.n - from));
        ret->line_end = t.line_end;
    }
    ret->control = (uint8_t)control_of(&r);
    ret->rows = gives_rows(&r, ret);
    return from != NULL;
}
