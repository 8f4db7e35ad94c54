/* Tokens. Each function stands at the first byte of what it reads and moves behind it; that the
 * text may end anywhere is the only way in which it can fail.
 */
#include "sqltext/sqltext.h"

enum { START = 1, WITHIN = 2, OPERATOR = 4, SPACE = 8, DIGIT = 16, TAG = 32 };

static const uint8_t class_of[256] = {
    ['a' ... 'z'] = START | WITHIN | TAG,
    ['A' ... 'Z'] = START | WITHIN | TAG,
    [0x80 ... 0xff] = START | WITHIN | TAG,
    ['_'] = START | WITHIN | TAG,
    ['0' ... '9'] = WITHIN | DIGIT,
    ['$'] = WITHIN,
    ['~'] = OPERATOR,
    ['!'] = OPERATOR,
    ['@'] = OPERATOR,
    ['#'] = OPERATOR,
    ['^'] = OPERATOR,
    ['&'] = OPERATOR,
    ['|'] = OPERATOR,
    ['`'] = OPERATOR,
    ['?'] = OPERATOR,
    ['+'] = OPERATOR,
    ['-'] = OPERATOR,
    ['*'] = OPERATOR,
    ['/'] = OPERATOR,
    ['%'] = OPERATOR,
    ['<'] = OPERATOR,
    ['>'] = OPERATOR,
    ['='] = OPERATOR,
    [' '] = SPACE,
    ['\t'] = SPACE,
    ['\n'] = SPACE,
    ['\r'] = SPACE,
    ['\f'] = SPACE,
    ['\v'] = SPACE,
};

/* The byte `ahead` of here; 0 past the end. A NUL in the text is a byte of no class. */
static inline unsigned char peek(const struct sql_scan *s, size_t ahead)
{
    return s->at + ahead < s->text.n ? (unsigned char)s->text.p[s->at + ahead] : 0;
}

static inline bool is(const struct sql_scan *s, uint8_t class)
{
    return class_of[peek(s, 0)] & class;
}

static inline bool at_end(const struct sql_scan *s)
{
    return s->at >= s->text.n;
}

static inline void step(struct sql_scan *s)
{
    s->line += s->text.p[s->at] == '\n';
    s->at++;
}

static bool starts_line_comment(const struct sql_scan *s)
{
    return peek(s, 0) == '-' && peek(s, 1) == '-';
}

static bool starts_block_comment(const struct sql_scan *s)
{
    return peek(s, 0) == '/' && peek(s, 1) == '*';
}

static void line_comment(struct sql_scan *s)
{
    while (!at_end(s) && peek(s, 0) != '\n' && peek(s, 0) != '\r')
        s->at++;
}

/* They nest. False: it never ends. */
static bool block_comment(struct sql_scan *s)
{
    size_t depth = 0;

    while (!at_end(s)) {
        bool opens = starts_block_comment(s), closes = peek(s, 0) == '*' && peek(s, 1) == '/';
        if (opens || closes) {
            depth += opens ? 1 : (size_t)-1;
            s->at += 2;
            if (depth == 0)
                return true;
        } else {
            step(s);
        }
    }
    return false;
}

/* Up to the next token. False: a comment never ends, and `s` stands at it. */
static bool blanks(struct sql_scan *s)
{
    while (!at_end(s)) {
        struct sql_scan from = *s;
        if (is(s, SPACE)) {
            step(s);
        } else if (starts_line_comment(s)) {
            line_comment(s);
        } else if (starts_block_comment(s)) {
            if (!block_comment(s)) {
                *s = from;
                return false;
            }
        } else {
            return true;
        }
    }
    return true;
}

/* ---- quotes ---- */

/* A string goes on behind blanks and line comments with a line end among them, if the next is a
 * quote again; and an escape string goes on as one. */
static bool continues(struct sql_scan *s)
{
    struct sql_scan look = *s;
    bool newline = false;

    while (!at_end(&look)) {
        if (is(&look, SPACE)) {
            newline = newline || peek(&look, 0) == '\n' || peek(&look, 0) == '\r';
            step(&look);
        } else if (starts_line_comment(&look)) {
            line_comment(&look);
            if (at_end(&look))
                return false;
        } else {
            break;
        }
    }
    if (!newline || peek(&look, 0) != '\'')
        return false;
    *s = look;
    return true;
}

/* From the opening quote. A doubled quote is a quote inside. */
static bool quoted(struct sql_scan *s, char quote, bool escapes)
{
    step(s);
    while (!at_end(s)) {
        char c = s->text.p[s->at];
        if (escapes && c == '\\' && s->at + 1 < s->text.n) {
            step(s);
            step(s);
        } else if (c != quote) {
            step(s);
        } else if (peek(s, 1) == (unsigned char)quote) {
            s->at += 2;
        } else {
            s->at++;
            if (quote == '"' || !continues(s))
                return true;
            step(s);
        }
    }
    return false;
}

/* The length of "$tag$" here; 0: there is none. */
static size_t dollar_tag(const struct sql_scan *s)
{
    size_t n = 1;

    if (class_of[peek(s, 1)] & DIGIT)
        return 0;
    while (class_of[peek(s, n)] & (TAG | DIGIT))
        n++;
    return peek(s, n) == '$' ? n + 1 : 0;
}

static bool dollar_quoted(struct sql_scan *s, size_t tag)
{
    const char *open = s->text.p + s->at;

    s->at += tag;
    for (; s->at + tag <= s->text.n; step(s))
        if (peek(s, 0) == '$' && memcmp(s->text.p + s->at, open, tag) == 0) {
            s->at += tag;
            return true;
        }
    while (!at_end(s))
        step(s);
    return false;
}

/* ---- the rest ---- */

static void digits(struct sql_scan *s)
{
    while (is(s, DIGIT))
        s->at++;
}

static void number(struct sql_scan *s)
{
    size_t sign;

    digits(s);
    if (peek(s, 0) == '.' && peek(s, 1) != '.') {
        s->at++;
        digits(s);
    }
    sign = peek(s, 1) == '+' || peek(s, 1) == '-';
    if ((peek(s, 0) == 'e' || peek(s, 0) == 'E') && class_of[peek(s, 1 + sign)] & DIGIT) {
        s->at += 1 + sign;
        digits(s);
    }
}

/* A run of operator bytes up to a comment. It ends in + or - only when it has one of those that
 * the standard does not know, so "=-1" is two. */
static void sign(struct sql_scan *s)
{
    size_t from = s->at;
    bool special = false;

    while (is(s, OPERATOR) && !starts_line_comment(s) && !starts_block_comment(s)) {
        special = special || memchr("~!@#^&|`?%", s->text.p[s->at], 10);
        s->at++;
    }
    while (!special && s->at - from > 1 &&
           (s->text.p[s->at - 1] == '+' || s->text.p[s->at - 1] == '-'))
        s->at--;
    if (s->at > from)
        return;
    s->at += (peek(s, 0) == ':' && (peek(s, 1) == ':' || peek(s, 1) == '=')) ||
                     (peek(s, 0) == '.' && peek(s, 1) == '.')
                 ? 2
                 : 1;
}

static bool prefixed(const struct sql_scan *s, char lower, char quote)
{
    return (peek(s, 0) | 0x20) == (unsigned char)lower && peek(s, 1) == (unsigned char)quote;
}

/* The kind, or SQL_BROKEN. */
static enum sql_kind string(struct sql_scan *s, size_t prefix, bool escapes)
{
    char quote;

    s->at += prefix;
    quote = s->text.p[s->at];
    if (!quoted(s, quote, escapes))
        return SQL_BROKEN;
    return quote == '"' ? SQL_NAME : SQL_STRING;
}

static enum sql_kind dollar(struct sql_scan *s)
{
    size_t tag = dollar_tag(s);

    if (tag)
        return dollar_quoted(s, tag) ? SQL_STRING : SQL_BROKEN;
    s->at++;
    if (!is(s, DIGIT))
        return SQL_SIGN;
    digits(s);
    return SQL_PARAM;
}

static enum sql_kind word(struct sql_scan *s)
{
    if (prefixed(s, 'e', '\''))
        return string(s, 1, true);
    if (prefixed(s, 'b', '\'') || prefixed(s, 'x', '\'') || prefixed(s, 'n', '\''))
        return string(s, 1, false);
    if (prefixed(s, 'u', '&') && (peek(s, 2) == '\'' || peek(s, 2) == '"'))
        return string(s, 2, false);
    while (is(s, WITHIN))
        s->at++;
    return SQL_WORD;
}

static enum sql_kind token(struct sql_scan *s)
{
    unsigned char c = peek(s, 0);

    if (class_of[c] & START)
        return word(s);
    if (c == '\'' || c == '"')
        return string(s, 0, false);
    if (c == '$')
        return dollar(s);
    if ((class_of[c] & DIGIT) || (c == '.' && class_of[peek(s, 1)] & DIGIT)) {
        number(s);
        return SQL_NUMBER;
    }
    sign(s);
    return SQL_SIGN;
}

bool sql_next(struct sql_scan *s, struct sql_token *ret)
{
    bool whole = blanks(s);
    size_t from = s->at;

    if (at_end(s))
        return false;
    ret->line = s->line;
    if (whole) {
        ret->kind = (uint8_t)token(s);
    } else {
        ret->kind = SQL_BROKEN;
        while (!at_end(s))
            step(s);
    }
    ret->text = str_from(s->text.p + from, s->at - from);
    ret->line_end = s->line;
    return true;
}

bool sql_is(const struct sql_token *t, const char *word)
{
    return t->kind == SQL_WORD && str_ieq(t->text, str_of(word));
}
