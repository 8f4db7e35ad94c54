/* core/server/role.h - what a process is: which families of workers it runs, whether it serves.
 *
 *     athena serve            routes and the port; workers too, unless daemon.enabled; none that want a
 *                             process of their own (ATH_WK_APART)
 *     athena daemon           every family; no port
 *     athena worker FAMILY    that family; no port
 *     --roles LIST            any of them together: serve, daemon, worker:FAMILY. What is named there
 *                             runs, whatever daemon.enabled and ATH_WK_APART say
 *
 * In the registry of daemons a process shows as a kind: the published name of the program that does the
 * same (api_inline, athena_daemon, athena_clone_worker ...).
 */
#ifndef CORE_SERVER_ROLE_H
#define CORE_SERVER_ROLE_H

#include "server/cli.h"

enum { ROLE_FAMILIES_MOST = 16, ROLE_KIND = 64 };

struct role {
    bool serves;
    bool all;                    /* every family */
    const char *family[ROLE_FAMILIES_MOST]; /* else these; in the command line's arena */
    uint32_t families;
    char kind[ROLE_KIND];        /* "athena_clone_worker" */
    const char *mode;            /* how the registry says that it is managed: "dedicated_worker" */
};

/* NULL: the role of serve. ATH_E_CONFIG: --roles names something else. */
int role_read(const struct cli *cli, struct role *ret, ath_err *e);

/* That of `athena worker FAMILY`; NULL: that of `athena daemon`. */
struct role role_of_family(const char *family);

bool role_names(const struct role *r, const char *family);

/* Does it run this worker? What each process does for itself (ATH_WK_LOCAL) it does in any role, where its
 * plugin is loaded. `apart`: daemon.enabled, whose workers run in another process. */
bool role_runs(const struct role *r, const ath_worker *w, bool apart);

#endif
