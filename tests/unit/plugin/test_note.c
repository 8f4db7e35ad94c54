/* core/plugin: the ELF note, size-aware copies, sorting by needs. Hostile files are made from a
 * good one, byte by byte. */
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "lib/buf.h"
#include "plugin/abi.h"
#include "plugin/note.h"
#include "plugin/order.h"
#include "support/check_main.h"

static char folder[] = "/tmp/athena-note-XXXXXX";
static char path[64];
static unsigned char *good;
static size_t good_n;

static void folder_make(void)
{
    FILE *f = fopen(FIXTURES "/sink-good.so", "re");

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/sink-good.so", folder);
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    good_n = (size_t)ftell(f);
    rewind(f);
    good = mem_new(good_n);
    ck_assert_uint_eq(fread(good, 1, good_n, f), good_n);
    fclose(f);
}

static void folder_drop(void)
{
    unlink(path);
    rmdir(folder);
    free(good);
    memcpy(folder + sizeof(folder) - 7, "XXXXXX", 6);
}

static void put_file(const void *p, size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

/* What the loader says about the file; empty: it is fine. */
static const char *verdict(void)
{
    static ath_err e;
    struct note n;

    err_reset(&e);
    if (note_read(path, &n, &e) < 0 || note_fits(path, &n, &e) < 0)
        ck_assert_int_eq(e.rc, ATH_E_ABI);
    return e.message;
}

#define REFUSED(words)                                                                             \
    do {                                                                                           \
        char want_[512];                                                                           \
        snprintf(want_, sizeof(want_), "plugin file \"%s\" %s", path, words);                      \
        ck_assert_str_eq(verdict(), want_);                                                        \
    } while (0)

/* Writes the good file with `n` bytes at `at` replaced. */
static void with(size_t at, const void *p, size_t n)
{
    unsigned char *copy = mem_new(good_n);

    memcpy(copy, good, good_n);
    memcpy(copy + at, p, n);
    put_file(copy, good_n, 0644);
    free(copy);
}

static size_t note_at(void)
{
    const unsigned char *owner = memmem(good, good_n, "Athena\0\0", 8);

    ck_assert_ptr_nonnull(owner);
    return (size_t)(owner - good) - 12;
}

START_TEST(a_good_note_is_read_without_running_code)
{
    struct note n;
    ath_err e;

    folder_make();
    put_file(good, good_n, 0644);
    unsetenv("ATHENA_FIXTURE_RAN");
    ck_assert_int_eq(note_read(path, &n, &e), 0);
    ck_assert_str_eq(note_name(&n), "sink-good");
    ck_assert_str_eq(note_version(&n), "1.0.0");
    ck_assert_str_eq(note_needs(&n), "");
    ck_assert_str_eq(note_offers(&n), "");
    ck_assert_uint_eq(n.layout, ATH_LAYOUT);
    ck_assert_str_eq(verdict(), "");
    ck_assert_ptr_null(getenv("ATHENA_FIXTURE_RAN"));
    folder_drop();
}
END_TEST

START_TEST(files_that_are_no_plugin_say_why)
{
    char words[256];
    uint16_t u16;

    folder_make();
    snprintf(words, sizeof(words), "could not open plugin file \"%s\": No such file or directory",
             path);
    ck_assert_str_eq(verdict(), words);
    put_file("", 0, 0644);
    REFUSED("is no ELF file");
    put_file("#!/bin/sh\n", 10, 0644);
    REFUSED("is no ELF file");
    put_file(good, good_n, 0646);
    REFUSED("may be written by anybody (mode 0646)");
    put_file(good, good_n, 0664);
    ck_assert_str_eq(verdict(), "");
    put_file(good, 40, 0644);
    REFUSED("is cut short: it refers to 64 bytes at 0, but has 40");
    with(EI_CLASS, "\1", 1);
    REFUSED("is for another machine (class 1, byte order 1, machine 62; this server has 2, 1, 62)");
    u16 = ET_EXEC;
    with(offsetof(Elf64_Ehdr, e_type), &u16, 2);
    REFUSED("is not a shared object (ELF type 2)");
    u16 = 60000;
    with(offsetof(Elf64_Ehdr, e_phnum), &u16, 2);
    REFUSED("has damaged program headers");
    u16 = 0;
    with(offsetof(Elf64_Ehdr, e_phnum), &u16, 2);
    REFUSED("has no Athena note");
    with(note_at() + 12, "Athene", 6);
    REFUSED("has no Athena note");
    unlink(path);
    ck_assert_int_eq(mkfifo(path, 0644), 0);
    REFUSED("is not a regular file");
    folder_drop();
}
END_TEST

START_TEST(damaged_notes_are_refused)
{
    uint32_t big = UINT32_MAX, content;
    size_t at;

    folder_make();
    at = note_at();
    with(at, &big, 4); /* length of the name */
    REFUSED("has a damaged note");
    with(at + 4, &big, 4); /* length of the content */
    REFUSED("has a damaged note");
    memcpy(&content, good + at + 4, 4);
    content--; /* the last text loses its NUL */
    with(at + 4, &content, 4);
    REFUSED("has a damaged note");
    with(at + 20 + 8 + 9, "x", 1); /* name and version run together */
    REFUSED("has a damaged note");
    with(at + 20 + 8, "\n", 1);
    REFUSED("has a damaged note");
    with(at + 20 + 8, "\0", 1);
    REFUSED("has a damaged note");
    folder_drop();
}
END_TEST

START_TEST(other_layouts_and_versions_are_refused_each_in_its_words)
{
    size_t at;

    folder_make();
    at = note_at() + 20;
    with(at, "\4", 1);
    REFUSED("has memory layout 040804, this server has 040808");
    with(at + 4, "\2", 1);
    REFUSED("is built for ABI 2.0, this server offers 1.0");
    with(at + 6, "\7", 1);
    REFUSED("needs at least ABI 1.7, this server offers 1.0");
    folder_drop();
}
END_TEST

/* Every truncation and every single changed byte of the headers is survived. */
START_TEST(no_bytes_make_the_reader_stumble)
{
    struct note n;
    ath_err e;

    folder_make();
    for (size_t k = 0; k < good_n; k += k < 1200 ? 7 : good_n / 50) {
        put_file(good, k, 0644);
        ck_assert_int_lt(note_read(path, &n, &e), 0);
    }
    for (size_t k = 4; k < 64 + 12 * 56; k++) {
        unsigned char byte = good[k] ^ 0xff;
        with(k, &byte, 1);
        note_read(path, &n, &e);
    }
    folder_drop();
}
END_TEST

START_TEST(copies_know_both_sizes)
{
    struct {
        uint32_t size, a, b;
    } theirs = { 12, 1, 2 };
    struct {
        uint32_t size, a, b, c;
    } ours, *row;
    ath_arena arena;

    memset(&ours, 'x', sizeof(ours));
    abi_copy(&ours, sizeof(ours), &theirs, sizeof(theirs));
    ck_assert(ours.a == 1 && ours.b == 2 && ours.c == 0);
    arena_init(&arena);
    row = abi_array(&arena, sizeof(ours), (uint32_t[]){ 1, 2, 3, 4 }, 8, 2);
    ck_assert(row[0].size == 1 && row[0].a == 2 && row[0].b == 0);
    ck_assert(row[1].size == 3 && row[1].a == 4 && row[1].c == 0);
    ck_assert_ptr_null(abi_array(&arena, 16, NULL, 8, 0));
    arena_free(&arena);
}
END_TEST

static struct buf refusals;

static void refused(void *arg, uint32_t item, ath_str need, const ath_err *e)
{
    (void)arg, (void)item, (void)need;
    buf_printf(&refusals, "%s\n", e->message);
}

static const char *sorted(struct order_item *item, uint32_t n, const char *core)
{
    static char names[256];
    uint32_t order[16], count;

    buf_reset(&refusals);
    count = order_sort(item, n, core, order, refused, NULL);
    names[0] = 0;
    for (uint32_t i = 0; i < count; i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? " " : "",
                 item[order[i]].name);
    return names;
}

START_TEST(providers_come_first)
{
    struct order_item item[] = {
        { "routes", "cache@1 s3@1", "", 0 },
        { "cache", " s3@1  ?absent@1", "cache@1", 0 },
        { "plain", "", "", 0 },
        { "s3", "core@1", "s3@1 other@1", 0 },
        { "late", "?cache@1", "", 0 },
    };

    ck_assert_str_eq(sorted(item, 5, "core@1 more@1"), "plain s3 cache routes late");
    ck_assert_str_eq(buf_view(&refusals).p, "");
    buf_free(&refusals);
}
END_TEST

START_TEST(what_is_missing_double_or_circular_is_named)
{
    struct order_item missing[] = { { "a", "b@1", "", 0 },
                                    { "b", "c@1", "b@1", 0 },
                                    { "d", "", "", 0 } };
    struct order_item twice[] = { { "a", "", "x@1", 0 }, { "b", "", "y@1 x@1", 0 } };
    struct order_item circle[] = { { "x", "east@1", "", 0 },
                                   { "east", "west@1", "east@1", 0 },
                                   { "west", "south@1", "west@1", 0 },
                                   { "south", "east@1", "south@1", 0 },
                                   { "z", "", "", 0 } };
    struct order_item self[] = { { "own", "own@1", "own@1", 0 } };

    ck_assert_str_eq(sorted(missing, 3, ""), "d");
    ck_assert_str_eq(refusals.p, "plugin \"b\" needs \"c@1\", which nothing enabled offers\n"
                                 "plugin \"a\" needs \"b@1\" of plugin \"b\", which was refused\n");
    ck_assert_str_eq(sorted(twice, 2, ""), "a");
    ck_assert_str_eq(refusals.p,
                     "plugin \"b\" offers \"x@1\", which plugin \"a\" offers already\n");
    ck_assert_str_eq(sorted(circle, 5, ""), "z");
    ck_assert_str_eq(refusals.p,
                     "plugin \"west\" needs itself: west -> south -> east -> west\n"
                     "plugin \"south\" needs itself: west -> south -> east -> west\n"
                     "plugin \"east\" needs itself: west -> south -> east -> west\n"
                     "plugin \"x\" needs \"east@1\" of plugin \"east\", which was refused\n");
    ck_assert_str_eq(sorted(self, 1, ""), "");
    ck_assert_str_eq(refusals.p, "plugin \"own\" needs itself: own -> own\n");
    buf_free(&refusals);
}
END_TEST

SUITE("plugin note", a_good_note_is_read_without_running_code, files_that_are_no_plugin_say_why,
      damaged_notes_are_refused, other_layouts_and_versions_are_refused_each_in_its_words,
      no_bytes_make_the_reader_stumble, copies_know_both_sizes, providers_come_first,
      what_is_missing_double_or_circular_is_named)
