/* Whose requests they are. What never changes is found at the start: keys of ours, keys of the
 * environment. Else, in the order of Amazon's own tools:
 *
 *     a section of ~/.aws/credentials             looked at again every few minutes
 *     a container's address for keys              one request
 *     the role of the machine (IMDSv2)            three: a token, the role's name, its keys
 *
 * Keys that are lent end: each loop keeps its own and asks for new ones some minutes before that.
 * As long as the old ones still hold, a machine that does not answer harms nobody.
 */
#include <stdlib.h>
#include <time.h>

#include "driver.h"
#include "lib/file.h"
#include "lib/jsonread.h"

enum {
    EARLY_S = 300, /* so long before their end new ones are asked for */
    AGAIN_S = 60,  /* so long old ones are used when that failed */
    FILE_S = 300,  /* how long what the file says is believed */
    FILE_MOST = 1 << 20,
    ASK_MS = 2000,
    ANSWER_MOST = 64 * 1024
};

struct keys_local {
    struct buf text; /* access, secret, token, each ended by a NUL */
    struct keys keys;
    int64_t ask_at, end_at; /* seconds since 1970; 0: there are none; end_at INT64_MAX: never */
};

int keys_loop_init(ath_loop *l, void *state, void **local, ath_err *e)
{
    (void)l, (void)state, (void)e;
    *local = calloc(1, sizeof(struct keys_local));
    return *local ? 0 : ath_fail(e, ATH_E_MEMORY, "no memory for keys");
}

static void wipe(struct keys_local *k)
{
    if (k->text.p)
        explicit_bzero(k->text.p, k->text.n);
    buf_free(&k->text);
    k->keys = (struct keys){ .access = ATH_S("") };
    k->ask_at = k->end_at = 0;
}

void keys_loop_fini(ath_loop *l, void *state, void *local)
{
    (void)l, (void)state;
    wipe(local);
    free(local);
}

/* ---- keeping ---- */

static bool keep(struct keys_local *k, ath_str access, ath_str secret, ath_str token)
{
    struct buf b = BUF_HEAP;

    if (access.n == 0 || secret.n == 0)
        return false;
    buf_str(&b, access);
    buf_char(&b, 0);
    buf_str(&b, secret);
    buf_char(&b, 0);
    buf_str(&b, token);
    wipe(k);
    k->text = b;
    k->keys.access = str_from(b.p, access.n);
    k->keys.secret = str_from(b.p + access.n + 1, secret.n);
    k->keys.token = str_from(b.p + access.n + secret.n + 2, token.n);
    return true;
}

/* ---- a file ---- */

/* "name = value" of section `profile`. */
static ath_str file_value(ath_str file, ath_str profile, const char *name)
{
    ath_str line;
    bool within = false;

    while (str_next(&file, '\n', &line)) {
        size_t equals = str_find(line, '=');
        ath_str word = str_trim(line);
        if (word.n > 1 && word.p[0] == '[' && word.p[word.n - 1] == ']')
            within = str_eq(str_trim(str_from(word.p + 1, word.n - 2)), profile);
        else if (within && equals < line.n && str_is(str_trim(str_from(line.p, equals)), name))
            return str_trim(str_after(line, equals + 1));
    }
    return ATH_S("");
}

static ath_str file_path(struct buf *b)
{
    const char *home = getenv("HOME");

    if (s3.cfg->aws_file.n)
        buf_str(b, s3.cfg->aws_file);
    else if (home && home[0])
        buf_printf(b, "%s/.aws/credentials", home);
    return buf_view(b);
}

static bool from_file(struct keys_local *k)
{
    struct buf path = BUF_HEAP, file = BUF_HEAP;
    ath_str text, profile = str_trim(s3.cfg->aws_profile);
    bool found = false;

    if (file_path(&path).n && file_read(path.p, FILE_MOST, &file) == 0) {
        text = buf_view(&file);
        found = keep(k, file_value(text, profile, "aws_access_key_id"),
                     file_value(text, profile, "aws_secret_access_key"),
                     file_value(text, profile, "aws_session_token"));
    }
    if (found) {
        k->ask_at = (int64_t)time(NULL) + FILE_S;
        k->end_at = INT64_MAX;
    }
    if (file.p)
        explicit_bzero(file.p, file.n);
    buf_free(&file);
    buf_free(&path);
    return found;
}

/* ---- what is at hand ---- */

static struct keys_local *local_of(ath_task *t)
{
    return ath_local_of(t);
}

bool keys_ready(ath_task *t, struct keys *ret)
{
    struct keys_local *k = local_of(t);

    *ret = (struct keys){ s3.access, s3.secret, s3.token };
    if (ret->access.n)
        return true;
    if (k->ask_at <= (int64_t)time(NULL) && !from_file(k))
        return false;
    *ret = k->keys;
    return true;
}

void keys_forget(ath_task *t)
{
    local_of(t)->ask_at = 0;
}

/* ---- asking for them ---- */

enum step { CONTAINER, TOKEN, ROLE, KEYS };

struct ask {
    enum step step;
    ath_then *then;
    void *arg;
    struct buf url, token;
};

static int ask_next(ath_task *t, struct ask *a, ath_err *e);

/* "2026-05-20T03:31:09Z" in seconds since 1970; 0: it is none. */
static int64_t seconds_of(ath_str text)
{
    struct tm tm = { 0 };

    if (text.n < 19 || !strptime(text.p, "%Y-%m-%dT%H:%M:%S", &tm))
        return 0;
    return (int64_t)timegm(&tm);
}

static int no_keys(ath_err *e, const char *why)
{
    return ath_fail(e, ATH_E_DENIED, "there are no keys for the object store: %s", why);
}

/* {"AccessKeyId":..,"SecretAccessKey":..,"Token":..,"Expiration":..} */
static int take(ath_task *t, ath_str answer, ath_err *e)
{
    struct keys_local *k = local_of(t);
    struct json_error why;
    const struct json *doc = json_read(answer, JSON_ARENA(ath_arena_of(t)), 100, &why);
    int64_t end = seconds_of(json_text(json_get(doc, "Expiration"))), now = (int64_t)time(NULL);

    if (!doc ||
        !keep(k, json_text(json_get(doc, "AccessKeyId")),
              json_text(json_get(doc, "SecretAccessKey")), json_text(json_get(doc, "Token"))))
        return no_keys(e, "what the machine answers for its role holds none");
    k->end_at = end ? end : now + FILE_S + EARLY_S;
    if (k->end_at <= now)
        return no_keys(e, "those of the machine's role have ended");
    k->ask_at =
        k->end_at - now > 2 * EARLY_S ? k->end_at - EARLY_S : now + (k->end_at - now + 1) / 2;
    return 0;
}

static int finish(ath_task *t, struct ask *a, int rc, ath_err *e)
{
    struct keys_local *k = local_of(t);
    int64_t now = (int64_t)time(NULL);
    ath_done d = { .size = sizeof(d), .rc = rc, .arg = a->arg };

    if (rc < 0 && rc != ATH_E_CANCELED && k->keys.access.n && k->end_at > now) {
        k->ask_at = now + AGAIN_S < k->end_at ? now + AGAIN_S : k->end_at;
        d.rc = 0;
    }
    return a->then(t, &d, e);
}

static int take_role(struct ask *a, ath_str answer)
{
    ath_str role;

    if (!str_next(&answer, '\n', &role) || str_trim(role).n == 0)
        return -1;
    buf_reset(&a->url);
    sign_encode(&a->url, str_trim(role), true);
    return 0;
}

static int answered(ath_task *t, const ath_done *d, ath_err *e)
{
    struct ask *a = d->arg;
    int rc;

    if (d->rc == ATH_E_CANCELED)
        return finish(t, a, d->rc, e);
    if (d->rc < 0)
        return finish(t, a, no_keys(e, "none are configured, and this machine lends none"), e);
    if (d->status != 200)
        return finish(t, a, no_keys(e, "the machine refuses to lend those of its role"), e);
    if (a->step == CONTAINER || a->step == KEYS) {
        rc = take(t, d->bytes, e);
        return finish(t, a, rc, e);
    }
    if (a->step == TOKEN)
        buf_str(&a->token, str_trim(d->bytes));
    else if (take_role(a, d->bytes) < 0)
        return finish(t, a, no_keys(e, "the machine has no role"), e);
    a->step++;
    rc = ask_next(t, a, e);
    return rc < 0 ? finish(t, a, rc, e) : 0;
}

static void container_token(struct ask *a)
{
    const struct s3_config *cfg = s3.cfg;

    if (cfg->container_token.n)
        buf_str(&a->token, cfg->container_token);
    else if (cfg->container_token_file.n)
        file_read(cfg->container_token_file.p, ANSWER_MOST, &a->token);
}

static void set_url(struct ask *a)
{
    struct buf role = a->url;
    const struct s3_config *cfg = s3.cfg;

    a->url.p = NULL;
    a->url.n = a->url.cap = 0;
    if (a->step == CONTAINER && cfg->container_path.n) {
        buf_lit(&a->url, "http://169.254.170.2");
        buf_str(&a->url, cfg->container_path);
    } else if (a->step == CONTAINER) {
        buf_str(&a->url, cfg->container_uri);
    } else {
        buf_str(&a->url, cfg->metadata);
        buf_z(&a->url, a->step == TOKEN ? "/latest/api/token"
                                        : "/latest/meta-data/iam/security-credentials/");
        if (a->step == KEYS)
            buf_str(&a->url, buf_view(&role));
    }
}

static int ask_next(ath_task *t, struct ask *a, ath_err *e)
{
    ath_pair header = { ATH_S("x-aws-ec2-metadata-token"), str_trim(buf_view(&a->token)) };
    ath_fetch f = { .size = sizeof(f),
                    .method = a->step == TOKEN ? "PUT" : "GET",
                    .max_body = ANSWER_MOST,
                    .timeout_ms = ASK_MS,
                    .header = &header,
                    .header_count = 1 };

    if (a->step == TOKEN)
        header = (ath_pair){ ATH_S("x-aws-ec2-metadata-token-ttl-seconds"), ATH_S("21600") };
    else if (a->step == CONTAINER)
        header.name = ATH_S("authorization");
    if (header.value.n == 0)
        f.header_count = 0;
    set_url(a);
    f.url = buf_view(&a->url);
    return ath_host_->fetch(t, &f, answered, a, e);
}

int keys_ask(ath_task *t, ath_then *then, void *arg, ath_err *e)
{
    const struct s3_config *cfg = s3.cfg;
    struct ask *a = ath_new(ath_arena_of(t), sizeof(*a));

    *a = (struct ask){ .then = then, .arg = arg };
    a->url = a->token = BUF_ARENA(ath_arena_of(t));
    if (cfg->container_uri.n || cfg->container_path.n) {
        a->step = CONTAINER;
        container_token(a);
    } else if (cfg->metadata_off || cfg->metadata.n == 0) {
        return no_keys(e, "none are configured");
    } else {
        a->step = TOKEN;
    }
    return ask_next(t, a, e);
}
