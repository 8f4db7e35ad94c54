/* A command's calls of routes, which go to a running server. */
#include "base/err.h"
#include "http/client_priv.h"
#include "lib/text.h"

static struct {
    const char *url, *key;
} remote;

void client_remote(const char *url, const char *key)
{
    remote.url = url && url[0] ? url : NULL;
    remote.key = key && key[0] ? key : NULL;
}

bool client_has_remote(void)
{
    return remote.url != NULL;
}

static bool names_key(const ath_fetch *f)
{
    for (uint32_t i = 0; i < f->header_count; i++)
        if (str_ieq(f->header[i].name, ATH_S("x-athena-key")))
            return true;
    return false;
}

int client_call(ath_task *t, const ath_fetch *f, ath_then *then, void *arg, ath_err *e)
{
    ath_str base = str_of(remote.url);
    ath_fetch g = *f;
    ath_pair *pair;

    if (f->as.n)
        return err_raise(e, "feature_unavailable",
                         "a call with the rights of another key is not possible here");
    if (f->url.n == 0 || f->url.p[0] != '/')
        return err_fail(e, ATH_E_BUG, "\"%.*s\" is no path to call", STR_ARG(f->url));
    while (base.n && base.p[base.n - 1] == '/')
        base.n--;
    g.flags = (f->flags & ATH_HTTP_STREAM) | CLIENT_KEEP;
    g.url = arena_printf(&t->arena, "%.*s%.*s", STR_ARG(base), STR_ARG(f->url));
    pair = arena_raw(&t->arena, (f->header_count + 1) * sizeof(*pair));
    g.header = pair;
    g.header_count = 0;
    for (uint32_t i = 0; i < f->header_count; i++)
        if (!client_owns(
                f->header[i].name)) /* as inside the server, where nothing carries the bytes */
            pair[g.header_count++] = f->header[i];
    if (remote.key && !names_key(f))
        pair[g.header_count++] = (ath_pair){ ATH_S("x-athena-key"), str_of(remote.key) };
    return client_fetch(t, &g, then, arg, e);
}
