/* Archives that are not as they should be: every one is refused, and nothing is written outside of
 * the folder that was named. */
#include "archivelab.h"

#include <dirent.h>

static const char key_text[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
static const char other_text[] = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static struct {
    struct archive_pack pack;
    struct seal_ring ring;
    struct buf plain, sealed;
    struct manifest told, told_sealed;
    char work[64]; /* holds "in", into which is unpacked, and nothing else */
} whole;

static void setup(void)
{
    char room[64];
    ath_str folder = lab_folder(room);

    lab_folder(whole.work);
    lab_ring(&whole.ring, key_text);
    lab_dump(folder.p, 6, 7000);
    for (int sealed = 0; sealed < 2; sealed++) {
        whole.pack = (struct archive_pack){ .folder = folder,
                                            .ring = sealed ? &whole.ring : NULL,
                                            .level = ARCHIVE_LEVEL,
                                            .rows = true };
        ck_assert_int_eq(lab_pack(&whole.pack), 0);
        buf_str(sealed ? &whole.sealed : &whole.plain, buf_view(&lab.output));
        *(sealed ? &whole.told_sealed : &whole.told) = whole.pack.manifest;
    }
    lab_remove(folder.p);
}

static void teardown(void)
{
    buf_free(&whole.plain);
    buf_free(&whole.sealed);
    manifest_free(&whole.told);
    manifest_free(&whole.told_sealed);
    lab_remove(whole.work);
}

static unsigned entries(const char *folder)
{
    DIR *dir = opendir(folder);
    unsigned n = 0;

    for (struct dirent *d; (d = readdir(dir));)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* What unpacking these bytes says; it writes into "in" alone. */
static int judge(ath_str bytes, const struct seal_ring *ring, const struct manifest *told)
{
    char in[128];
    struct archive_unpack u = { .ring = ring, .told = told, .most_bytes = 64 << 20 };

    snprintf(in, sizeof(in), "%s/in", whole.work);
    ck_assert_int_eq(mkdir(in, 0700), 0);
    u.folder = str_of(in);
    lab.piece = 0;
    lab_unpack(&u, bytes);
    ck_assert_uint_eq(entries(whole.work), 1);
    ck_assert((lab.rc == 0) == (u.dump != NULL));
    ck_assert(lab.rc == 0 || lab.why[0]);
    lab_remove(in);
    free(u.dump);
    manifest_free(&u.manifest);
    return lab.rc;
}

static struct kind {
    const char *name;
    const struct buf *bytes;
    const struct manifest *told;
} kinds[] = {
    { "plain", &whole.plain, NULL },
    { "plain, told", &whole.plain, &whole.told },
    { "sealed", &whole.sealed, NULL },
    { "sealed, told", &whole.sealed, &whole.told_sealed },
};

START_TEST(whole_archives_are_taken)
{
    for (size_t i = 0; i < ATH_COUNT(kinds); i++)
        ck_assert_msg(judge(buf_view(kinds[i].bytes), &whole.ring, kinds[i].told) == 0, "%s: %s",
                      kinds[i].name, lab.why);
}
END_TEST

START_TEST(truncated_archives_are_refused)
{
    for (size_t i = 0; i < ATH_COUNT(kinds); i++) {
        const struct buf *b = kinds[i].bytes;
        for (size_t at = 0; at < 100; at++)
            ck_assert_int_eq(judge(str_from(b->p, b->n * at / 100), &whole.ring, kinds[i].told),
                             ATH_E_INPUT);
        for (size_t cut = 1; cut < 40; cut++)
            ck_assert_int_eq(judge(str_from(b->p, b->n - cut), &whole.ring, kinds[i].told),
                             ATH_E_INPUT);
    }
}
END_TEST

/* Without a manifest six bytes of the gzip header say nothing that anything depends on. */
START_TEST(flipped_bytes_are_found)
{
    for (size_t i = 0; i < ATH_COUNT(kinds); i++) {
        struct buf b = BUF_HEAP;
        buf_str(&b, buf_view(kinds[i].bytes));
        ck_assert_uint_gt(b.n, 300000);
        for (size_t at = 0; at < b.n; at += at < 100 || at + 100 > b.n ? 1 : 1000) {
            b.p[at] ^= 0x55;
            int rc = judge(buf_view(&b), &whole.ring, kinds[i].told);
            b.p[at] ^= 0x55;
            if (i > 0 || at < 4 || at > 9)
                ck_assert_msg(rc == ATH_E_INPUT || rc == ATH_E_CONFIG || rc == ATH_E_TOO_LARGE,
                              "%s, byte %zu: %d", kinds[i].name, at, rc);
        }
        buf_free(&b);
    }
}
END_TEST

static ath_str spliced(struct buf *b, const struct buf *from, size_t to, size_t start, size_t n,
                       size_t go_on)
{
    buf_reset(b);
    buf_mem(b, from->p, to);
    buf_mem(b, from->p + start, n);
    buf_mem(b, from->p + go_on, from->n - go_on);
    return buf_view(b);
}

START_TEST(parts_that_are_swapped_missing_or_repeated_are_found)
{
    enum { CHUNK = SEAL_CHUNK + SEAL_TAG_BYTES };
    struct buf b = BUF_HEAP;

    for (size_t i = 0; i < ATH_COUNT(kinds); i++) {
        const struct buf *from = kinds[i].bytes;
        size_t at = SEAL_HEAD + CHUNK;
        ath_str swapped = spliced(&b, from, at, at + CHUNK, CHUNK, at + CHUNK);
        memcpy(b.p + at + CHUNK, from->p + at, CHUNK);
        ck_assert_int_eq(judge(swapped, &whole.ring, kinds[i].told), ATH_E_INPUT);
        ck_assert_int_eq(judge(spliced(&b, from, at, 0, 0, at + CHUNK), &whole.ring,
                               kinds[i].told), ATH_E_INPUT);
        ck_assert_int_eq(judge(spliced(&b, from, at, at, CHUNK, at), &whole.ring, kinds[i].told),
                         ATH_E_INPUT);
        ck_assert_int_eq(judge(spliced(&b, from, from->n, 0, 1, from->n), &whole.ring,
                               kinds[i].told), ATH_E_INPUT);
        ck_assert_int_eq(judge(spliced(&b, from, from->n, 0, from->n, from->n), &whole.ring,
                               kinds[i].told), ATH_E_INPUT);
    }
    buf_free(&b);
}
END_TEST

/* One member behind another is gzip, too. */
START_TEST(a_stream_of_several_members_is_taken)
{
    struct buf tar = BUF_HEAP, gz = BUF_HEAP;
    z_stream z = { .next_in = (Bytef *)whole.plain.p, .avail_in = (uInt)whole.plain.n };
    size_t half;

    inflateInit2(&z, 31);
    z.next_out = (Bytef *)buf_room(&tar, 8 << 20);
    z.avail_out = 8 << 20;
    ck_assert_int_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
    buf_end(&tar, (char *)z.next_out);
    inflateEnd(&z);
    half = tar.n / 2;
    lab_gzip(&gz, tar.p, half, 1);
    lab_gzip(&gz, tar.p + half, tar.n - half, 9);
    ck_assert_msg(judge(buf_view(&gz), NULL, NULL) == 0, "%s", lab.why);
    buf_char(&gz, 0);
    ck_assert_int_eq(judge(buf_view(&gz), NULL, NULL), ATH_E_INPUT);
    buf_free(&tar);
    buf_free(&gz);
}
END_TEST

START_TEST(keys_that_are_not_there_are_said)
{
    struct seal_ring other, both;
    char keys[160];

    lab_ring(&other, other_text);
    snprintf(keys, sizeof(keys), "%s, %s", other_text, key_text);
    lab_ring(&both, keys);
    ck_assert_int_eq(judge(buf_view(&whole.sealed), NULL, NULL), ATH_E_CONFIG);
    ck_assert_str_eq(lab.why, "the archive is sealed, and backup.encryption_keys holds no key");
    ck_assert_int_eq(judge(buf_view(&whole.sealed), &other, NULL), ATH_E_CONFIG);
    ck_assert_str_eq(lab.why,
                     "the archive is sealed by a key that is not in backup.encryption_keys");
    ck_assert_int_eq(judge(buf_view(&whole.sealed), &both, &whole.told_sealed), 0);
    memcpy(other.id[0], whole.ring.id[0], SEAL_ID); /* a key that claims to be the one */
    ck_assert_int_eq(judge(buf_view(&whole.sealed), &other, NULL), ATH_E_INPUT);
}
END_TEST

START_TEST(an_archive_that_its_manifest_does_not_tell_of_is_refused)
{
    char room[64];
    ath_str folder = lab_folder(room);

    ck_assert_int_eq(judge(buf_view(&whole.plain), &whole.ring, &whole.told_sealed), ATH_E_INPUT);
    ck_assert_str_eq(lab.why, "the archive is not what its manifest says: it is not sealed");
    ck_assert_int_eq(judge(buf_view(&whole.sealed), &whole.ring, &whole.told), ATH_E_INPUT);
    lab_dump(folder.p, 6, 6999);
    whole.pack = (struct archive_pack){ .folder = folder, .level = ARCHIVE_LEVEL, .rows = true };
    ck_assert_int_eq(lab_pack(&whole.pack), 0);
    ck_assert_int_eq(judge(buf_view(&whole.plain), NULL, &whole.pack.manifest), ATH_E_TOO_LARGE);
    ck_assert_int_eq(judge(buf_view(&lab.output), NULL, &whole.told), ATH_E_INPUT);
    manifest_free(&whole.pack.manifest);
    lab_remove(folder.p);
}
END_TEST

/* ---- tars that nobody packed ---- */

static void add(struct buf *tar, const char *name, char type, const char *data)
{
    struct stat st = { .st_mode = S_IFREG | 0600, .st_size = (off_t)strlen(data) };
    size_t at = tar->n;
    unsigned sum = 0;

    tar_put_head(tar, str_of(name), &st, NULL);
    tar->p[at + 156] = type;
    memset(tar->p + at + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += (uint8_t)tar->p[at + i];
    snprintf(tar->p + at + 148, 7, "%06o", sum);
    tar->p[at + 155] = ' ';
    buf_z(tar, data);
    tar_put_pad(tar, strlen(data));
}

static int judge_tar(struct buf *tar, const char *why)
{
    struct buf gz = BUF_HEAP;
    int rc;

    tar_put_end(tar);
    lab_gzip(&gz, tar->p, tar->n, 6);
    rc = judge(buf_view(&gz), NULL, NULL);
    if (why)
        ck_assert_msg(strstr(lab.why, why) != NULL, "%s", lab.why);
    buf_free(&gz);
    buf_free(tar);
    return rc;
}

START_TEST(hostile_names_and_entries_are_refused)
{
    static const char *const name[] = {
        "/etc/passwd",   "../x",        "dump/../../x", "dump/..",    "x",     "dump",
        "dump/./x",      "dump//x",     "dump/x/",      "dumps/x",    "",      "/dump/x",
        "dump/a\nb",     "dump/a\\b",   "dump/a\tb",    "dump/\xff",  "./dump/x",
        "dump/a/b/c/d",  "dump/../dump/x",
    };
    static const char type[] = "123467xgLKSVMNAD";

    for (size_t i = 0; i < ATH_COUNT(name); i++) {
        struct buf tar = BUF_HEAP;
        add(&tar, name[i], '0', "data");
        ck_assert_msg(judge_tar(&tar, "whose name is not") == ATH_E_INPUT, "%s", name[i]);
    }
    for (size_t i = 0; type[i]; i++) {
        struct buf tar = BUF_HEAP;
        add(&tar, "dump/x", type[i], "data");
        ck_assert_msg(judge_tar(&tar, "is no file or folder") == ATH_E_INPUT, "%c", type[i]);
    }
}
END_TEST

START_TEST(entries_that_contradict_each_other_are_refused)
{
    struct buf tar = BUF_HEAP;

    add(&tar, "dump/x", '0', "data");
    add(&tar, "dump/x", '0', "data");
    ck_assert_int_eq(judge_tar(&tar, "holds \"dump/x\" twice"), ATH_E_INPUT);
    add(&tar, "dump/x", '0', "data");
    add(&tar, "dump/x/y", '0', "data");
    ck_assert_int_eq(judge_tar(&tar, "as a file and as a folder"), ATH_E_INPUT);
    add(&tar, "dump/x/y", '0', "data");
    add(&tar, "dump/x", '0', "data");
    ck_assert_int_eq(judge_tar(&tar, "twice"), ATH_E_INPUT);
    add(&tar, "dump/toc.dat", '0', "no such thing");
    ck_assert_int_eq(judge_tar(&tar, "table of contents of the dump is none"), ATH_E_INPUT);
    add(&tar, "dump/x", '0', "data");
    ck_assert_int_eq(judge_tar(&tar, "no \"dump/toc.dat\""), ATH_E_INPUT);
    add(&tar, "dump/1.dat.gz", '0', "no gzip");
    ck_assert_int_eq(judge_tar(&tar, "\"dump/1.dat.gz\": the compressed data is damaged"),
                     ATH_E_INPUT);
}
END_TEST

/* A dump that holds `data` as its only table's; "dump/" and what is in `way` before the toc.dat. */
static void put_dump(struct buf *tar, const char *way, const char *data)
{
    struct buf toc = BUF_HEAP;
    struct stat st = { .st_mode = S_IFREG | 0600 };
    char name[64];

    toc_head(&toc, 14, 1);
    toc_entry(&toc, 14, 7, "public", "t", "TABLE DATA", "COPY", "7.dat");
    st.st_size = (off_t)toc.n;
    snprintf(name, sizeof(name), "dump/%stoc.dat", way);
    tar_put_head(tar, str_of(name), &st, NULL);
    buf_str(tar, buf_view(&toc));
    tar_put_pad(tar, toc.n);
    snprintf(name, sizeof(name), "dump/%s7.dat", way);
    if (data)
        add(tar, name, '0', data);
    buf_free(&toc);
}

/* A file that is whole but was never finished: pg_dump died, or the disk was full. */
START_TEST(data_without_its_end_is_found)
{
    struct buf tar = BUF_HEAP;

    put_dump(&tar, "", "1\n2\n\\.\n\n\n");
    ck_assert_msg(judge_tar(&tar, NULL) == 0, "%s", lab.why);
    put_dump(&tar, "", "1\n2\n");
    ck_assert_int_eq(judge_tar(&tar, "the data of table \"public.t\" is cut short"), ATH_E_INPUT);
    put_dump(&tar, "", "1\n2\n\\.\n\n\nmore");
    ck_assert_int_eq(judge_tar(&tar, "is cut short"), ATH_E_INPUT);
    put_dump(&tar, "", "");
    ck_assert_int_eq(judge_tar(&tar, "is cut short"), ATH_E_INPUT);
    put_dump(&tar, "", NULL);
    ck_assert_int_eq(judge_tar(&tar, "lacks \"dump/7.dat\""), ATH_E_INPUT);
}
END_TEST

START_TEST(other_places_of_the_dump_are_known)
{
    struct buf tar = BUF_HEAP;

    put_dump(&tar, "dump/", "\\.\n\n\n");
    ck_assert_msg(judge_tar(&tar, NULL) == 0, "%s", lab.why);
    put_dump(&tar, "nightly/", "\\.\n\n\n");
    ck_assert_msg(judge_tar(&tar, NULL) == 0, "%s", lab.why);
    put_dump(&tar, "a/b/", "\\.\n\n\n");
    ck_assert_int_eq(judge_tar(&tar, "no \"dump/toc.dat\""), ATH_E_INPUT);
}
END_TEST

START_TEST(bombs_do_not_go_off)
{
    struct buf tar = BUF_HEAP, gz = BUF_HEAP;
    struct stat st = { .st_mode = S_IFREG | 0600, .st_size = (off_t)1 << 40 };
    char *zeros = calloc(1, 80 << 20);

    /* A file that says it is large, one that is, one that says so in bytes, and zeros without end. */
    tar_put_head(&tar, ATH_S("dump/x"), &st, NULL);
    ck_assert_int_eq(judge_tar(&tar, "more than the"), ATH_E_TOO_LARGE);
    st.st_size = 80 << 20;
    tar_put_head(&tar, ATH_S("dump/x"), &st, NULL);
    buf_mem(&tar, zeros, 80 << 20);
    ck_assert_int_eq(judge_tar(&tar, "more than the"), ATH_E_TOO_LARGE);
    put_dump(&tar, "", "\\.\n\n\n");
    buf_mem(&tar, zeros, 1 << 20);
    ck_assert_int_eq(judge_tar(&tar, "goes on behind its end"), ATH_E_INPUT);

    /* Many files, and a limit of their number. */
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof(name), "dump/%d", i);
        add(&tar, name, '0', "");
    }
    tar_put_end(&tar);
    lab_gzip(&gz, tar.p, tar.n, 6);
    struct archive_unpack u = { .most_files = 100 };
    lab_unpack(&u, buf_view(&gz));
    ck_assert_int_eq(lab.rc, ATH_E_TOO_LARGE);
    manifest_free(&u.manifest);
    buf_free(&tar);
    buf_free(&gz);
    free(zeros);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        whole_archives_are_taken,
        truncated_archives_are_refused,
        flipped_bytes_are_found,
        parts_that_are_swapped_missing_or_repeated_are_found,
        a_stream_of_several_members_is_taken,
        keys_that_are_not_there_are_said,
        an_archive_that_its_manifest_does_not_tell_of_is_refused,
        hostile_names_and_entries_are_refused,
        entries_that_contradict_each_other_are_refused,
        data_without_its_end_is_found,
        other_places_of_the_dump_are_known,
        bombs_do_not_go_off,
    };
    Suite *s = suite_create("damage");
    TCase *c = tcase_create("damage");

    tcase_set_timeout(c, 240);
    tcase_add_unchecked_fixture(c, setup, teardown);
    for (size_t i = 0; i < ATH_COUNT(tests); i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(s, c);
    return s;
}
