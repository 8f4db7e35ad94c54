/* The log of deferred writes: what was committed is found again, whatever happens to the files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "lib/buf.h"
#include "support/check_main.h"
#include "support/testhost.h"
#include "wal/wal.h"

enum { MOST = 4096 };

struct item {
    struct wal_entry log; /* first */
    char text[];
};

static char folder[64];
static struct wal *wal;
static ath_err error;
static struct item *there[MOST]; /* kept or found, not done */
static size_t count;
static uint64_t failed, errors;

static struct item *item_new(ath_str text)
{
    struct item *x = calloc(1, sizeof(*x) + text.n + 1);

    if (text.n)
        memcpy(x->text, text.p, text.n);
    x->log.text = str_from(x->text, text.n);
    return x;
}

static struct wal_entry *found(void *arg, uint64_t seq, ath_str text)
{
    struct item *x = item_new(text);

    (void)arg;
    x->log.seq = seq;
    ck_assert(count == 0 || there[count - 1]->log.seq < seq);
    there[count++] = x;
    return &x->log;
}

static void kept(void *arg, struct wal_entry *first)
{
    (void)arg;
    for (struct wal_entry *next; first; first = next) {
        next = first->next;
        there[count++] = (struct item *)first;
    }
}

static void lost(void *arg, struct wal_entry *first)
{
    (void)arg;
    for (struct wal_entry *next; first; first = next) {
        next = first->next;
        failed++;
        free(first);
    }
}

static void said(void *arg, int level, const char *text)
{
    (void)arg, (void)text;
    errors += level == ATH_ERROR;
}

static int open_again(uint64_t segment)
{
    struct wal_options o = { .folder = folder,
                             .segment = segment,
                             .found = found,
                             .kept = kept,
                             .failed = lost,
                             .say = said };

    err_reset(&error);
    return wal_open(&o, &wal, &error);
}

/* As after kill -9: the files stay as they are. */
static void forget(void)
{
    for (size_t i = 0; i < count; i++)
        free(there[i]);
    count = 0;
}

static void shut(void)
{
    wal_close(wal);
    wal = NULL;
    forget();
}

static void setup(void)
{
    testhost_pg(NULL); /* words of errors */
    /* In memory where there is such a place: what is forced to a disk takes its time. */
    snprintf(folder, sizeof(folder), "%s/athena-wal-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    failed = errors = 0;
}

static int each_file(char list[][300], int most)
{
    DIR *d = opendir(folder);
    const struct dirent *one;
    int n = 0;

    while ((one = readdir(d)))
        if (one->d_name[0] != '.' && strcmp(one->d_name, "lock") != 0) {
            ck_assert(n < most);
            snprintf(list[n++], 300, "%s/%s", folder, one->d_name);
        }
    closedir(d);
    return n;
}

static void clean(void)
{
    static char list[1000][300];
    int n;

    if (wal)
        shut();
    forget();
    n = each_file(list, 1000);
    for (int i = 0; i < n; i++)
        unlink(list[i]);
    snprintf(list[0], 300, "%s/lock", folder);
    unlink(list[0]);
    rmdir(folder);
}

static int put(const char *text)
{
    struct wal_group *g = wal_add(wal, &item_new(str_of(text))->log);
    int rc = wal_commit(wal, g);

    wal_leave(wal, g);
    return rc;
}

static int done(size_t i)
{
    struct wal_entry *e = &there[i]->log;
    int rc = wal_done(wal, &e, 1);

    free(there[i]);
    memmove(&there[i], &there[i + 1], (--count - i) * sizeof(*there));
    return rc;
}

static void only_segment(char path[300])
{
    static char list[10][300];

    ck_assert_int_eq(each_file(list, 10), 1);
    memcpy(path, list[0], 300);
}

static void slurp(const char *path, struct buf *b)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    char *to;

    fstat(fd, &st);
    to = buf_room(b, st.st_size);
    ck_assert_int_eq(read(fd, to, st.st_size), st.st_size);
    buf_end(b, to + st.st_size);
    close(fd);
}

static void spill(const char *path, const char *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_eq(write(fd, p, n), n);
    close(fd);
}

START_TEST(what_is_committed_is_found_and_what_is_done_is_not)
{
    char id[UUID_TEXT];

    ck_assert_int_eq(open_again(0), 0);
    memcpy(id, wal_id(wal), sizeof(id));
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(put("abc"), 0);
    ck_assert_int_eq(put(""), 0);
    ck_assert_int_eq(done(2), 0);
    ck_assert_int_eq(done(0), 0);
    ck_assert_uint_eq(count, 4);
    shut();
    ck_assert_int_eq(open_again(0), 0);
    ck_assert_str_eq(wal_id(wal), id);
    ck_assert_uint_eq(count, 4);
    ck_assert_uint_eq(there[0]->log.seq, 2);
    ck_assert_uint_eq(there[1]->log.seq, 4);
    ck_assert_uint_eq(there[3]->log.text.n, 0);
    ck_assert_int_eq(put("next"), 0);
    ck_assert_uint_eq(there[4]->log.seq, 7);
    while (count)
        ck_assert_int_eq(done(0), 0);
    shut();
    ck_assert_int_eq(open_again(0), 0);
    ck_assert_uint_eq(count, 0);
    ck_assert_str_ne(wal_id(wal), id);
}
END_TEST

/* Cut at every byte: what was whole is found, in order, and nothing else. */
START_TEST(a_torn_tail_costs_itself_alone)
{
    struct buf b = BUF_HEAP;
    size_t end[11];
    char path[300];
    struct stat st;

    ck_assert_int_eq(open_again(0), 0);
    end[0] = sizeof(struct wal_head);
    for (int i = 0; i < 10; i++) {
        char text[64];
        snprintf(text, sizeof(text), "%.*s%d", i * 3, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", i);
        ck_assert_int_eq(put(text), 0);
        only_segment(path);
        stat(path, &st);
        end[i + 1] = st.st_size;
    }
    shut();
    slurp(path, &b);
    for (size_t n = 0; n <= b.n; n++) {
        size_t whole = 0;
        while (whole < 10 && end[whole + 1] <= n)
            whole++;
        spill(path, b.p, n);
        ck_assert_int_eq(open_again(0), 0);
        ck_assert_msg(count == whole, "%zu bytes: %zu, not %zu", n, count, whole);
        for (size_t i = 0; i < count; i++)
            ck_assert(there[i]->log.text.n == i * 3 + 1);
        ck_assert_uint_eq(errors, 0);
        shut();
    }
    buf_free(&b);
}
END_TEST

/* A byte that is wrong costs the record that it is in, is said, and the file is kept. */
START_TEST(wrong_bytes_cost_their_record_alone)
{
    struct buf b = BUF_HEAP;
    char path[300], kept_path[400];
    size_t third;
    struct stat st;

    ck_assert_int_eq(open_again(0), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(put("something that is long enough"), 0);
    only_segment(path);
    stat(path, &st);
    third = st.st_size;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(put("something that is long enough"), 0);
    shut();
    slurp(path, &b);
    snprintf(kept_path, sizeof(kept_path), "%.*s.damaged", (int)(strlen(path) - 4), path);
    for (size_t at = sizeof(struct wal_head); at < third; at++) {
        size_t record = (third - sizeof(struct wal_head)) / 2;
        size_t in_record = (at - sizeof(struct wal_head)) % record;
        if (in_record >= sizeof(struct wal_record) + 29) /* what fills up is not looked at */
            continue;
        b.p[at] ^= 0x10;
        spill(path, b.p, b.n);
        b.p[at] ^= 0x10;
        errors = 0;
        ck_assert_int_eq(open_again(0), 0);
        ck_assert_msg(count == 3, "byte %zu: %zu are found", at, count);
        ck_assert_uint_eq(errors, 1);
        ck_assert_int_eq(access(kept_path, F_OK), 0);
        shut();
        unlink(kept_path);
    }
    buf_free(&b);
}
END_TEST

/* Segments go when they are done, oldest first; an old entry that stays does not keep them all. */
START_TEST(files_do_not_pile_up)
{
    static char list[1000][300], text[200];
    struct wal_stats st;

    memset(text, 'x', sizeof(text) - 1);
    ck_assert_int_eq(open_again(2048), 0);
    for (int i = 0; i < 2000; i++) {
        ck_assert_int_eq(put(text), 0);
        if (count > 3) /* the first one stays */
            ck_assert_int_eq(done(1), 0);
        wal_stats(wal, &st);
        ck_assert_msg(st.bytes < 40000 && st.segments < 30, "%d: %llu bytes", i,
                      (unsigned long long)st.bytes);
    }
    ck_assert_int_lt(each_file(list, 1000), 30);
    shut();
    ck_assert_int_eq(open_again(2048), 0);
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(there[0]->log.seq, 1);
    ck_assert_uint_eq(there[2]->log.seq, 2000);
    while (count)
        done(count - 1);
    shut();
    ck_assert_int_eq(each_file(list, 1000), 0);
}
END_TEST

static pthread_barrier_t all_there;

static void *writer(void *arg)
{
    struct wal_group *g = wal_add(wal, &item_new(str_of("group"))->log);

    (void)arg;
    pthread_barrier_wait(&all_there);
    ck_assert_int_eq(wal_commit(wal, g), 0);
    wal_leave(wal, g);
    return NULL;
}

/* D-07: all who wait share one fdatasync. */
START_TEST(those_who_wait_share_one_sync)
{
    enum { N = 50 };
    pthread_t t[N];
    struct wal_stats before, after;

    ck_assert_int_eq(open_again(0), 0);
    wal_stats(wal, &before);
    pthread_barrier_init(&all_there, NULL, N);
    for (int i = 0; i < N; i++)
        pthread_create(&t[i], NULL, writer, NULL);
    for (int i = 0; i < N; i++)
        pthread_join(t[i], NULL);
    pthread_barrier_destroy(&all_there);
    wal_stats(wal, &after);
    ck_assert_uint_eq(count, N);
    ck_assert_uint_eq(after.commits - before.commits, 1);
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(there[i]->log.seq, i + 1);
}
END_TEST

START_TEST(a_write_that_fails_leaves_nothing)
{
    struct rlimit old, small = { 4096, 4096 };
    static char big[8000];
    size_t before;

    memset(big, 'b', sizeof(big) - 1);
    ck_assert_int_eq(open_again(0), 0);
    ck_assert_int_eq(put("before"), 0);
    before = count;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    ck_assert_int_lt(put(big), 0);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_uint_eq(failed, 1);
    ck_assert_uint_eq(count, before);
    ck_assert_int_eq(put("after"), 0);
    shut();
    ck_assert_int_eq(open_again(0), 0);
    ck_assert_uint_eq(count, 2);
    ck_assert(str_is(there[1]->log.text, "after"));
    ck_assert_uint_eq(errors, 0);
}
END_TEST

/* D-20 */
START_TEST(a_folder_has_one_owner)
{
    struct wal *mine;

    ck_assert_int_eq(open_again(0), 0);
    mine = wal;
    ck_assert_int_eq(open_again(0), ATH_E_CONFLICT);
    ck_assert_msg(strstr(error.message, "is locked by process") != NULL, "%s", error.message);
    wal = mine;
}
END_TEST

/* A process was killed as it began a segment: nothing is missing, now and after the next start. */
START_TEST(a_segment_that_was_hardly_begun_is_no_damage)
{
    char path[300];

    for (size_t n = 0; n < sizeof(struct wal_head); n += 8) {
        ck_assert_int_eq(open_again(0), 0);
        ck_assert_int_eq(put("kept"), 0);
        shut();
        snprintf(path, sizeof(path), "%s/00000000000000ff.wal", folder);
        spill(path, "ATHWAL01........................................................", n);
        ck_assert_int_eq(open_again(0), 0);
        ck_assert_int_eq(put("behind it"), 0);
        shut();
        ck_assert_int_eq(open_again(0), 0);
        ck_assert_uint_eq(count, 2);
        ck_assert_uint_eq(errors, 0);
        while (count)
            done(0);
        shut();
    }
}
END_TEST

/* Killed at any moment, again and again: what a child was told to be kept is found. */
START_TEST(a_killed_process_loses_nothing)
{
    for (int round = 0; round < 20; round++) {
        int fd[2], told = 0, n;
        size_t before;
        pid_t child;
        char c;
        ck_assert_int_eq(open_again(4096), 0);
        before = count;
        shut();
        ck_assert_int_eq(pipe(fd), 0);
        child = fork();
        if (child == 0) {
            if (open_again(4096) == 0)
                while (put("a text of some length, so that segments are begun") == 0 &&
                       write(fd[1], "k", 1) == 1) {
                }
            _exit(1);
        }
        close(fd[1]);
        for (n = 0; n < 3 + round && read(fd[0], &c, 1) == 1; n++)
            told++;
        kill(child, SIGKILL);
        while (read(fd[0], &c, 1) == 1)
            told++;
        close(fd[0]);
        waitpid(child, NULL, 0);
        ck_assert_int_eq(open_again(4096), 0);
        ck_assert_uint_ge(count, before + told);
        ck_assert_uint_eq(errors, 0);
        while (count > 100)
            done(0);
        shut();
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("wal");
    TCase *c = tcase_create("wal");

    tcase_add_checked_fixture(c, setup, clean);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, what_is_committed_is_found_and_what_is_done_is_not);
    tcase_add_test(c, a_torn_tail_costs_itself_alone);
    tcase_add_test(c, wrong_bytes_cost_their_record_alone);
    tcase_add_test(c, files_do_not_pile_up);
    tcase_add_test(c, those_who_wait_share_one_sync);
    tcase_add_test(c, a_write_that_fails_leaves_nothing);
    tcase_add_test(c, a_folder_has_one_owner);
    tcase_add_test(c, a_segment_that_was_hardly_begun_is_no_damage);
    tcase_add_test(c, a_killed_process_loses_nothing);
    suite_add_tcase(s, c);
    return s;
}
