/* From the command, or from --roles, to a role. */
#include "server/role.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "lib/text.h"

static void add_family(struct role *r, const char *family)
{
    if (!role_names(r, family) && r->families < ROLE_FAMILIES_MOST)
        r->family[r->families++] = family;
}

static int take_roles(const struct cli *cli, struct role *r, ath_err *e)
{
    ath_arena *a = (ath_arena *)(uintptr_t)&cli->arena;
    ath_str rest = cli->roles, one;

    while (cli->roles.n && str_next(&rest, ',', &one)) {
        one = str_trim(one);
        if (str_is(one, "serve"))
            r->serves = true;
        else if (str_is(one, "daemon"))
            r->all = true;
        else if (str_starts(one, "worker:") && one.n > strlen("worker:"))
            add_family(r, arena_str(a, str_after(one, strlen("worker:"))).p);
        else
            return err_fail(e, ATH_E_CONFIG,
                            "--roles has \"%.*s\", expected serve, daemon or worker:FAMILY",
                            STR_ARG(one));
    }
    return 0;
}

/* The published program's name; of a family that it has none for, one that is made like them. */
static void name_kind(struct role *r)
{
    const char *link = r->all             ? cli_link("daemon", NULL)
                       : r->families == 1 ? cli_link("worker", r->family[0])
                                          : NULL;

    if (r->serves)
        snprintf(r->kind, sizeof(r->kind), "api_inline");
    else if (link)
        snprintf(r->kind, sizeof(r->kind), "%s", link);
    else if (r->families == 1)
        snprintf(r->kind, sizeof(r->kind), "athena_%s_worker", r->family[0]);
    else
        snprintf(r->kind, sizeof(r->kind), "athena_workers");
    for (char *c = r->kind; *c; c++)
        *c = *c == '-' ? '_' : *c;
}

static const char *mode_of(const struct role *r)
{
    if (r->serves)
        return "inline_runtime";
    if (r->all)
        return "bundled_runtime";
    return strcmp(r->kind, "athena_daemon_legacy_workers") == 0 ? "legacy_workers_only"
                                                                : "dedicated_worker";
}

static int take_command(const struct cli *cli, struct role *r, ath_err *e)
{
    const char *name = cli && cli->command ? cli->command->name : "serve";

    if (cli && cli->roles.n && strcmp(name, "serve") != 0)
        return err_fail(e, ATH_E_CONFIG, "--roles is for athena serve, not for athena %s", name);
    if (strcmp(name, "daemon") == 0)
        r->all = true;
    else if (strcmp(name, "worker") == 0)
        add_family(r, ((const struct cli_worker_options *)cli->options)->family.p);
    else if (strcmp(name, "pressure-worker") == 0)
        add_family(r, "pressure");
    else if (!cli || !cli->roles.n)
        r->serves = true;
    return 0;
}

struct role role_of_family(const char *family)
{
    struct role r = { 0 };

    if (family)
        add_family(&r, family);
    else
        r.all = true;
    name_kind(&r);
    r.mode = mode_of(&r);
    return r;
}

int role_read(const struct cli *cli, struct role *ret, ath_err *e)
{
    int rc;

    *ret = (struct role){ 0 };
    if ((rc = take_command(cli, ret, e)) < 0 || (cli && (rc = take_roles(cli, ret, e)) < 0))
        return rc;
    name_kind(ret);
    ret->mode = mode_of(ret);
    return 0;
}

bool role_names(const struct role *r, const char *family)
{
    for (uint32_t i = 0; i < r->families; i++)
        if (strcmp(r->family[i], family) == 0)
            return true;
    return false;
}

bool role_runs(const struct role *r, const ath_worker *w, bool apart)
{
    if (r->all || role_names(r, w->family) || w->flags & ATH_WK_LOCAL)
        return true;
    return r->serves && !apart && !(w->flags & ATH_WK_APART);
}
