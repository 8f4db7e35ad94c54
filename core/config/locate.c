/* The list of places, .env files, and the file that is written when there is none. */
#include "config/locate.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char seed_text[] =
    "# Athena, written at the first start. `athena config-reference` prints every key.\n"
    "server: {}\n"
    "gateway:\n"
    "- enforce_api_keys: true\n"
    "- unenforced_scope: data\n"
    "- logging_client: athena_logging\n"
    "postgres_clients:\n"
    "- athena_logging: ${POSTGRES_ATHENA_LOGGING_URI}\n";

bool locate_is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static size_t add(struct config *c, struct location *list, size_t n, ath_str folder,
                  const char *below, const char *label)
{
    const char *path;

    if (folder.n == 0)
        return n;
    path = arena_printf(&c->arena, "%.*s%s", STR_ARG(folder), below).p;
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].path, path) == 0)
            return n;
    list[n] = (struct location){ path, label };
    return n + 1;
}

size_t locate_all(struct config *c, const char *cwd, struct location ret[LOCATIONS_MAX])
{
    ath_str xdg = { "", 0 }, home = { "", 0 };
    size_t n = 0;

    env_get_z(&c->env, "XDG_CONFIG_HOME", &xdg);
    env_get_z(&c->env, "HOME", &home);
    n = add(c, ret, n, xdg, "/athena/config.yaml", "XDG config home");
    n = add(c, ret, n, home, "/.config/athena/config.yaml", "Home config (.config)");
    n = add(c, ret, n, home, "/.athena/config.yaml", "Home config (.athena)");
    return add(c, ret, n, str_of(cwd), "/config.yaml", "Current working directory");
}

static void dotenv_load(struct config *c, const char *path, struct config_report *rep)
{
    struct config_place at = { .file = path, .column = 1 };
    ath_str text;
    ath_err e;

    if (config_file_read(&c->arena, path, 1 << 20, &text, &e) < 0) {
        c->dotenv_status = "parse failed";
        config_warn(rep, &at, "could not read file: %s", e.message);
    } else if (env_parse(&c->env, text, &at.line) < 0) {
        c->dotenv_status = "parse failed";
        config_warn(rep, &at,
                    "found a .env file but failed to parse this line; ignoring it and what "
                    "follows");
        config_hint(rep, "A line reads KEY=value; a value with blanks needs quotes. Quoted Windows "
                         "paths: use C:/... not C:\\... inside \"...\".");
    } else {
        c->dotenv_status = "loaded";
    }
}

void locate_dotenv(struct config *c, const char *folder, bool upward, struct config_report *rep)
{
    const char *path = arena_printf(&c->arena, "%s/.env", folder).p;
    char *real;

    c->dotenv = path;
    c->dotenv_status = "not found";
    if (locate_is_file(path)) {
        dotenv_load(c, path, rep);
        return;
    }
    real = upward ? realpath(folder, NULL) : NULL;
    while (real && real[0] && real[1]) {
        *strrchr(real, '/') = 0;
        path = arena_printf(&c->arena, "%s/.env", real).p;
        if (locate_is_file(path)) {
            dotenv_load(c, path, rep);
            break;
        }
    }
    free(real);
}

/* Creates the folders above `path`. */
static int make_folders(const char *path)
{
    char *copy = strdup(path);
    int rc = copy ? 0 : -1;

    for (char *p = copy ? strchr(copy + 1, '/') : NULL; p && rc == 0; p = strchr(p + 1, '/')) {
        *p = 0;
        rc = mkdir(copy, 0755) < 0 && errno != EEXIST ? -1 : 0;
        *p = '/';
    }
    free(copy);
    return rc;
}

static int write_seed(const char *path)
{
    int fd =
        make_folders(path) < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    bool whole;

    if (fd < 0)
        return -1;
    whole = write(fd, seed_text, sizeof(seed_text) - 1) == (ssize_t)(sizeof(seed_text) - 1);
    return close(fd) == 0 && whole ? 0 : -1;
}

int locate_seed(struct config *c, const struct location *at, size_t n, struct location *ret,
                ath_err *e)
{
    (void)c;
    err_fail(e, ATH_E_CONFIG, "no place to look at: HOME is not set");
    for (size_t i = 0; i < n; i++) {
        if (write_seed(at[i].path) == 0) {
            *ret = at[i];
            return 0;
        }
        err_fail(e, ATH_E_CONFIG, "could not write file \"%s\": %s", at[i].path, strerror(errno));
    }
    return ATH_E_CONFIG;
}
