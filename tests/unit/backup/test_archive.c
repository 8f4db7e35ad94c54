/* Archives that are as they should be: packed, told, unpacked; and what the published server wrote. */
#include "archivelab.h"

#include <dirent.h>

#include "lib/json.h"

static const char key_text[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static void unpack_as(const struct archive_pack *p, const struct seal_ring *ring, size_t piece,
                      const char *folder)
{
    struct archive_unpack u = { .folder = str_of(folder),
                                .ring = ring,
                                .told = &p->manifest,
                                .rows = true };

    lab.piece = piece;
    lab_unpack(&u, buf_view(&lab.output));
    ck_assert_msg(lab.rc == 0, "%s", lab.why);
    if (folder[0])
        ck_assert(str_starts(str_of(u.dump), folder) && str_ends(str_of(u.dump), "/dump"));
    else
        ck_assert_ptr_null(u.dump);
    free(u.dump);
    manifest_free(&u.manifest);
}

static void same_files(const char *a, const char *b, const struct manifest *m)
{
    struct buf x = BUF_HEAP, y = BUF_HEAP;
    char path[320];

    for (size_t i = 0; i < m->files; i++) {
        buf_reset(&x);
        buf_reset(&y);
        snprintf(path, sizeof(path), "%s/%s", a, m->file[i].name + 5);
        lab_read(path, &x);
        snprintf(path, sizeof(path), "%s/%s", b, m->file[i].name);
        lab_read(path, &y);
        ck_assert_msg(str_eq(buf_view(&x), buf_view(&y)), "%s", path);
    }
    buf_free(&x);
    buf_free(&y);
}

/* Packs FOLDER, decodes it, unpacks it, and looks whether all is as it was; plain and sealed. */
static void round_trip(const char *folder, size_t files)
{
    struct seal_ring ring;

    lab_ring(&ring, key_text);
    for (int sealed = 0; sealed < 2; sealed++) {
        struct archive_pack p = { .folder = str_of(folder),
                                  .ring = sealed ? &ring : NULL,
                                  .level = ARCHIVE_LEVEL,
                                  .rows = true };
        char room[64];
        ath_str out = lab_folder(room);
        ck_assert_msg(lab_pack(&p) == 0, "%s", lab.why);
        ck_assert_uint_eq(p.manifest.files, files);
        ck_assert_uint_eq(p.manifest.bytes, lab.output.n);
        ck_assert_str_eq(p.manifest.seal_key, sealed ? ring.id[0] : "");
        ck_assert_str_eq(p.manifest.file[0].name, "dump/toc.dat");
        unpack_as(&p, &ring, 7777, "");
        unpack_as(&p, &ring, 0, out.p);
        snprintf(room + out.n, sizeof(room) - out.n, "%s", "");
        same_files(folder, room, &p.manifest);
        lab_remove(room);
        manifest_free(&p.manifest);
    }
}

START_TEST(files_of_all_sizes_come_back)
{
    static const size_t size[] = { 0, 1, 511, 512, 513, 65535, 65536, 65537, 1 << 20,
                                   (1 << 20) + 1, 5 << 20 };
    char room[64], name[32];
    ath_str folder = lab_folder(room);
    uint8_t *p = malloc(5 << 20);
    uint64_t seed = 42;

    for (size_t i = 0; i < 5 << 20; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(seed >> 56);
    }
    lab_dump(folder.p, 1, 10);
    for (size_t i = 0; i < ATH_COUNT(size); i++) {
        snprintf(name, sizeof(name), "blob_%zu.dat", i);
        lab_write(folder.p, name, p, size[i]);
    }
    round_trip(folder.p, ATH_COUNT(size) + 2);
    free(p);
    lab_remove(folder.p);
}
END_TEST

START_TEST(two_thousand_tables_come_back)
{
    char room[64];
    ath_str folder = lab_folder(room);

    lab_dump(folder.p, 2000, 3);
    round_trip(folder.p, 2001);
    lab_remove(folder.p);
}
END_TEST

/* D-55: what is compressed already is stored as it is, and what is not is compressed. */
START_TEST(data_is_compressed_once)
{
    char room[64];
    ath_str folder = lab_folder(room);
    struct archive_pack p = { .folder = folder, .level = ARCHIVE_LEVEL };
    struct buf text = BUF_HEAP;

    lab_dump(folder.p, 1, 30000);
    ck_assert_int_eq(lab_pack(&p), 0);
    uint64_t data = p.folder_bytes;
    ck_assert_uint_gt(lab.output.n, data - data / 50);
    ck_assert_uint_lt(lab.output.n, data + data / 50 + 4096);
    manifest_free(&p.manifest);
    for (int i = 0; i < 100000; i++)
        buf_lit(&text, "the same again and again\n");
    lab_write(folder.p, "blob_1.dat", text.p, text.n);
    ck_assert_int_eq(lab_pack(&p), 0);
    ck_assert_uint_lt(lab.output.n, data + text.n / 50);
    manifest_free(&p.manifest);
    buf_free(&text);
    lab_remove(folder.p);
}
END_TEST

/* D-40: however large a backup is, only some of it is in memory: what was read of the folder and not
 * yet taken by the reader, and what was sent and not yet taken apart. */
enum { AHEAD = 6 << 20, LARGE = 40 << 20 };
static uint64_t most_ahead, steps;

static void packed_so_far(void *arg, uint64_t bytes)
{
    uint64_t taken = lab.output.n;

    (void)arg;
    steps++;
    most_ahead = bytes > taken && bytes - taken > most_ahead ? bytes - taken : most_ahead;
}

static void unpacked_so_far(void *arg, uint64_t bytes)
{
    (void)arg;
    steps++;
    most_ahead = lab.sent - bytes > most_ahead ? lab.sent - bytes : most_ahead;
}

START_TEST(memory_does_not_grow_with_the_backup)
{
    char room[64];
    ath_str folder = lab_folder(room);
    struct archive_pack p = { .folder = folder, .level = 0, .moved = packed_so_far };
    struct archive_unpack u = { .moved = unpacked_so_far };
    char *large = calloc(1, LARGE);

    lab_dump(folder.p, 1, 10);
    lab_write(folder.p, "blob_1.dat", large, LARGE);
    most_ahead = steps = 0;
    ck_assert_msg(lab_pack(&p) == 0, "%s", lab.why);
    ck_assert_uint_ge(p.manifest.bytes, LARGE);
    ck_assert_uint_ge(steps, LARGE >> 20);
    ck_assert_uint_lt(most_ahead, AHEAD);
    most_ahead = steps = 0;
    lab.piece = 65536;
    lab_unpack(&u, buf_view(&lab.output));
    ck_assert_msg(lab.rc == 0, "%s", lab.why);
    ck_assert_uint_gt(steps, 1);
    ck_assert_uint_lt(most_ahead, AHEAD);
    manifest_free(&p.manifest);
    manifest_free(&u.manifest);
    free(large);
    lab_remove(folder.p);
}
END_TEST

START_TEST(rows_are_counted_and_summed_up)
{
    char room[64];
    ath_str folder = lab_folder(room);
    struct archive_pack p = { .folder = folder, .level = ARCHIVE_LEVEL, .rows = true };
    struct archive_pack again = { .folder = folder, .rows = true };

    lab_dump(folder.p, 3, 1000);
    ck_assert_int_eq(lab_pack(&p), 0);
    ck_assert_uint_eq(p.manifest.tables, 3);
    ck_assert(p.manifest.rows);
    ck_assert_str_eq(p.manifest.table[1].schema, "public");
    ck_assert_str_eq(p.manifest.table[1].name, "table 1");
    ck_assert_uint_eq(p.manifest.table[1].rows, 1000);
    ck_assert_str_eq(p.manifest.database, "shop");
    ck_assert_str_eq(p.manifest.tool_version, "15.20");
    ck_assert_msg(lab_count(&again) == 0, "%s", lab.why);
    ck_assert_int_eq(manifest_compare_tables(&again.manifest, &p.manifest, NULL), 0);
    manifest_free(&again.manifest);

    lab_dump(folder.p, 3, 999);
    again = (struct archive_pack){ .folder = folder, .rows = true };
    ck_assert_int_eq(lab_count(&again), 0);
    ath_err e;
    err_reset(&e);
    ck_assert_int_eq(manifest_compare_tables(&again.manifest, &p.manifest, &e), ATH_E_INPUT);
    ck_assert_str_eq(err_get(&e, "message").p,
                     "table \"public.table 0\" has 999 rows instead of 1000");
    manifest_free(&again.manifest);
    manifest_free(&p.manifest);
    lab_remove(folder.p);
}
END_TEST

/* The folder cannot be packed: the words say why, and whoever reads the stream learns it. */
START_TEST(what_cannot_be_packed_is_said)
{
    char room[64], path[128];
    ath_str folder = lab_folder(room);
    struct archive_pack p = { .folder = folder, .level = ARCHIVE_LEVEL };

    ck_assert_int_eq(lab_pack(&p), ATH_E_INPUT);
    ck_assert_str_eq(lab.why, "the archive holds no \"dump/toc.dat\"");
    lab_dump(folder.p, 1, 10);
    snprintf(path, sizeof(path), "%s/link", folder.p);
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    ck_assert_int_eq(lab_pack(&p), ATH_E_INPUT);
    ck_assert_str_eq(lab.why, "\"link\" in the dump's folder is no file");
    unlink(path);
    snprintf(path, sizeof(path), "%s/3000.dat.gz", folder.p);
    unlink(path);
    ck_assert_int_eq(lab_pack(&p), ATH_E_INPUT);
    ck_assert_str_eq(lab.why, "the archive lacks \"dump/3000.dat\", the data of \"public.table 0\"");
    p.folder = ATH_S("/nowhere");
    ck_assert_int_eq(lab_pack(&p), ATH_E_MISSING);
    manifest_free(&p.manifest);
    lab_remove(folder.p);
}
END_TEST

START_TEST(an_archive_of_the_published_server_is_read)
{
    char path[512], room[64];
    struct buf b = BUF_HEAP;
    ath_str folder = lab_folder(room);
    struct archive_unpack u = { .folder = folder, .rows = true };

    snprintf(path, sizeof(path), "%.*s../../wire/recorded/backup-sample.tar.gz",
             (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__);
    lab_read(path, &b);
    lab.piece = 100;
    lab_unpack(&u, buf_view(&b));
    ck_assert_msg(lab.rc == 0, "%s", lab.why);
    ck_assert_uint_eq(u.manifest.files, 4);
    ck_assert_uint_eq(u.manifest.tables, 3);
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_eq(u.manifest.table[i].rows,
                          strcmp(u.manifest.table[i].name, "products") == 0 ? 60 : 3);
    ck_assert_str_eq(u.manifest.server_version, "15.20 (Debian 15.20-0+deb12u1)");
    snprintf(path, sizeof(path), "%s/toc.dat", u.dump);
    ck_assert_int_eq(access(path, R_OK), 0);
    free(u.dump);
    manifest_free(&u.manifest);
    buf_free(&b);
    lab_remove(folder.p);
}
END_TEST

/* Our tar has the very headers of the published server's: the folder first, GNU, names of owners
 * empty. */
START_TEST(the_layout_is_the_published_one)
{
    char room[64], tar[4096];
    ath_str folder = lab_folder(room);
    struct archive_pack p = { .folder = folder, .level = ARCHIVE_LEVEL };
    gzFile gz;
    FILE *f;

    lab_dump(folder.p, 1, 10);
    ck_assert_int_eq(lab_pack(&p), 0);
    lab_write(folder.p, "archive", lab.output.p, lab.output.n);
    snprintf(tar, sizeof(tar), "%s/archive", folder.p);
    gz = gzopen(tar, "rb");
    ck_assert_int_eq(gzread(gz, tar, 1024), 1024);
    gzclose(gz);
    ck_assert_str_eq(tar, "dump/");
    ck_assert_int_eq(tar[156], '5');
    ck_assert_str_eq(tar + 124, "00000000000");
    ck_assert_mem_eq(tar + 257, "ustar  \0\0", 9);
    ck_assert_str_eq(tar + 512, "dump/toc.dat");
    ck_assert_int_eq(tar[512 + 156], '0');
    ck_assert_int_eq(tar[512 + 148 + 7], 0);
    snprintf(tar, sizeof(tar), "tar tzf %s/archive", folder.p);
    f = popen(tar, "r");
    tar[fread(tar, 1, sizeof(tar) - 1, f)] = 0;
    ck_assert_int_eq(pclose(f), 0);
    ck_assert_str_eq(tar, "dump/\ndump/toc.dat\ndump/3000.dat.gz\n");
    manifest_free(&p.manifest);
    lab_remove(folder.p);
}
END_TEST

START_TEST(manifests_are_read_as_they_were_written)
{
    char room[64];
    ath_str folder = lab_folder(room);
    struct archive_pack p = { .folder = folder, .level = ARCHIVE_LEVEL, .rows = true };
    struct buf text = BUF_HEAP, again = BUF_HEAP;
    struct manifest m;
    ath_arena a;
    ath_err e;

    arena_init(&a);
    lab_dump(folder.p, 2, 10);
    manifest_set(&p.manifest.client, ATH_S("shop"));
    manifest_set(&p.manifest.key, ATH_S("backups/shop/\"odd\".tar.gz"));
    ck_assert_int_eq(lab_pack(&p), 0);
    snprintf(p.manifest.seal_key, sizeof(p.manifest.seal_key), "0a1b2c3d");
    manifest_json(&text, &p.manifest);
    err_reset(&e);
    ck_assert_msg(manifest_read(&m, buf_view(&text), JSON_ARENA(&a), &e) == 0, "%s",
                  err_get(&e, "message").p);
    ck_assert_int_eq(manifest_compare(&m, &p.manifest, &e), 0);
    manifest_json(&again, &m);
    ck_assert_str_eq(text.p, again.p);
    manifest_free(&m);

    /* Whatever byte is missing at the end, or wrong, it is none or another one, and nothing breaks. */
    for (size_t n = 0; n + 2 < text.n; n += 7) {
        ck_assert_int_lt(manifest_read(&m, str_from(text.p, n), JSON_ARENA(&a), &e), 0);
        text.p[n] ^= 1;
        if (manifest_read(&m, buf_view(&text), JSON_ARENA(&a), &e) == 0)
            manifest_free(&m);
        text.p[n] ^= 1;
    }
    buf_reset(&text);
    buf_lit(&text, "{\"version\":2}");
    ck_assert_int_eq(manifest_read(&m, buf_view(&text), JSON_ARENA(&a), &e), ATH_E_INPUT);
    ck_assert_str_eq(err_get(&e, "message").p, "the manifest has version 2, which is not known");
    buf_free(&text);
    buf_free(&again);
    manifest_free(&p.manifest);
    arena_free(&a);
    lab_remove(folder.p);
}
END_TEST

/* Each version of the table of contents that there is. */
START_TEST(tables_of_contents_of_all_versions_are_read)
{
    for (int minor = 12; minor <= 17; minor++) {
        struct archive_unpack u = { .rows = true };
        struct buf toc = BUF_HEAP, tar = BUF_HEAP, gz = BUF_HEAP;
        struct stat st = { .st_mode = S_IFREG | 0600 };
        static const char data[] = "1\ta\n2\tb\n\\.\n\n\n";
        toc_head(&toc, minor, 2);
        toc_entry(&toc, minor, 1, "a b", "c d", "TABLE", NULL, "");
        toc_entry(&toc, minor, 2, "a b", "c d", "TABLE DATA", "COPY", "2.dat");
        st.st_size = (off_t)toc.n;
        tar_put_head(&tar, ATH_S("dump/toc.dat"), &st, NULL);
        buf_str(&tar, buf_view(&toc));
        tar_put_pad(&tar, toc.n);
        st.st_size = sizeof(data) - 1;
        tar_put_head(&tar, ATH_S("dump/2.dat"), &st, NULL);
        buf_lit(&tar, "1\ta\n2\tb\n\\.\n\n\n");
        tar_put_pad(&tar, sizeof(data) - 1);
        tar_put_end(&tar);
        lab_gzip(&gz, tar.p, tar.n, 1);
        lab_unpack(&u, buf_view(&gz));
        if (minor == 17) {
            ck_assert_int_eq(lab.rc, ATH_E_INPUT);
            ck_assert_str_eq(lab.why, "\"dump/toc.dat\": the table of contents of the dump has "
                                      "version 1.17, which is not known");
        } else {
            ck_assert_msg(lab.rc == 0, "1.%d: %s", minor, lab.why);
            ck_assert_uint_eq(u.manifest.tables, 1);
            ck_assert_str_eq(u.manifest.table[0].schema, "a b");
            ck_assert_str_eq(u.manifest.table[0].name, "c d");
            ck_assert_uint_eq(u.manifest.table[0].rows, 2);
        }
        manifest_free(&u.manifest);
        buf_free(&toc);
        buf_free(&tar);
        buf_free(&gz);
    }
}
END_TEST

SUITE("archive", files_of_all_sizes_come_back, two_thousand_tables_come_back,
      data_is_compressed_once, memory_does_not_grow_with_the_backup, rows_are_counted_and_summed_up, what_cannot_be_packed_is_said,
      an_archive_of_the_published_server_is_read, the_layout_is_the_published_one,
      manifests_are_read_as_they_were_written, tables_of_contents_of_all_versions_are_read)
