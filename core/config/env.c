/* Variables and the grammar of .env files: KEY=value a line, '...' literal, "..." and bare text
 * with
 * \\ \' \" \$ \n and backslash-blank, $NAME and ${NAME} replaced, # comments after a blank.
 */
#include "config/env.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/file.h"

#define VALUE_MAX (256 << 10)
#define FILE_MOST (1 << 20)

static bool real_get(const struct config_env *env, ath_str name, ath_str *ret)
{
    for (const char *const *v = env->real; v && *v; v++) {
        if (strncmp(*v, name.p, name.n) == 0 && (*v)[name.n] == '=') {
            *ret = str_of(*v + name.n + 1);
            return true;
        }
    }
    return false;
}

static bool file_get(const struct config_env *env, ath_str name, ath_str *ret)
{
    for (const struct env_pair *p = env->first; p; p = p->next) {
        if (str_eq(p->name, name)) {
            *ret = p->value;
            return true;
        }
    }
    return false;
}

bool env_get(const struct config_env *env, ath_str name, ath_str *ret)
{
    return name.n && (real_get(env, name, ret) || file_get(env, name, ret));
}

bool env_get_z(const struct config_env *env, const char *name, ath_str *ret)
{
    return env_get(env, str_of(name), ret);
}

void env_export(const struct config_env *env)
{
    for (const struct env_pair *p = env->first; p; p = p->next)
        setenv(p->name.p, p->value.p, 0);
}

int env_override(const char *path, ath_err *e)
{
    ath_arena arena = { 0 };
    struct config_env env = { .arena = &arena, .real = (const char *const *)environ };
    struct buf text = BUF_HEAP;
    unsigned line;
    int rc = -file_read(path, FILE_MOST, &text);

    if (rc)
        rc = err_fail(e, ATH_E_INPUT, "could not read file \"%s\": %s", path, strerror(rc));
    else if (env_parse(&env, buf_view(&text), &line) < 0)
        rc = err_fail(e, ATH_E_INPUT, "line %u of file \"%s\" is no KEY=value", line, path);
    for (const struct env_pair *p = env.first; rc == 0 && p; p = p->next)
        setenv(p->name.p, p->value.p, 1);
    buf_free(&text);
    arena_free(&arena);
    return rc;
}

/* ---- one line ---- */

struct line {
    const struct config_env *env;
    ath_str left; /* not read yet */
    struct buf value;
};

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(ath_str *s)
{
    while (s->n && blank(s->p[0]))
        *s = str_after(*s, 1);
}

static ath_str take_key(ath_str *s)
{
    size_t n = 0;

    while (n < s->n &&
           (isalnum((unsigned char)s->p[n]) || s->p[n] == '_' || (n > 0 && s->p[n] == '.')))
        n++;
    if (n && isdigit((unsigned char)s->p[0]))
        n = 0;
    ath_str key = str_from(s->p, n);
    *s = str_after(*s, n);
    return key;
}

/* False: lines that double each other would grow without end. */
static bool put_variable(struct line *l, ath_str name)
{
    ath_str value;

    if (!env_get(l->env, name, &value))
        return true;
    buf_str(&l->value, value);
    return l->value.n <= VALUE_MAX;
}

/* After a `$`. */
static bool take_variable(struct line *l)
{
    size_t n = 0;
    ath_str name;

    if (l->left.n && l->left.p[0] == '{') {
        n = str_find(l->left, '}');
        if (n == l->left.n)
            return false;
        name = str_from(l->left.p + 1, n - 1);
        l->left = str_after(l->left, n + 1);
        return put_variable(l, name);
    }
    while (n < l->left.n && isalnum((unsigned char)l->left.p[n]))
        n++;
    name = str_from(l->left.p, n);
    l->left = str_after(l->left, n);
    return put_variable(l, name);
}

/* After a backslash. */
static bool take_escape(struct line *l)
{
    char c = l->left.n ? l->left.p[0] : 0;

    if (!c || !strchr("\\'\"$ n", c))
        return false;
    buf_char(&l->value, c == 'n' ? '\n' : c);
    l->left = str_after(l->left, 1);
    return true;
}

static bool take_literal(struct line *l)
{
    size_t n = str_find(l->left, '\'');

    if (n == l->left.n)
        return false;
    buf_str(&l->value, str_from(l->left.p, n));
    l->left = str_after(l->left, n + 1);
    return true;
}

/* The value, up to a blank outside of quotes; behind it only a comment may follow. */
static bool take_value(struct line *l)
{
    bool quoted = false, ok = true;

    while (ok && l->left.n) {
        char c = l->left.p[0];
        if (blank(c) && !quoted)
            break;
        l->left = str_after(l->left, 1);
        if (c == '$')
            ok = take_variable(l);
        else if (c == '\\')
            ok = take_escape(l);
        else if (c == '"')
            quoted = !quoted;
        else if (c == '\'' && !quoted)
            ok = take_literal(l);
        else
            buf_char(&l->value, c);
    }
    skip_blanks(&l->left);
    return ok && !quoted && (l->left.n == 0 || l->left.p[0] == '#');
}

static bool take_line(struct config_env *env, ath_str text)
{
    struct line l = { .env = env, .left = text, .value = ARENA_BUF(env->arena) };
    struct env_pair *pair;
    ath_str key, before;

    if (l.left.n && l.left.p[l.left.n - 1] == '\r')
        l.left.n--;
    skip_blanks(&l.left);
    if (l.left.n == 0 || l.left.p[0] == '#')
        return true;
    if (str_starts(l.left, "export") && l.left.n > 6 && blank(l.left.p[6])) {
        l.left = str_after(l.left, 6);
        skip_blanks(&l.left);
    }
    key = take_key(&l.left);
    skip_blanks(&l.left);
    if (key.n == 0 || l.left.n == 0 || l.left.p[0] != '=')
        return false;
    l.left = str_after(l.left, 1);
    skip_blanks(&l.left);
    if (!take_value(&l))
        return false;
    if (file_get(env, key, &before))
        return true;
    pair = ARENA_NEW(env->arena, struct env_pair);
    pair->name = arena_str(env->arena, key);
    pair->value = arena_str(env->arena, buf_view(&l.value));
    if (env->last)
        env->last->next = pair;
    else
        env->first = pair;
    env->last = pair;
    return true;
}

int env_parse(struct config_env *env, ath_str text, unsigned *ret_line)
{
    ath_str rest = text, line;
    unsigned n = 0;

    while (str_next(&rest, '\n', &line)) {
        n++;
        if (str_find(line, 0) < line.n || !take_line(env, line)) {
            *ret_line = n;
            return ATH_E_INPUT;
        }
    }
    return 0;
}

bool env_reference(ath_str text, struct env_reference *ret)
{
    size_t n;

    text = str_trim(text);
    if (!str_starts(text, "${") || text.n < 4 || str_find(text, '}') != text.n - 1)
        return false;
    ret->name = str_from(text.p + 2, text.n - 3);
    ret->fallback = (ath_str){ "", 0 };
    ret->has_fallback = false;
    for (n = 0; n + 1 < ret->name.n; n++) {
        if (ret->name.p[n] == ':' && ret->name.p[n + 1] == '-') {
            ret->fallback = str_after(ret->name, n + 2);
            ret->name = str_from(ret->name.p, n);
            ret->has_fallback = true;
            break;
        }
    }
    return ret->name.n > 0;
}
