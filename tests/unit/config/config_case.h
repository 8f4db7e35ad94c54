/* What the tests of core/config share: a private folder with files, an environment of their own,
 * and a report to look into.
 */
#ifndef TESTS_UNIT_CONFIG_CASE_H
#define TESTS_UNIT_CONFIG_CASE_H

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/clients.h"
#include "config/reference.h"
#include "support/check_main.h"

/* The smallest published file, up to the api section. */
#define HEAD "urls: []\nhosts: []\nauthenticator: []\npostgres_clients: []\n"

struct config_case {
    char folder[64];
    char path[128];
    const char *env[16];
    size_t envs;
    struct config *c;
    struct config_report rep;
    struct core_config core;
    struct buf text;
};

static inline void case_file(struct config_case *k, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(path, sizeof(path), "%s/%.*s", k->folder, (int)(slash - name), name);
        mkdir(path, 0755);
    }
    snprintf(path, sizeof(path), "%s/%s", k->folder, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static inline void case_begin(struct config_case *k)
{
    *k = (struct config_case){ .text = BUF_HEAP };
    snprintf(k->folder, sizeof(k->folder), "/tmp/athena-config-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(k->folder));
    snprintf(k->path, sizeof(k->path), "%s/config.yaml", k->folder);
    config_report_init(&k->rep);
}

static inline void case_env(struct config_case *k, const char *pair)
{
    k->env[k->envs++] = pair;
}

/* Reads `yaml` as the main file. */
static inline int case_open(struct config_case *k, const char *yaml)
{
    struct config_options o = { .path = k->path, .environ = k->env, .cwd = k->folder };

    if (yaml)
        case_file(k, "config.yaml", yaml);
    return config_open(&o, &k->c, &k->rep);
}

static inline int case_core(struct config_case *k, const char *yaml)
{
    int rc = case_open(k, yaml);

    return rc < 0 ? rc : core_config_fill(k->c, &k->core, &k->rep);
}

/* All notes as printed, with the folder's name cut out. */
static inline const char *case_notes(struct config_case *k)
{
    FILE *f = tmpfile();
    char line[4096];

    config_report_print(&k->rep, ATH_INFO, f);
    rewind(f);
    buf_reset(&k->text);
    while (fgets(line, sizeof(line), f)) {
        for (char *p = line, *hit; *p; p = hit) {
            hit = strstr(p, k->folder);
            buf_mem(&k->text, p, hit ? (size_t)(hit - p) : strlen(p));
            if (!hit)
                break;
            hit += strlen(k->folder) + 1;
        }
    }
    fclose(f);
    return buf_view(&k->text).p;
}

static inline void case_end(struct config_case *k)
{
    char command[128];

    config_close(k->c);
    config_report_free(&k->rep);
    buf_free(&k->text);
    snprintf(command, sizeof(command), "rm -rf '%s'", k->folder);
    ck_assert_int_eq(system(command), 0);
}

#define has(text, piece) ck_assert_msg(strstr((text), (piece)) != NULL, "no \"%s\" in:\n%s", (piece), (text))
#define hasnt(text, piece) ck_assert_msg(strstr((text), (piece)) == NULL, "\"%s\" in:\n%s", (piece), (text))

#endif
