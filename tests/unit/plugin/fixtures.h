/* What the loader's tests share: a folder of plugins made for one test, a host, a filler of
 * configs. */
#ifndef TESTS_UNIT_PLUGIN_FIXTURES_H
#define TESTS_UNIT_PLUGIN_FIXTURES_H

#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/err.h"
#include "lib/buf.h"
#include "plugin/load.h"
#include "support/check_main.h"

static char fix_dir[] = "/tmp/athena-plugins-XXXXXX";

static void fix_begin(void)
{
    memcpy(fix_dir + sizeof(fix_dir) - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(fix_dir));
    unsetenv("ATHENA_FIXTURE_RAN");
}

/* Runs a command whose words are `before`, the folder and, without a blank between, `after`. */
static void fix_run(const char *before, const char *after)
{
    char line[512];

    snprintf(line, sizeof(line), "%s %s%s", before, fix_dir, after);
    ck_assert_int_eq(system(line), 0);
}

/* Copies a fixture into the folder, under another name if wanted: copies are separate objects, so
 * each test has plugins of its own. */
static void fix_put(const char *fixture, const char *as)
{
    char line[512];

    snprintf(line, sizeof(line), "install -m 0755 %s/%s.so %s/%s.so", FIXTURES, fixture, fix_dir,
             as ? as : fixture);
    ck_assert_int_eq(system(line), 0);
}

static void fix_end(void)
{
    fix_run("rm -r", "");
}

static int fix_fail(ath_err *e, int rc, const char *fmt, va_list ap)
{
    return err_fail_v(e, rc, fmt, ap);
}

static const void *fix_service(ath_self *s, const char *name, uint32_t version)
{
    return registry_service(s, name, version);
}

/* Enough of a host for plugins that serve nothing. */
static const ath_err_api fix_err_api = { .size = sizeof(fix_err_api), .fail = fix_fail };
static const ath_host fix_host = {
    .size = sizeof(fix_host),
    .abi_major = ATH_ABI_MAJOR,
    .abi_minor = ATH_ABI_MINOR,
    .version = "test",
    .err = &fix_err_api,
    .service = fix_service,
};

static const char *fix_key, *fix_value; /* what the "file" says; the rest are defaults */

static int fix_fill(void *arg, const char *section, const ath_field *field, uint32_t count,
                    void *config, ath_arena *a, ath_err *e)
{
    (void)arg;
    for (uint32_t i = 0; i < count; i++) {
        const ath_field *f = &field[i];
        char *at = (char *)config + f->off;
        const char *text = fix_key && strcmp(f->key, fix_key) == 0 ? fix_value : f->def;
        bool on = false;
        int64_t n = 0;
        if (strcmp(text, "wrong") == 0)
            return err_fail(e, ATH_E_CONFIG, "file:1:1: %s of %s is wrong", f->key, section);
        switch (f->type) {
        case ATH_T_STR:
            *(ath_str *)at = arena_str(a, str_of(text));
            break;
        case ATH_T_BOOL:
            ck_assert(str_bool(str_of(text), &on));
            *(int32_t *)at = on;
            break;
        case ATH_T_MSEC:
            ck_assert(str_msec(str_of(text), (uint64_t *)at));
            break;
        case ATH_T_BYTES:
            ck_assert(str_bytes(str_of(text), (uint64_t *)at));
            break;
        default:
            ck_assert(str_i64(str_of(text), &n));
            *(int64_t *)at = n;
        }
    }
    return 0;
}

/* Loads the names between blanks; those behind a `?` are optional. */
ATH_UNUSED static int fix_load(struct registry *r, const char *names, ath_err *e)
{
    static char text[256];
    const char *plugin[16], *optional[16];
    struct load_options o = {
        .dir = fix_dir,
        .plugin = plugin,
        .optional = optional,
        .host = &fix_host,
        .fill = fix_fill,
        .kinds = PLUGIN_ROUTES | PLUGIN_SINK | PLUGIN_WORKER | PLUGIN_DRIVER,
    };
    char *save = NULL;

    snprintf(text, sizeof(text), "%s", names);
    for (char *p = strtok_r(text, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        if (*p == '?')
            optional[o.optional_count++] = p + 1;
        else
            plugin[o.plugin_count++] = p;
    }
    return registry_load(r, &o, e);
}

/* The words of all refusals, the folder's name as DIR. */
ATH_UNUSED static const char *fix_refusals(const struct registry *r)
{
    static char text[8192];
    struct buf b = BUF_HEAP;
    const char *from, *hit;
    size_t n = 0;

    registry_print_refusals(r, &b);
    for (from = buf_view(&b).p; (hit = strstr(from, fix_dir)); from = hit + strlen(fix_dir))
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*sDIR", (int)(hit - from), from);
    snprintf(text + n, sizeof(text) - n, "%s", from);
    buf_free(&b);
    return text;
}

#endif
