/* core/config/env.h - variables, from the environment and from .env files below it.
 *
 * Nothing in a .env file overrides a variable that the environment has, not even an empty one; an
 * earlier file beats a later one. The real environment is a snapshot, so a configuration that is
 * read again sees changed .env files and not what it exported itself.
 */
#ifndef CORE_CONFIG_ENV_H
#define CORE_CONFIG_ENV_H

#include "base/arena.h"
#include "base/err.h"
#include "lib/text.h"

struct env_pair {
    ath_str name, value;
    struct env_pair *next;
};

struct config_env {
    ath_arena *arena;
    const char *const *real;     /* "NAME=value", ..., NULL */
    struct env_pair *first, *last;
};

/* Looked up exactly; false: not set. An empty value counts as set. */
bool env_get(const struct config_env *env, ath_str name, ath_str *ret);
bool env_get_z(const struct config_env *env, const char *name, ath_str *ret);

/* Adds the lines of one .env file. Stops at the first bad line: the ones before it stay, *ret_line
 * says which it was, and the return is ATH_E_INPUT. */
int env_parse(struct config_env *env, ath_str text, unsigned *ret_line);

/* Puts what the .env files brought into the environment of the process, for libraries that look
 * there (PGHOST, HTTPS_PROXY). Before any thread starts. */
void env_export(const struct config_env *env);

/* Puts the lines of a file in the form of .env into the environment of the process, over what is there:
 * the operator named it. Before any thread starts, and before a snapshot is taken. */
int env_override(const char *path, ath_err *e);

/* The whole text is ${NAME} or ${NAME:-default}, blanks around it aside. */
struct env_reference {
    ath_str name, fallback;
    bool has_fallback;
};
bool env_reference(ath_str text, struct env_reference *ret);

#endif
