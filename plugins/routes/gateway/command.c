/* athena fetch: a body for POST /gateway/fetch, from the command line or a file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway.h"
#include "lib/file.h"
#include "lib/jsonread.h"

enum { FILE_MOST = 16 << 20, ANSWER_MOST = 256 << 20, CLIENTS_MOST = 100000 };

struct options {
    ath_str clients_path, client, key, body_json, body_file;
};

struct fetching {
    ath_pair header[3];
    struct buf body;
};

static int slurp(ath_task *t, const char *path, struct buf *b, ath_err *e)
{
    *b = BUF_ARENA(ath_arena_of(t));
    errno = -file_read(path, FILE_MOST, b);
    return errno ? ath_fail(e, ATH_E_INPUT, "could not read file \"%s\": %m", path) : 0;
}

/* The local file's default; empty when there is no such file. */
static int default_client(ath_task *t, ath_str path, ath_str *ret, ath_err *e)
{
    struct json_error why;
    const struct json *v;
    struct buf b;
    int rc;

    *ret = (ath_str){ "", 0 };
    if (access(path.p, F_OK) < 0)
        return 0;
    if ((rc = slurp(t, path.p, &b, e)) < 0)
        return rc;
    v = json_read(buf_view(&b), JSON_ARENA(ath_arena_of(t)), CLIENTS_MOST, &why);
    *ret = json_text(json_get(v, "default"));
    return 0;
}

static int client_of(ath_task *t, const struct options *o, ath_str *ret, ath_err *e)
{
    int rc = 0;

    *ret = o->client.n ? o->client : str_trim(str_of(getenv("ATHENA_CLIENT")));
    if (ret->n == 0)
        rc = default_client(t, o->clients_path, ret, e);
    if (rc == 0 && ret->n == 0)
        return ath_fail(e, ATH_E_INPUT,
                        "no client: pass --client, set ATHENA_CLIENT or a default in \"%s\"",
                        o->clients_path.p);
    return rc;
}

static int body_of(ath_task *t, const struct options *o, struct buf *ret, ath_err *e)
{
    if ((o->body_json.n > 0) == (o->body_file.n > 0))
        return ath_fail(e, ATH_E_INPUT, "the body is one of --body-json and --body-file");
    if (o->body_file.n)
        return slurp(t, o->body_file.p, ret, e);
    *ret = BUF_ARENA(ath_arena_of(t));
    buf_str(ret, o->body_json);
    return 0;
}

static int fetched(ath_task *t, const ath_done *d, ath_err *e)
{
    ath_done result = { .size = sizeof(result), .bytes = d->bytes };

    if (d->rc < 0)
        return d->rc;
    if (d->status < 200 || d->status > 299)
        return ath_fail(e, ATH_E_UPSTREAM, "fetch failed (%d): %.*s", d->status, STR_ARG(d->bytes));
    ath_host_->task->done(t, &result);
    return 0;
}

static int fetch_run(ath_task *t, const void *options, ath_err *e)
{
    const struct options *o = options;
    struct fetching *x = ath_new(ath_arena_of(t), sizeof(*x));
    ath_str key = o->key.n ? o->key : str_trim(str_of(getenv("ATHENA_API_KEY"))), client;
    ath_fetch f = { .size = sizeof(f),
                    .method = "POST",
                    .url = ATH_S("/gateway/fetch"),
                    .max_body = ANSWER_MOST,
                    .header = x->header,
                    .header_count = 2 };
    int rc = client_of(t, o, &client, e);

    if (rc < 0 || (rc = body_of(t, o, &x->body, e)) < 0)
        return rc;
    x->header[0] = (ath_pair){ ATH_S("content-type"), ATH_S("application/json") };
    x->header[1] = (ath_pair){ ATH_S("x-athena-client"), client };
    x->header[2] = (ath_pair){ ATH_S("x-athena-key"), key };
    f.header_count += key.n > 0;
    f.body = buf_view(&x->body);
    return ath_host_->req->call(t, &f, fetched, x, e);
}

static const ath_field fields[] = {
    ATH_STR(struct options, clients_path, "clients_path", "config/clients.json", NULL,
            "The local file whose default client it is for when --client is not given."),
    ATH_STR(struct options, client, "client", "", NULL, "Whose rows; else ATHENA_CLIENT."),
    ATH_STR(struct options, key, "key", "", NULL,
            "The API key; else ATHENA_API_KEY, else the administrator's.", .flags = ATH_CF_SECRET),
    ATH_STR(struct options, body_json, "body_json", "", NULL, "The body."),
    ATH_STR(struct options, body_file, "body_file", "", NULL, "The file that holds it, instead."),
};

const ath_command gateway_fetch_command = {
    ATH_CAP(ath_command, ATH_CAP_COMMAND, "fetch"),
    .summary = "Fetch rows from a running server",
    ATH_ARRAY(field, fields),
    .options_size = sizeof(struct options),
    .run = fetch_run,
};
