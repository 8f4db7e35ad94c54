/* core/server/capabilities.c: what the machine offers, as files and variables say. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "server/capabilities.h"
#include "support/check_main.h"

static char folder[] = "/tmp/athena-capabilities-XXXXXX";
static char path[64], named[96], bucket[32], access_key[32];

static const char *fake_env(const char *name)
{
    if (strcmp(name, "PATH") == 0)
        return path;
    if (strcmp(name, "ATHENA_PG_DUMP_PATH") == 0)
        return named;
    if (strcmp(name, "ATHENA_BACKUP_S3_BUCKET") == 0)
        return bucket;
    if (strcmp(name, "ATHENA_BACKUP_S3_ACCESS_KEY") == 0)
        return access_key;
    return NULL;
}

static void leave(void)
{
    rmdir(folder);
}

/* A folder of our own on PATH, made at the first call. */
static void place(void)
{
    static struct router *router;

    if (router)
        return;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    atexit(leave);
    snprintf(path, sizeof(path), "/nonexistent:%s", folder);
    router = router_new();
    capabilities_start(router, fake_env);
}

static void program(const char *name, mode_t mode)
{
    char file[128];
    FILE *f;

    place();
    snprintf(file, sizeof(file), "%s/%s", folder, name);
    f = fopen(file, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    ck_assert_int_eq(chmod(file, mode), 0);
}

static void removed(const char *name)
{
    char file[128];

    snprintf(file, sizeof(file), "%s/%s", folder, name);
    ck_assert_int_eq(unlink(file), 0);
}

static const char *seen(void)
{
    static struct buf b;

    place();
    buf_reset(&b);
    capabilities_probe();
    capabilities_json(&b);
    return b.p;
}

static void says(const char *piece)
{
    const char *text = seen();

    ck_assert_msg(strstr(text, piece), "\"%s\" is missing in %s", piece, text);
}

START_TEST(tools_are_found_on_path_and_lost_again)
{
    char detail[160];

    says("\"pg_dump\":{\"available\":false,\"detail\":\"pg_dump not found "
         "(ATHENA_PG_DUMP_PATH/PATH)\"}");
    program("pg_dump", 0644);
    says("\"pg_dump\":{\"available\":false");
    removed("pg_dump");
    program("pg_dump", 0755);
    snprintf(detail, sizeof(detail),
             "\"pg_dump\":{\"available\":true,\"detail\":\"resolved at %s/pg_dump\"}", folder);
    says(detail);
    removed("pg_dump");
    says("\"pg_dump\":{\"available\":false");
}
END_TEST

START_TEST(a_variable_names_the_program)
{
    program("other_dump", 0755);
    snprintf(named, sizeof(named), " %s/other_dump ", folder);
    says("/other_dump\"}");
    snprintf(named, sizeof(named), "%s", folder); /* a folder is no program */
    says("\"pg_dump\":{\"available\":false");
    named[0] = 0;
    removed("other_dump");
}
END_TEST

START_TEST(backups_need_the_tool_the_bucket_and_both_keys_or_none)
{
    program("pg_dump", 0755);
    says("\"backup_create\":{\"available\":false,\"detail\":\"Requires pg_dump and S3 access\"}");
    snprintf(bucket, sizeof(bucket), "b");
    says("\"backup_create\":{\"available\":true");
    says("\"backup_restore\":{\"available\":false");
    snprintf(access_key, sizeof(access_key), "k");
    says("\"s3_access\":{\"available\":false");
    bucket[0] = access_key[0] = 0;
    removed("pg_dump");
}
END_TEST

START_TEST(a_route_that_is_not_served_is_not_offered)
{
    says("\"gateway_fetch\":{\"available\":false,\"detail\":\"POST /gateway/fetch is not served");
}
END_TEST

START_TEST(docker_is_looked_for_without_running_it)
{
    struct buf b = BUF_HEAP;

    seen();
    provisioning_json(&b);
    ck_assert_str_eq(b.p, "{\"local_docker\":{\"available\":false,\"status\":\"binary_missing\","
                          "\"detail\":\"The docker program is not on PATH.\",\"hint\":null}}");
    buf_free(&b);
}
END_TEST

SUITE("server/capabilities", tools_are_found_on_path_and_lost_again, a_variable_names_the_program,
      backups_need_the_tool_the_bucket_and_both_keys_or_none,
      a_route_that_is_not_served_is_not_offered, docker_is_looked_for_without_running_it)
