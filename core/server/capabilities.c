/* A probe writes both texts anew and swaps them under a lock; a reader copies one under it. */
#include "server/capabilities.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/json.h"

static const struct router *routes;
static const char *(*env)(const char *name);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct buf capabilities, provisioning; /* under the lock */

static const char *from_environment(const char *name)
{
    return getenv(name);
}

static ath_str variable(const char *name)
{
    return str_trim(str_of(env(name)));
}

static bool is_program(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool capabilities_find(const char *name, const char *override, char *ret, size_t size)
{
    ath_str set = override ? variable(override) : (ath_str){ 0 };
    ath_str path = variable("PATH");
    ath_str dir;

    if (set.n) {
        snprintf(ret, size, "%.*s", STR_ARG(set));
        if (is_program(ret))
            return true;
    }
    while (str_next(&path, ':', &dir)) {
        snprintf(ret, size, "%.*s/%s", STR_ARG(dir), name);
        if (dir.n && is_program(ret))
            return true;
    }
    return false;
}

static void put(struct buf *b, const char *name, bool available, ath_str detail)
{
    buf_json_key(b, name);
    buf_lit(b, "{");
    buf_json_bool(b, "available", available);
    buf_json_str(b, "detail", detail);
    buf_lit(b, "}");
}

static bool put_tool(struct buf *b, const char *name, const char *override)
{
    char path[4096], detail[4200];
    bool found = capabilities_find(name, override, path, sizeof(path));

    if (found)
        snprintf(detail, sizeof(detail), "resolved at %s", path);
    else
        snprintf(detail, sizeof(detail), "%s not found (%s/PATH)", name, override);
    put(b, name, found, str_of(detail));
    return found;
}

static bool put_storage(struct buf *b)
{
    bool bucket = variable("ATHENA_BACKUP_S3_BUCKET").n > 0;
    bool paired = (variable("ATHENA_BACKUP_S3_ACCESS_KEY").n > 0) ==
                  (variable("ATHENA_BACKUP_S3_SECRET_KEY").n > 0);

    put(b, "s3_access", bucket && paired,
        !bucket   ? ATH_S("ATHENA_BACKUP_S3_BUCKET is not set")
        : !paired ? ATH_S("ATHENA_BACKUP_S3_ACCESS_KEY and ATHENA_BACKUP_S3_SECRET_KEY must be set "
                          "together")
                  : ATH_S("S3 backup environment variables are configured"));
    return bucket && paired;
}

/* Other nodes judge a mirror by exactly these routes, so the answer is what is really served. */
static void put_route(struct buf *b, const char *name, const char *method, const char *path,
                      ath_str served)
{
    bool found = false;
    char detail[128];

    for (size_t i = 0; i < router_count(routes) && !found; i++) {
        const struct route *r = router_at(routes, i);
        found = strcmp(r->def.method, method) == 0 && strcmp(r->def.path, path) == 0 &&
                route_is_listed(r);
    }
    snprintf(detail, sizeof(detail), "%s %s is not served: its plugin is not loaded", method, path);
    put(b, name, found, found ? served : str_of(detail));
}

static void put_capabilities(struct buf *b)
{
    bool dump, restore, storage;

    buf_lit(b, "{");
    dump = put_tool(b, "pg_dump", "ATHENA_PG_DUMP_PATH");
    restore = put_tool(b, "pg_restore", "ATHENA_PG_RESTORE_PATH");
    put_tool(b, "s3cmd", "ATHENA_S3CMD_PATH");
    storage = put_storage(b);
    put(b, "backup_create", dump && storage,
        dump && storage ? ATH_S("Backup creation dependencies are available")
                        : ATH_S("Requires pg_dump and S3 access"));
    put(b, "backup_restore", restore && storage,
        restore && storage ? ATH_S("Backup restore dependencies are available")
                           : ATH_S("Requires pg_restore and S3 access"));
    put_route(b, "openapi_download", "GET", "/openapi.yaml",
              ATH_S("OpenAPI route is exposed at /openapi.yaml"));
    put_route(b, "management_api", "GET", "/management/capabilities",
              ATH_S("Management routes are exposed under /management/*"));
    put_route(b, "gateway_fetch", "POST", "/gateway/fetch",
              ATH_S("Gateway fetch route is exposed at /gateway/fetch"));
    put(b, "deadpool_experimental", false, ATH_S("There is one database driver"));
    buf_lit(b, "}");
}

static void put_docker(struct buf *b, const char *status, const char *detail, const char *hint)
{
    buf_lit(b, "{\"local_docker\":{");
    buf_json_bool(b, "available", strcmp(status, "ready") == 0);
    buf_json_str(b, "status", str_of(status));
    buf_json_str(b, "detail", str_of(detail));
    buf_json_key(b, "hint");
    if (hint)
        buf_json(b, str_of(hint));
    else
        buf_lit(b, "null");
    buf_lit(b, "}}");
}

static void put_provisioning(struct buf *b)
{
    char path[4096];

    if (!capabilities_find("docker", NULL, path, sizeof(path)))
        put_docker(b, "binary_missing", "The docker program is not on PATH.", NULL);
    else if (access("/var/run/docker.sock", R_OK | W_OK) == 0)
        put_docker(b, "ready", "Docker is reachable for the current process user.", NULL);
    else if (errno == EACCES)
        put_docker(b, "permission_denied",
                   "The current process user may not use the Docker socket.",
                   "Add the process user to the group of /var/run/docker.sock.");
    else
        put_docker(b, "daemon_unavailable",
                   "Docker daemon is unavailable for the current process user. "
                   "Start Docker and retry.",
                   NULL);
}

static void swap(struct buf *shown, struct buf *fresh)
{
    struct buf old;

    pthread_mutex_lock(&lock);
    old = *shown;
    *shown = *fresh;
    pthread_mutex_unlock(&lock);
    buf_free(&old);
}

static void copy(struct buf *b, const struct buf *shown)
{
    pthread_mutex_lock(&lock);
    buf_str(b, buf_view(shown));
    pthread_mutex_unlock(&lock);
}

void capabilities_probe(void)
{
    struct buf b = BUF_HEAP;

    put_capabilities(&b);
    swap(&capabilities, &b);
    b = BUF_HEAP;
    put_provisioning(&b);
    swap(&provisioning, &b);
}

void capabilities_start(const struct router *router, const char *(*env_of)(const char *name))
{
    routes = router;
    env = env_of ? env_of : from_environment;
    capabilities_probe();
}

void capabilities_stop(void)
{
    swap(&capabilities, &BUF_HEAP);
    swap(&provisioning, &BUF_HEAP);
}

void capabilities_json(struct buf *b)
{
    copy(b, &capabilities);
}

void provisioning_json(struct buf *b)
{
    copy(b, &provisioning);
}
