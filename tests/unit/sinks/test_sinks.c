/* sink-file and sink-stdout as they are loaded, on the real sink threads. The host is as much of one as
 * the two use. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "lib/buf.h"
#include "log/log.h"
#include "support/check_main.h"

static void moment(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

#define WAIT_FOR(what) \
    for (int tries_ = 0; !(what); tries_++) { \
        if (tries_ == 3000) \
            ck_abort_msg("never: %s", #what); \
        moment(); \
    }

/* ---- the host ---- */

static char warned[4096];

static void host_write(ath_self *s, ath_task *t, int level, const char *fmt, va_list ap)
{
    size_t n = strlen(warned);

    (void)s, (void)t;
    ck_assert_int_eq(level, ATH_WARN);
    vsnprintf(warned + n, sizeof(warned) - n, fmt, ap);
}

static const ath_err_api err_api = { .size = sizeof(err_api), .fail = err_fail_v };
static const ath_log_api log_api = { .size = sizeof(log_api), .write = host_write };
static const ath_host host = { .size = sizeof(host), .err = &err_api, .log = &log_api };

struct loaded {
    const ath_plugin *plugin;
    const ath_sink *sink;
    void *config, *state;
};

static const ath_field *field(const struct loaded *l, const char *key)
{
    for (uint32_t i = 0; i < l->plugin->field_count; i++)
        if (strcmp(l->plugin->field[i].key, key) == 0)
            return &l->plugin->field[i];
    ck_abort_msg("no key %s", key);
    return NULL;
}

static void set(struct loaded *l, const char *key, const char *value)
{
    const ath_field *f = field(l, key);
    char *at = (char *)l->config + f->off;
    bool on = false;

    if (f->type == ATH_T_STR)
        *(ath_str *)at = str_of(value);
    else if (f->type == ATH_T_BOOL)
        *(int32_t *)at = str_bool(str_of(value), &on) && on;
    else if (f->type == ATH_T_MSEC)
        ck_assert(str_msec(str_of(value), (uint64_t *)at));
    else if (f->type == ATH_T_BYTES)
        ck_assert(str_bytes(str_of(value), (uint64_t *)at));
    else
        ck_assert(str_i64(str_of(value), (int64_t *)at));
}

/* Beside the test programs: build/X/tests/bin and build/X/plugins/lib. */
static void load(struct loaded *l, const char *name)
{
    char exe[4096], path[5000];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    ath_entry_fn *entry;
    void *so;

    ck_assert_int_gt(n, 0);
    exe[n] = 0;
    *strrchr(exe, '/') = 0;
    snprintf(path, sizeof(path), "%s/../../plugins/lib/%s.so", exe, name);
    so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(so != NULL, "%s", dlerror());
    entry = (ath_entry_fn *)(uintptr_t)dlsym(so, "athena_plugin_v1");
    ck_assert_ptr_nonnull(entry);
    *l = (struct loaded){ .plugin = entry(&host, NULL) };
    l->sink = (const ath_sink *)l->plugin->cap[0];
    l->config = mem_new(l->plugin->config_size);
    for (uint32_t i = 0; i < l->plugin->field_count; i++)
        set(l, l->plugin->field[i].key, l->plugin->field[i].def);
    set(l, "flush_ms", "1ms");
    warned[0] = 0;
}

static int start(struct loaded *l, struct log_sink **ret, ath_err *e)
{
    struct log_queue_options o = { 0 };

    ck_assert_int_eq(l->plugin->init(NULL, l->config, &l->state, e), 0);
    log_queue_options_of(l->plugin->field, l->plugin->field_size, l->plugin->field_count, l->config, &o);
    return log_sink_start(l->plugin->name, l->sink, l->state, &o, ret, e);
}

static struct log_sink *started(struct loaded *l)
{
    struct log_sink *s = NULL;
    ath_err e;

    err_reset(&e);
    ck_assert_msg(start(l, &s, &e) == 0, "%s", e.message);
    return s;
}

static void unload(struct loaded *l)
{
    l->plugin->fini(l->state);
    free(l->config);
}

/* ---- folders and files ---- */

static char dir[64];

static void dir_new(void)
{
    snprintf(dir, sizeof(dir), "/tmp/athena-sinks-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void dir_remove(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static char *content(const char *name)
{
    static char text[1 << 20];
    int fd = open(path_of(name), O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static struct log_sink_stats stats(void)
{
    struct log_sink_stats s = { 0 };

    log_sink_stats(&s, 1);
    return s;
}

/* ---- sink-file ---- */

START_TEST(errors_have_a_file_of_their_own)
{
    static const ath_fact facts[] = { { ATH_S("span.http_method"), ATH_S("GET"), ATH_V_PLAIN, 0 } };
    ath_event e = { .size = sizeof(e), .level = ATH_ERROR, .source = ATH_S("athena::http"),
                    .message = ATH_S("request completed"), .fact = facts, .fact_count = 1 };
    struct loaded l;
    struct log_sink *s;

    dir_new();
    load(&l, "sink-file");
    set(&l, "dir", path_of("deep/er"));
    s = started(&l);
    log_event(&e);
    e.level = ATH_WARN;
    log_event(&e);
    log_sink_stop(s);
    ck_assert_ptr_nonnull(strstr(content("deep/er/error.log"), " ERROR athena::http: request completed\n"));
    ck_assert_ptr_nonnull(strstr(content("deep/er/success.log"),
                                 "  WARN http.request{http_method=GET}: athena::http: request completed\n"));
    ck_assert_ptr_null(strstr(content("deep/er/success.log"), "ERROR"));
    unload(&l);
    dir_remove();
}
END_TEST

START_TEST(a_folder_that_was_asked_for_must_be_usable)
{
    struct loaded l;
    struct log_sink *s = NULL;
    char bad[128], want[256];
    ath_err e;

    dir_new();
    load(&l, "sink-file");
    close(open(path_of("file"), O_CREAT | O_WRONLY, 0600));
    snprintf(bad, sizeof(bad), "%s", path_of("file/x"));
    set(&l, "dir", bad);
    err_reset(&e);
    ck_assert_int_eq(start(&l, &s, &e), ATH_E_CONFIG);
    snprintf(want, sizeof(want), "could not open log files in \"%s\": Not a directory", bad);
    ck_assert_str_eq(e.message, want);
    unload(&l);
    dir_remove();
}
END_TEST

START_TEST(the_published_search_begins_with_the_variables_folder)
{
    struct loaded l;
    struct log_sink *s;
    char first[128];

    dir_new();
    load(&l, "sink-file");
    snprintf(first, sizeof(first), " %s ", path_of("first"));
    set(&l, "first_dir", first);
    s = started(&l);
    log_write(ATH_INFO, "x", "hello");
    log_sink_stop(s);
    ck_assert_ptr_nonnull(strstr(content("first/success.log"), "  INFO x: hello\n"));
    ck_assert_str_eq(warned, "");
    unload(&l);
    dir_remove();
}
END_TEST

START_TEST(a_skipped_folder_is_named)
{
    struct loaded l;
    struct log_sink *s;
    char bad[128], want[512], before[4096];

    dir_new();
    ck_assert_ptr_nonnull(getcwd(before, sizeof(before)));
    ck_assert_int_eq(chdir(dir), 0); /* whatever /var/log/athena says, nothing lands elsewhere */
    close(open(path_of("file"), O_CREAT | O_WRONLY, 0600));
    load(&l, "sink-file");
    snprintf(bad, sizeof(bad), "%s", path_of("file/x"));
    set(&l, "first_dir", bad);
    s = started(&l);
    log_sink_stop(s);
    snprintf(want, sizeof(want),
             "tracing file logging status unable to initialize tracing log files at %s (Not a "
             "directory); using /var/log/athena (set ATHENA_TRACING_LOG_DIR to pin a writable directory)",
             bad);
    warned[strlen(want)] = 0;
    ck_assert_str_eq(warned, want);
    unload(&l);
    ck_assert_int_eq(chdir(before), 0);
    dir_remove();
}
END_TEST

START_TEST(reopen_follows_a_renamed_file)
{
    struct loaded l;
    struct log_sink *s;
    char old[128];

    dir_new();
    load(&l, "sink-file");
    set(&l, "dir", dir);
    s = started(&l);
    log_write(ATH_INFO, "x", "before");
    WAIT_FOR(strstr(content("success.log"), "before"));
    snprintf(old, sizeof(old), "%s", path_of("old.log"));
    ck_assert_int_eq(rename(path_of("success.log"), old), 0);
    log_sinks_reopen();
    WAIT_FOR(access(path_of("success.log"), F_OK) == 0);
    log_write(ATH_INFO, "x", "after");
    WAIT_FOR(strstr(content("success.log"), "after"));
    ck_assert_ptr_null(strstr(content("old.log"), "after"));
    log_sink_stop(s);
    unload(&l);
    dir_remove();
}
END_TEST

START_TEST(size_rotation_keeps_the_newest)
{
    struct loaded l;
    struct log_sink *s;

    dir_new();
    load(&l, "sink-file");
    set(&l, "dir", dir);
    set(&l, "rotate_size", "1k");
    set(&l, "keep", "2");
    set(&l, "batch", "10");
    s = started(&l);
    for (int i = 0; i < 200; i++)
        log_write(ATH_INFO, "x", "line %03d with some text to make it longer", i);
    log_sink_stop(s);
    ck_assert_int_eq(access(path_of("success.log.1"), F_OK), 0);
    ck_assert_int_eq(access(path_of("success.log.2"), F_OK), 0);
    ck_assert_int_ne(access(path_of("success.log.3"), F_OK), 0);
    ck_assert_ptr_nonnull(strstr(content("success.log"), "line 199"));
    ck_assert_int_ne(access(path_of("error.log.1"), F_OK), 0);
    unload(&l);
    dir_remove();
}
END_TEST

START_TEST(a_new_day_has_a_new_file)
{
    struct loaded l;
    struct log_sink *s;
    ath_event e = { .size = sizeof(e), .level = ATH_INFO, .source = ATH_S("x"),
                    .message = ATH_S("monday"), .time_ns = 1795365066000000000ull };

    dir_new();
    load(&l, "sink-file");
    set(&l, "dir", dir);
    set(&l, "rotate_daily", "true");
    s = started(&l);
    log_event(&e);
    WAIT_FOR(strstr(content("success.log"), "monday"));
    e.time_ns += 86400ull * 1000000000u;
    e.message = ATH_S("tuesday");
    log_event(&e);
    log_sink_stop(s);
    ck_assert_ptr_nonnull(strstr(content("success.log.1"), "monday"));
    ck_assert_ptr_nonnull(strstr(content("success.log"), "tuesday"));
    ck_assert_ptr_null(strstr(content("success.log"), "monday"));
    unload(&l);
    dir_remove();
}
END_TEST

/* Nothing of what the queue kept is lost or written twice, whatever byte the disk was full at. */
static void check_lines(int kept_from)
{
    ath_str rest = str_of(content("success.log")), line;
    int next = kept_from;

    while (str_next(&rest, '\n', &line)) {
        char want[64];
        if (line.n == 0 || !strstr(line.p, " x: line "))
            continue;
        snprintf(want, sizeof(want), " INFO x: line %04d", next++);
        ck_assert_msg(str_ends(line, want), "got \"%.*s\", want \"%s\"", STR_ARG(line), want);
    }
    ck_assert_int_gt(next, kept_from);
}

START_TEST(a_full_disk_is_survived_and_healed)
{
    struct rlimit full = { .rlim_cur = 1001, .rlim_max = RLIM_INFINITY };
    struct log_sink_stats early, late;
    struct rlimit before;
    struct loaded l;
    struct log_sink *s;

    dir_new();
    load(&l, "sink-file");
    set(&l, "dir", dir);
    set(&l, "queue_events", "64");
    set(&l, "batch", "16");
    getrlimit(RLIMIT_FSIZE, &before);
    full.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    s = started(&l);
    setrlimit(RLIMIT_FSIZE, &full); /* no assertion below it: Check writes to a file, too */
    for (int i = 0; i < 60; i++)
        log_write(ATH_INFO, "x", "line %04d", i);
    WAIT_FOR(stats().paused);
    early = stats();
    for (int i = 0; i < 500; i++)
        log_write(ATH_INFO, "x", "more");
    late = stats();
    setrlimit(RLIMIT_FSIZE, &before);
    ck_assert_uint_eq(early.dropped, 0);
    ck_assert_uint_gt(late.dropped, 400);
    WAIT_FOR(!stats().paused);
    WAIT_FOR(strstr(content("success.log"), "log sink \"sink-file\" writes again"));
    log_sink_stop(s);
    check_lines(0);
    unload(&l);
    dir_remove();
}
END_TEST

START_TEST(a_full_file_system_heals_by_itself)
{
    struct loaded l;
    struct log_sink *s;
    char page[4096] = "";
    int fd;

    dir_new();
    if (mount("none", dir, "tmpfs", 0, "size=64k") < 0) { /* needs privileges */
        dir_remove();
        return;
    }
    load(&l, "sink-file");
    set(&l, "dir", dir);
    s = started(&l);
    fd = open(path_of("filler"), O_CREAT | O_WRONLY, 0600);
    while (write(fd, page, sizeof(page)) > 0) {
    }
    for (int i = 0; i < 200; i++)
        log_write(ATH_INFO, "x", "line %04d", i);
    WAIT_FOR(stats().paused);
    close(fd);
    ck_assert_int_eq(unlink(path_of("filler")), 0);
    WAIT_FOR(!stats().paused);
    log_sink_stop(s);
    check_lines(0);
    unload(&l);
    ck_assert_int_eq(umount(dir), 0);
    dir_remove();
}
END_TEST

/* ---- sink-stdout ---- */

static int saved_stdout;

static void stdout_to(int fd)
{
    fflush(stdout);
    saved_stdout = dup(STDOUT_FILENO);
    dup2(fd, STDOUT_FILENO);
}

static void stdout_back(void)
{
    dup2(saved_stdout, STDOUT_FILENO);
    close(saved_stdout);
}

static void one_line(const char *format, char *ret, size_t n)
{
    struct loaded l;
    struct log_sink *s;
    int pipes[2];
    ssize_t got;

    ck_assert_int_eq(pipe(pipes), 0);
    load(&l, "sink-stdout");
    set(&l, "format", format);
    stdout_to(pipes[1]);
    s = started(&l);
    log_write(ATH_INFO, "x", "hello");
    log_sink_stop(s);
    stdout_back();
    got = read(pipes[0], ret, n - 1);
    ret[got > 0 ? got : 0] = 0;
    close(pipes[0]);
    close(pipes[1]);
    unload(&l);
}

START_TEST(standard_output_is_json_unless_it_is_a_terminal)
{
    char text[1000];

    one_line("auto", text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "\"level\":\"INFO\",\"target\":\"x\",\"message\":\"hello\"}\n"));
    one_line("text", text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "  INFO x: hello\n"));
}
END_TEST

START_TEST(a_reader_that_left_costs_events_only)
{
    struct loaded l;
    struct log_sink *s;
    int pipes[2];

    ck_assert_int_eq(pipe(pipes), 0);
    close(pipes[0]);
    load(&l, "sink-stdout");
    stdout_to(pipes[1]);
    close(pipes[1]);
    s = started(&l);
    log_write(ATH_INFO, "x", "hello");
    WAIT_FOR(stats().failed >= 1);
    ck_assert(stats().paused);
    log_sink_stop(s);
    stdout_back();
    unload(&l);
}
END_TEST

SUITE("sinks", errors_have_a_file_of_their_own, a_folder_that_was_asked_for_must_be_usable,
      the_published_search_begins_with_the_variables_folder, a_skipped_folder_is_named,
      reopen_follows_a_renamed_file, size_rotation_keeps_the_newest, a_new_day_has_a_new_file,
      a_full_disk_is_survived_and_healed, a_full_file_system_heals_by_itself,
      standard_output_is_json_unless_it_is_a_terminal, a_reader_that_left_costs_events_only)
