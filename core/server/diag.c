/* One document, member by member. Programs are asked for their version with a short limit, one
 * after the other: nobody waits for this but an operator.
 */
#include "server/diag.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"
#include "lib/json.h"

enum {
    TOOL_MS = 2000,
    OUTPUT_MOST = 4096,
    SAMPLE_MS = 250,
    OLDEST = 14,
    NEWEST = 18,
    PORTS_MOST = 1024
};

extern char **environ;

/* ---- programs ---- */

static void take_output(int fd, struct buf *b)
{
    uint64_t until = clock_ms() + TOOL_MS;
    char piece[512];

    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        uint64_t now = clock_ms();
        ssize_t n;
        if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
            return;
        n = read(fd, piece, sizeof(piece));
        if (n <= 0 && !(n < 0 && errno == EINTR))
            return;
        if (n > 0 && b->n < OUTPUT_MOST)
            buf_mem(b, piece, (size_t)n);
    }
}

/* What a program prints, without a shell; false: it is not there or says nothing. */
static bool output_of(const char *const argv[], struct buf *b)
{
    posix_spawn_file_actions_t files;
    int pipe_fd[2], status = 0;
    pid_t pid;
    bool began;

    if (pipe2(pipe_fd, O_CLOEXEC) < 0)
        return false;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, pipe_fd[1], 1);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    began = posix_spawnp(&pid, argv[0], &files, NULL, (char *const *)(uintptr_t)argv, environ) == 0;
    posix_spawn_file_actions_destroy(&files);
    close(pipe_fd[1]);
    if (began) {
        take_output(pipe_fd[0], b);
        kill(pid, SIGKILL); /* of one that has ended: nothing */
        waitpid(pid, &status, 0);
    }
    close(pipe_fd[0]);
    return began && b->n;
}

static ath_str first_line(const struct buf *b)
{
    ath_str text = str_trim(buf_view(b));

    return str_from(text.p, str_find(text, '\n'));
}

static void put_or_null(struct buf *b, const char *key, ath_str text)
{
    buf_json_key(b, key);
    if (text.n)
        buf_json(b, text);
    else
        buf_lit(b, "null");
}

static void put_version(struct buf *b, const char *key, const char *program)
{
    const char *const argv[] = { program, "--version", NULL };
    struct buf said = BUF_HEAP;

    output_of(argv, &said);
    put_or_null(b, key, first_line(&said));
    buf_free(&said);
}

static bool on_path(const char *name, char *ret, size_t size)
{
    ath_str path = str_of(getenv("PATH")), dir;

    while (str_next(&path, ':', &dir)) {
        snprintf(ret, size, "%.*s/%s", STR_ARG(dir), name);
        if (dir.n && access(ret, X_OK) == 0)
            return true;
    }
    return false;
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* ---- meta, resources ---- */

static void put_meta(struct buf *b)
{
    const char *locale = getenv("LC_ALL");
    struct utsname u = { 0 };

    if (!locale || !locale[0])
        locale = getenv("LANG");
    uname(&u);
    buf_lit(b, "\"meta\":{");
    buf_json_str(b, "athena_version", str_of(athena_version));
    buf_json_str(b, "os", ATH_S("linux"));
    buf_json_str(b, "arch", str_of(u.machine));
    buf_json_str(b, "family", ATH_S("unix"));
    buf_json_str(b, "hostname", str_of(u.nodename));
    put_or_null(b, "locale", str_of(locale));
    buf_json_int(b, "cpu_logical_count", sysconf(_SC_NPROCESSORS_ONLN));
    buf_char(b, '}');
}

/* A file below /proc, whole. */
static bool slurp(const char *path, struct buf *b)
{
    FILE *f = fopen(path, "re");
    char piece[4096];
    size_t n;

    if (!f)
        return false;
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0 && b->n < (1 << 20))
        buf_mem(b, piece, n);
    fclose(f);
    return true;
}

static int64_t meminfo(const struct buf *b, const char *name)
{
    ath_str rest = buf_view(b), line;
    char *end;

    while (str_next(&rest, '\n', &line))
        if (str_starts(line, name))
            return (int64_t)strtoll(line.p + strlen(name), &end, 10) * 1024;
    return 0;
}

static void put_memory(struct buf *b)
{
    struct buf text = BUF_HEAP;
    int64_t total, available;

    buf_lit(b, "\"memory\":{");
    if (slurp("/proc/meminfo", &text)) {
        total = meminfo(&text, "MemTotal:");
        available = meminfo(&text, "MemAvailable:");
        buf_json_int(b, "total_bytes", total);
        buf_json_int(b, "available_bytes", available);
        buf_json_int(b, "used_bytes", total - available);
    } else {
        buf_json_str(b, "error", ATH_S("/proc/meminfo cannot be read"));
    }
    buf_char(b, '}');
    buf_free(&text);
}

/* Jiffies since the start: all of them, and those without work. */
static bool processor_time(uint64_t *ret_all, uint64_t *ret_idle)
{
    enum { IDLE = 3, IOWAIT = 4, FIELDS = 8 };
    struct buf b = BUF_HEAP;
    bool good = slurp("/proc/stat", &b) && str_starts(buf_view(&b), "cpu ");
    char *at = good ? b.p + 4 : NULL;

    *ret_all = *ret_idle = 0;
    for (int i = 0; good && i < FIELDS; i++) {
        uint64_t v = strtoull(at, &at, 10);
        *ret_all += v;
        if (i == IDLE || i == IOWAIT)
            *ret_idle += v;
    }
    buf_free(&b);
    return good;
}

static void put_processor(struct buf *b)
{
    const struct timespec sample = { .tv_nsec = SAMPLE_MS * 1000000L };
    uint64_t all, idle, all_then, idle_then;

    buf_lit(b, "\"cpu\":{");
    if (processor_time(&all_then, &idle_then) && nanosleep(&sample, NULL) == 0 &&
        processor_time(&all, &idle) && all > all_then)
        buf_printf(b, "\"usage_percent\":%.2f,\"sample_window_ms\":%d",
                   100.0 - 100.0 * (double)(idle - idle_then) / (double)(all - all_then),
                   SAMPLE_MS);
    else
        buf_json_str(b, "error", ATH_S("/proc/stat cannot be read"));
    buf_char(b, '}');
}

/* ---- paths ---- */

static void put_path(struct buf *b, const char *label, const char *path)
{
    struct stat st = { 0 };
    bool exists = stat(path, &st) == 0;

    if (b->p[b->n - 1] != '[')
        buf_char(b, ',');
    buf_char(b, '{');
    buf_json_str(b, "label", str_of(label));
    buf_json_str(b, "path", str_of(path));
    buf_json_bool(b, "exists", exists);
    buf_json_bool(b, "is_dir", S_ISDIR(st.st_mode));
    buf_json_bool(b, "is_file", S_ISREG(st.st_mode));
    buf_json_bool(b, "readable", access(path, R_OK) == 0);
    buf_json_bool(b, "writable", access(path, W_OK) == 0);
    if (exists)
        buf_printf(b, ",\"permissions_octal\":\"%o\",\"uid\":%u,\"gid\":%u", st.st_mode & 07777u,
                   st.st_uid, st.st_gid);
    else
        buf_lit(b, ",\"permissions_octal\":null,\"uid\":null,\"gid\":null");
    buf_char(b, '}');
}

static void bin_dir(int major, char ret[64])
{
    snprintf(ret, 64, "/usr/lib/postgresql/%d/bin", major);
}

static void put_paths(struct buf *b)
{
    const char *logs = getenv("ATHENA_TRACING_LOG_DIR");
    char dir[64], label[32];

    buf_lit(b, ",\"paths\":[");
    if (logs && logs[0])
        put_path(b, "log_dir_env", logs);
    put_path(b, "log_dir_system", "/var/log/athena");
    put_path(b, "log_dir_local", "./var/log/athena");
    put_path(b, "config_dir", "/etc/athena");
    for (int major = OLDEST; major <= NEWEST; major++) {
        snprintf(label, sizeof(label), "postgresql_%d_bin", major);
        bin_dir(major, dir);
        put_path(b, label, dir);
    }
    buf_char(b, ']');
}

/* ---- ports ---- */

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* "  0: 00000000:0FD4 00000000:0000 0A ...": state 0A is listening. */
static size_t listening(const char *path, int *port, size_t n)
{
    struct buf b = BUF_HEAP;
    ath_str rest, line;

    if (!slurp(path, &b))
        return n;
    rest = buf_view(&b);
    while (str_next(&rest, '\n', &line) && n < PORTS_MOST) {
        unsigned number, state;
        if (sscanf(line.p, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", &number, &state) == 2 &&
            state == 0x0a)
            port[n++] = (int)number;
    }
    buf_free(&b);
    return n;
}

static void put_ports(struct buf *b)
{
    int port[PORTS_MOST], last = -1;
    size_t n = listening("/proc/net/tcp6", port, listening("/proc/net/tcp", port, 0)), count = 0;

    qsort(port, n, sizeof(*port), by_number);
    buf_lit(b, ",\"ports\":{\"source\":\"/proc/net/tcp\",\"listening_ports\":[");
    for (size_t i = 0; i < n; i++) {
        if (port[i] == last)
            continue;
        if (count++)
            buf_char(b, ',');
        buf_i64(b, last = port[i]);
    }
    buf_printf(b, "],\"count\":%zu}", count);
}

/* ---- service, tools ---- */

static void put_service(struct buf *b)
{
    static const char *const active[] = { "systemctl", "is-active", "athena.service", NULL };
    static const char *const enabled[] = { "systemctl", "is-enabled", "athena.service", NULL };
    static const char *const status[] = { "systemctl", "status",         "--no-pager", "-n",
                                          "0",         "athena.service", NULL };
    struct buf said = BUF_HEAP;

    buf_lit(b, ",\"service\":{\"service\":\"athena.service\"");
    output_of(active, &said);
    put_or_null(b, "is_active", first_line(&said));
    buf_reset(&said);
    output_of(enabled, &said);
    put_or_null(b, "is_enabled", first_line(&said));
    buf_reset(&said);
    output_of(status, &said);
    put_or_null(b, "status_summary", first_line(&said));
    buf_char(b, '}');
    buf_free(&said);
}

static void put_tool(struct buf *b, const char *name)
{
    char path[4096];
    bool installed = on_path(name, path, sizeof(path));

    buf_char(b, '{');
    buf_json_str(b, "name", str_of(name));
    buf_json_bool(b, "installed", installed);
    if (installed) {
        buf_json_str(b, "path", str_of(path));
        put_version(b, "version", path);
    }
    buf_char(b, '}');
}

static void put_compose(struct buf *b)
{
    static const char *const argv[] = { "docker", "compose", "version", NULL };
    struct buf said = BUF_HEAP;
    bool installed = output_of(argv, &said);

    buf_lit(b, ",\"docker_compose\":{\"name\":\"docker compose\"");
    buf_json_bool(b, "installed", installed);
    put_or_null(b, "version", first_line(&said));
    put_or_null(b, "error", installed ? ATH_S("") : ATH_S("docker compose does not answer"));
    buf_char(b, '}');
    buf_free(&said);
}

static void put_tools(struct buf *b)
{
    static const char *const name[] = { "psql", "pg_dump", "pg_restore", "docker", "systemctl",
                                        "curl", "s3cmd",   "openssl",    "tar" };

    buf_lit(b, ",\"tools\":{\"commands\":[");
    for (size_t i = 0; i < ATH_COUNT(name); i++) {
        if (i)
            buf_char(b, ',');
        put_tool(b, name[i]);
    }
    buf_char(b, ']');
    put_compose(b);
    buf_char(b, '}');
}

/* ---- PostgreSQL ---- */

static void put_on_path(struct buf *b, const char *key, const char *name)
{
    char path[4096];

    put_or_null(b, key, on_path(name, path, sizeof(path)) ? str_of(path) : ATH_S(""));
}

static void put_major(struct buf *b, int major)
{
    char dir[64], dump[80], restore[96];

    bin_dir(major, dir);
    snprintf(dump, sizeof(dump), "%s/pg_dump", dir);
    snprintf(restore, sizeof(restore), "%s/pg_restore", dir);
    buf_char(b, '{');
    buf_json_int(b, "major", major);
    buf_json_str(b, "bin_dir", str_of(dir));
    buf_json_bool(b, "bin_dir_exists", there(dir));
    buf_json_bool(b, "pg_dump_exists", there(dump));
    buf_json_bool(b, "pg_restore_exists", there(restore));
    put_version(b, "pg_dump_version", dump);
    put_version(b, "pg_restore_version", restore);
    buf_char(b, '}');
}

static void put_postgres(struct buf *b)
{
    buf_lit(b, ",\"postgres\":{");
    put_on_path(b, "pg_dump_on_path", "pg_dump");
    put_on_path(b, "pg_restore_on_path", "pg_restore");
    buf_lit(b, ",\"major_matrix\":[");
    for (int major = OLDEST; major <= NEWEST; major++) {
        if (major > OLDEST)
            buf_char(b, ',');
        put_major(b, major);
    }
    buf_lit(b, "]}");
}

static void put_env(struct buf *b)
{
    static const char *const name[] = { "ATHENA_PG_TOOLS_DIR", "ATHENA_PG_DUMP_PATH",
                                        "ATHENA_PG_RESTORE_PATH" };

    buf_lit(b, ",\"env\":{");
    for (size_t i = 0; i < ATH_COUNT(name); i++)
        put_or_null(b, name[i], str_of(getenv(name[i])));
    buf_char(b, '}');
}

int command_diag(const struct cli *cli)
{
    struct buf b = BUF_HEAP;

    (void)cli;
    buf_char(&b, '{');
    put_meta(&b);
    buf_lit(&b, ",\"resources\":{");
    put_memory(&b);
    buf_char(&b, ',');
    put_processor(&b);
    buf_char(&b, '}');
    put_paths(&b);
    put_ports(&b);
    put_service(&b);
    put_tools(&b);
    put_postgres(&b);
    put_env(&b);
    buf_lit(&b, "}\n");
    fwrite(b.p, 1, b.n, stdout);
    buf_free(&b);
    return 0;
}
