/* The state folder.
 *
 *     STATE/lock           held while `athena dev` runs: two on one folder are refused
 *     STATE/admin.key      mode 0600, made once
 *     STATE/api.key        the same: what ATHENA_KEY is
 *     STATE/config.yaml    mode 0600, written at every start
 *     STATE/pg/data        the cluster; pg belongs to the user that PostgreSQL runs as
 *     STATE/pg/.s.PGSQL... its socket, in reach of that user (and root) alone: so it needs no
 * password STATE/logs, *.log    what server and PostgreSQL say
 *
 * A killed `athena dev` leaves at most processes of PostgreSQL behind. They are found by their
 * working folder, which is the cluster, and are stopped before anything else is done: only then it
 * is safe to remove its stale lock files (whose process id may be somebody else's by now).
 *
 * All of it blocks, so it runs on the pool, before the first child.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dev.h"

enum { SOCKET_PATH_MAX = 107, STEP_MS = 50, STOP_MS = 10000, KILL_MS = 5000 };

static int path_set(char ret[PATH_BYTES], const char *folder, const char *name, ath_err *e)
{
    int n = snprintf(ret, PATH_BYTES, "%s/%s", folder, name);

    if (n < 0 || n >= PATH_BYTES)
        return ath_fail(e, ATH_E_CONFIG, "path \"%s/%s\" is too long", folder, name);
    return 0;
}

/* ---- where PostgreSQL's programs are ---- */

static bool has_server(const char *folder)
{
    char path[PATH_BYTES * 2];

    snprintf(path, sizeof(path), "%s/initdb", folder);
    if (access(path, X_OK) != 0)
        return false;
    snprintf(path, sizeof(path), "%s/postgres", folder);
    return access(path, X_OK) == 0;
}

static bool newest_of_debian(char ret[PATH_BYTES])
{
    glob_t found;
    long best = 0;

    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) != 0)
        return false;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        long version = strtol(found.gl_pathv[i] + sizeof("/usr/lib/postgresql/") - 1, NULL, 10);

        if (version > best && has_server(found.gl_pathv[i])) {
            best = version;
            snprintf(ret, PATH_BYTES, "%s", found.gl_pathv[i]);
        }
    }
    globfree(&found);
    return best > 0;
}

static int find_bin(struct place *p, ath_err *e)
{
    const char *given = getenv("ATHENA_DEV_PG_BIN"), *path = getenv("PATH");
    ath_str rest = str_of(path ? path : ""), folder;

    if (given && *given) {
        snprintf(p->bin, sizeof(p->bin), "%s", given);
        return has_server(p->bin) ? 0
                                  : ath_fail(e, ATH_E_CONFIG,
                                             "folder \"%s\" of ATHENA_DEV_PG_BIN has no "
                                             "PostgreSQL server",
                                             given);
    }
    if (newest_of_debian(p->bin))
        return 0;
    while (str_next(&rest, ':', &folder)) {
        snprintf(p->bin, sizeof(p->bin), "%.*s", STR_ARG(folder));
        if (folder.n && has_server(p->bin))
            return 0;
    }
    return ath_fail(e, ATH_E_MISSING,
                    "could not find a PostgreSQL server: install the package "
                    "postgresql, or name the folder of its programs in ATHENA_DEV_PG_BIN");
}

/* ---- the folder ---- */

static int usual_state(char ret[PATH_BYTES], ath_err *e)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

    if (xdg && xdg[0] == '/')
        return path_set(ret, xdg, "athena/dev", e);
    if (geteuid() == 0)
        return path_set(ret, "/var/lib", "athena/dev", e);
    if (home && home[0] == '/')
        return path_set(ret, home, ".local/state/athena/dev", e);
    return ath_fail(e, ATH_E_CONFIG, "HOME is not set: name a folder with --state");
}

static int make_folder(const char *path, mode_t mode, ath_err *e)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return ath_fail(e, ATH_E_CONFIG, "could not make folder \"%s\": %m", path);
    return 0;
}

/* The folder and those above it. */
static int make_folders(char *path, ath_err *e)
{
    int rc = 0;

    for (char *c = path + 1; *c && rc == 0; c++)
        if (*c == '/') {
            *c = 0;
            rc = make_folder(path, 0755, e);
            *c = '/';
        }
    return rc < 0 ? rc : make_folder(path, 0711, e);
}

/* Without links and doubled slashes: as /proc shows it. When PostgreSQL runs as somebody else he
 * must get through. */
static int real_state(struct place *p, ath_err *e)
{
    char *real = realpath(p->state, NULL);
    int n = real ? snprintf(p->state, sizeof(p->state), "%s", real) : -1;

    free(real);
    if (n < 0 || n >= PATH_BYTES || (geteuid() == 0 && chmod(p->state, 0711) < 0))
        return ath_fail(e, ATH_E_CONFIG, "cannot use state folder \"%s\": %m", p->state);
    return 0;
}

static int set_state(struct place *p, ath_err *e)
{
    char cwd[PATH_BYTES];
    int rc;

    if (p->wanted[0] == '/')
        snprintf(p->state, sizeof(p->state), "%s", p->wanted);
    else if (!p->wanted[0] && (rc = usual_state(p->state, e)) < 0)
        return rc;
    else if (p->wanted[0] &&
             (!getcwd(cwd, sizeof(cwd)) || path_set(p->state, cwd, p->wanted, e) < 0))
        return ath_fail(e, ATH_E_CONFIG, "cannot use state folder \"%s\"", p->wanted);
    if ((rc = make_folders(p->state, e)) < 0 || (rc = real_state(p, e)) < 0 ||
        (rc = path_set(p->pg, p->state, "pg", e)) < 0 ||
        (rc = path_set(p->data, p->pg, "data", e)) < 0 ||
        (rc = path_set(p->data_new, p->pg, "data.new", e)) < 0 ||
        (rc = path_set(p->config, p->state, "config.yaml", e)) < 0)
        return rc;
    if (strlen(p->pg) + sizeof("/.s.PGSQL.5432") > SOCKET_PATH_MAX)
        return ath_fail(e, ATH_E_CONFIG, "path of state folder \"%s\" is too long for a socket",
                        p->state);
    return 0;
}

static int take_lock(struct place *p, ath_err *e)
{
    char path[PATH_BYTES], pid[16] = { 0 };
    int rc = path_set(path, p->state, "lock", e);

    if (rc < 0)
        return rc;
    p->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->lock < 0)
        return ath_fail(e, ATH_E_CONFIG, "could not open file \"%s\": %m", path);
    if (flock(p->lock, LOCK_EX | LOCK_NB) < 0) {
        if (read(p->lock, pid, sizeof(pid) - 1) <= 0)
            pid[0] = 0;
        close(p->lock);
        return ath_fail(e, ATH_E_CONFLICT,
                        "state folder \"%s\" is in use by athena dev, process %s; "
                        "--state names another one",
                        p->state, pid[0] ? pid : "unknown");
    }
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    if (ftruncate(p->lock, 0) < 0 || pwrite(p->lock, pid, strlen(pid), 0) < 0)
        return ath_fail(e, ATH_E_CONFIG, "could not write file \"%s\": %m", path);
    return 0;
}

/* ---- what a killed one left ---- */

/* Calls fn for each process whose working folder is the cluster; returns how many there are. */
static unsigned each_orphan(const struct place *p, void (*fn)(pid_t pid, int sig), int sig)
{
    DIR *d = opendir("/proc");
    struct dirent *entry;
    unsigned n = 0;

    while (d && (entry = readdir(d))) {
        char link[64], cwd[PATH_MAX];
        long pid = strtol(entry->d_name, NULL, 10);
        ssize_t len;

        if (pid <= 1)
            continue;
        snprintf(link, sizeof(link), "/proc/%ld/cwd", pid);
        len = readlink(link, cwd, sizeof(cwd) - 1);
        if (len <= 0 || (size_t)len != strlen(p->data) || memcmp(cwd, p->data, (size_t)len) != 0)
            continue;
        n++;
        if (fn)
            fn((pid_t)pid, sig);
    }
    if (d)
        closedir(d);
    return n;
}

static void send_signal(pid_t pid, int sig)
{
    kill(pid, sig);
}

static bool orphans_end(const struct place *p, unsigned ms)
{
    struct timespec step = { .tv_nsec = STEP_MS * 1000000L };

    for (unsigned waited = 0; waited < ms; waited += STEP_MS) {
        if (each_orphan(p, NULL, 0) == 0)
            return true;
        nanosleep(&step, NULL);
    }
    return each_orphan(p, NULL, 0) == 0;
}

static pid_t postmaster_pid(const struct place *p, bool *ret_ready)
{
    char path[PATH_BYTES * 2], line[PATH_BYTES];
    long pid = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/postmaster.pid", p->data);
    *ret_ready = false;
    if (!(f = fopen(path, "re")))
        return 0;
    for (int i = 0; fgets(line, sizeof(line), f); i++) {
        if (i == 0)
            pid = strtol(line, NULL, 10);
        else if (i == 7) /* its status is the eighth line */
            *ret_ready = str_starts(str_of(line), "ready");
    }
    fclose(f);
    return pid > 1 ? (pid_t)pid : 0;
}

bool place_database_ready(const struct place *p)
{
    bool ready;

    return postmaster_pid(p, &ready) && ready;
}

void place_database_stop(const struct place *p)
{
    bool ready;
    pid_t pid = postmaster_pid(p, &ready);

    if (pid)
        kill(pid, SIGINT);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static int remove_all(const char *path, ath_err *e)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT)
        return ath_fail(e, ATH_E_CONFIG, "could not remove \"%s\": %m", path);
    return 0;
}

static int heal(const struct place *p, ath_err *e)
{
    static const char *const stale[] = { "data/postmaster.pid", ".s.PGSQL.5432.lock",
                                         ".s.PGSQL.5432" };
    char path[PATH_BYTES * 2];

    if (each_orphan(p, NULL, 0) > 0) {
        place_database_stop(p); /* backends without a postmaster notice that by themselves */
        if (!orphans_end(p, STOP_MS)) {
            each_orphan(p, send_signal, SIGKILL);
            if (!orphans_end(p, KILL_MS))
                return ath_fail(e, ATH_E_CONFLICT,
                                "could not stop the PostgreSQL that a killed athena dev "
                                "left in \"%s\"",
                                p->data);
        }
    }
    for (size_t i = 0; i < ATH_COUNT(stale); i++) {
        snprintf(path, sizeof(path), "%s/%s", p->pg, stale[i]);
        if (unlink(path) < 0 && errno != ENOENT)
            return ath_fail(e, ATH_E_CONFIG, "could not remove file \"%s\": %m", path);
    }
    return remove_all(p->data_new, e);
}

int place_keep_cluster(const struct place *p, ath_err *e)
{
    if (rename(p->data_new, p->data) < 0)
        return ath_fail(e, ATH_E_CONFIG, "could not rename folder \"%s\": %m", p->data_new);
    return 0;
}

/* All that this plugin makes, and nothing else that may be there. */
static int begin_anew(const struct place *p, ath_err *e)
{
    static const char *const made[] = { "pg",      "logs",         "config.yaml", "admin.key",
                                        "api.key", "postgres.log", "server.log" };
    char path[PATH_BYTES];

    for (size_t i = 0; i < ATH_COUNT(made); i++) {
        int rc = path_set(path, p->state, made[i], e);

        if (rc < 0 || (rc = remove_all(path, e)) < 0)
            return rc;
    }
    return 0;
}

/* ---- users, keys, files ---- */

/* PostgreSQL refuses root. */
static int choose_user(struct place *p, ath_err *e)
{
    static const char *const names[] = { "postgres", "nobody" };
    const struct passwd *pw = NULL;

    if (geteuid() != 0)
        return 0;
    for (size_t i = 0; i < ATH_COUNT(names) && !pw; i++)
        pw = getpwnam(names[i]); /* nothing else of this process looks up users meanwhile */
    if (!pw)
        return ath_fail(e, ATH_E_MISSING, "there is no user \"postgres\" to run PostgreSQL as");
    snprintf(p->user, sizeof(p->user), "%s", pw->pw_name);
    if (chown(p->pg, pw->pw_uid, pw->pw_gid) < 0)
        return ath_fail(e, ATH_E_CONFIG, "could not give folder \"%s\" to user \"%s\": %m", p->pg,
                        p->user);
    return 0;
}

/* Each folder above must let that user through. */
static int check_way(const struct place *p, ath_err *e)
{
    char path[PATH_BYTES];
    struct stat st;

    snprintf(path, sizeof(path), "%s", p->pg);
    for (char *c = path + 1; p->user[0] && *c; c++) {
        if (*c != '/')
            continue;
        *c = 0;
        if (stat(path, &st) == 0 && !(st.st_mode & S_IXOTH))
            return ath_fail(e, ATH_E_CONFIG,
                            "user \"%s\" cannot reach the state folder through \"%s\": "
                            "choose another one with --state",
                            p->user, path);
        *c = '/';
    }
    return 0;
}

static int write_private(const char *path, ath_str text, ath_err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && fchmod(fd, 0600) == 0 && write(fd, text.p, text.n) == (ssize_t)text.n;

    if (!ok)
        (void)ath_fail(e, ATH_E_CONFIG, "could not write file \"%s\": %m", path);
    if (fd >= 0)
        close(fd);
    return ok ? 0 : ATH_E_CONFIG;
}

static bool read_key(const char *path, char *ret, size_t size)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(ret, (int)size, f);

    if (f)
        fclose(f);
    if (ok)
        ret[strcspn(ret, "\r\n")] = 0;
    return ok;
}

/* Appends 2 * n random digits. */
static int put_digits(struct buf *b, size_t n, ath_err *e)
{
    unsigned char bytes[32];

    if (getrandom(bytes, n, 0) != (ssize_t)n)
        return ath_fail(e, ATH_E_CONFIG, "could not get random bytes: %m");
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%02x", bytes[i]);
    return 0;
}

static int keep_key(const char *path, struct buf *made, char *ret, size_t size, int rc, ath_err *e)
{
    snprintf(ret, size, "%s", buf_view(made).p);
    buf_free(made);
    return rc < 0 ? rc : write_private(path, str_of(ret), e);
}

static int load_key(struct place *p, ath_err *e)
{
    struct buf made = BUF_HEAP;
    char path[PATH_BYTES];
    int rc = path_set(path, p->state, "admin.key", e);

    if (rc < 0 || (read_key(path, p->key, sizeof(p->key)) && strlen(p->key) >= 16))
        return rc;
    buf_lit(&made, "dev_");
    rc = put_digits(&made, 20, e);
    return keep_key(path, &made, p->key, sizeof(p->key), rc, e);
}

/* As it was made here: nothing else goes into a statement. */
static bool is_api_key(const char *key)
{
    size_t digits = strspn(key + 4, "0123456789abcdef");

    return digits == 16 && key[20] == '.' && strspn(key + 21, "0123456789abcdef") == 64 && !key[85];
}

static int load_api_key(struct place *p, ath_err *e)
{
    struct buf made = BUF_HEAP;
    char path[PATH_BYTES];
    int rc = path_set(path, p->state, "api.key", e);

    if (rc < 0 || (read_key(path, p->api_key, sizeof(p->api_key)) &&
                   str_starts(str_of(p->api_key), "ath_") && is_api_key(p->api_key)))
        return rc;
    buf_lit(&made, "ath_");
    rc = put_digits(&made, 8, e);
    buf_char(&made, '.');
    if (rc == 0)
        rc = put_digits(&made, 32, e);
    return keep_key(path, &made, p->api_key, sizeof(p->api_key), rc, e);
}

static void put_uri(const struct place *p, const char *database, char ret[URI_BYTES])
{
    struct buf b = BUF_HEAP;

    buf_printf(&b, "postgres://postgres@/%s?host=", database);
    for (const char *c = p->pg; *c; c++) {
        bool plain = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                     (*c >= 'A' && *c <= 'Z') || strchr("/-_.~", *c);

        buf_printf(&b, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    snprintf(ret, URI_BYTES, "%s", buf_view(&b).p);
    buf_free(&b);
}

static void put_quoted(struct buf *b, const char *text) /* a scalar of YAML */
{
    buf_char(b, '\'');
    for (; *text; text++)
        buf_mem(b, *text == '\'' ? "''" : text, *text == '\'' ? 2 : 1);
    buf_char(b, '\'');
}

int place_configure(const struct place *p, int64_t port, ath_err *e)
{
    struct buf b = BUF_HEAP;
    int rc;

    buf_lit(&b, "# Written by athena dev at every start.\n"
                "server:\n  host: 127.0.0.1\n  drain_timeout: 5s\n  state_dir: ");
    put_quoted(&b, p->state);
    buf_lit(&b, "\n  runtime_dir: ");
    put_quoted(&b, p->state);
    buf_printf(&b, "\napi:\n- port: %lld\n", (long long)port);
    buf_lit(&b, "gateway:\n- enforce_api_keys: true\n- logging_client: athena_logging\n"
                "postgres_clients:\n- athena_logging: ");
    put_quoted(&b, p->control_uri);
    buf_lit(&b, "\n- demo: ");
    put_quoted(&b, p->demo_uri);
    buf_lit(&b, "\nsink-stdout:\n  format: text\nsink-file:\n  dir: ");
    buf_printf(&b, "'%s/logs'\n", p->state);
    rc = write_private(p->config, buf_view(&b), e);
    buf_free(&b);
    return rc;
}

int place_prepare(struct place *p, ath_err *e)
{
    char version[PATH_BYTES];
    int rc;

    if ((rc = find_bin(p, e)) < 0 || (rc = set_state(p, e)) < 0 || (rc = take_lock(p, e)) < 0 ||
        (rc = heal(p, e)) < 0 || (p->fresh && (rc = begin_anew(p, e)) < 0) ||
        (rc = make_folder(p->pg, 0700, e)) < 0 || (rc = choose_user(p, e)) < 0 ||
        (rc = check_way(p, e)) < 0 || (rc = load_key(p, e)) < 0 || (rc = load_api_key(p, e)) < 0 ||
        (rc = path_set(version, p->data, "PG_VERSION", e)) < 0)
        return rc;
    put_uri(p, "athena_logging", p->control_uri);
    put_uri(p, "demo", p->demo_uri);
    p->initialised = access(version, F_OK) == 0;
    return 0;
}
