/* Spools lie below server.state_dir, a folder for each sink. Processes may share a state_dir; so
 * that none sends events of another one to databases of its own, a spool is marked with the
 * databases that its events are for. */
#include "server/spill.h"

#include <errno.h>
#include <sys/stat.h>

static uint64_t mixed(uint64_t h, ath_str text)
{
    return h * 0x9e3779b97f4a7c15u + ((uint64_t)str_hash(text) << 20 ^ text.n);
}

/* Behind "user:password@", which may hold an @ of its own. */
static ath_str behind_user(ath_str authority)
{
    for (size_t i = authority.n; i-- > 0;)
        if (authority.p[i] == '@')
            return str_after(authority, i + 1);
    return authority;
}

uint64_t spill_target(ath_str uri)
{
    static const char *const tell[] = { "host", "hostaddr", "port", "dbname" };
    const char *scheme = memmem(uri.p, uri.n, "://", 3);
    ath_str rest = scheme ? str_after(uri, (size_t)(scheme - uri.p) + 3) : uri, pair;
    size_t query = str_find(rest, '?'), path = str_find(str_from(rest.p, query), '/');
    uint64_t h = mixed(1, behind_user(str_from(rest.p, path)));

    h = mixed(h, str_from(rest.p + path, query - path));
    rest = query < rest.n ? str_after(rest, query + 1) : (ath_str){ NULL, 0 };
    while (str_next(&rest, '&', &pair))
        for (size_t i = 0; i < ATH_COUNT(tell); i++)
            if (str_eq(str_from(pair.p, str_find(pair, '=')), str_of(tell[i])))
                h = mixed(h, pair);
    return h;
}

/* A client that is not in the configuration is in the catalogue, under its name. */
static uint64_t target_of(const struct setup *s, ath_str client)
{
    for (size_t i = 0; i < s->clients.n; i++) {
        const struct config_client *c = &s->clients.client[i];
        if (str_ieq(c->name, str_trim(client)) && c->uri.n)
            return spill_target(c->uri);
    }
    return mixed(2, client);
}

static bool folder_make(const struct setup *s, const char *sink, char folder[SPILL_FOLDER])
{
    ath_str state = s->core.server.state_dir;
    struct stat st;
    int n;

    if (state.n == 0 || stat(state.p, &st) < 0 || !S_ISDIR(st.st_mode))
        return false;
    n = snprintf(folder, SPILL_FOLDER, "%.*s/spool", STR_ARG(state));
    if (n >= SPILL_FOLDER || (mkdir(folder, 0700) < 0 && errno != EEXIST))
        return false;
    return snprintf(folder, SPILL_FOLDER, "%.*s/spool/%s", STR_ARG(state), sink) < SPILL_FOLDER;
}

void spill_place(const struct setup *s, const char *sink, char folder[SPILL_FOLDER],
                 struct log_queue_options *ret)
{
    const struct gateway_config *g = &s->core.gateway;

    if (!ret->spill_bytes)
        return;
    if (!folder_make(s, sink, folder)) {
        log_write(
            ATH_INFO, "athena::log",
            "sink \"%s\" has no spool: there is no folder \"%.*s\" (server.state_dir) that it "
            "could lie in",
            sink, STR_ARG(s->core.server.state_dir));
        return;
    }
    ret->spill_folder = folder;
    ret->spill_target = mixed(target_of(s, g->logging_client), ATH_S("auth")) +
                        target_of(s, g->auth_client.n ? g->auth_client : g->logging_client);
}
