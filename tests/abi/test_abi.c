/* Plugins built against an older and a newer header load into this server; the contract's structs
 * have the sizes that were published. */
#include <dlfcn.h>

#include "unit/plugin/fixtures.h"

static const ath_routes *routes_of(const struct registry *r, const char *name)
{
    ath_self *s = registry_find(r, str_of(name));

    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(s->cap_count, 1);
    return &s->cap[0].routes;
}

/* The second element of each array is where a wrong stride would show. */
static void looks_right(const struct registry *r, const char *name, const char *first,
                        const char *second)
{
    const ath_routes *routes = routes_of(r, name);
    const ath_self *s = registry_find(r, str_of(name));
    const struct {
        ath_str first, second;
    } *config = registry_config(s);

    ck_assert_uint_eq(routes->route_count, 2);
    ck_assert_str_eq(routes->route[0].path, first);
    ck_assert_str_eq(routes->route[1].path, second);
    ck_assert_str_eq(routes->route[1].method, "POST");
    ck_assert_uint_eq(routes->route[1].auth, ATH_AUTH_ADMIN);
    ck_assert_ptr_nonnull(routes->route[1].handle);
    ck_assert_ptr_null(routes->before);
    ck_assert_uint_eq(s->d.field_count, 2);
    ck_assert_str_eq(s->d.field[1].key, "second");
    ck_assert_ptr_null(s->d.field[1].alias);
    ck_assert(str_is(config->first, "one") && str_is(config->second, "two"));
    ck_assert_str_eq(s->d.summary, "From another time");
    ck_assert_ptr_null(*(void **)&s->d.fini);
}

START_TEST(plugins_of_all_times_load)
{
    struct registry *r = registry_new();
    ath_err e;

    fix_begin();
    fix_put("routes-same", NULL);
    fix_put("routes-old", NULL);
    fix_put("routes-new", NULL);
    ck_assert_int_eq(fix_load(r, "routes-same routes-old routes-new", &e), 0);
    looks_right(r, "routes-same", "/same/1", "/same/2");
    looks_right(r, "routes-old", "/old/1", "/old/2");
    looks_right(r, "routes-new", "/new/1", "/new/2");
    registry_free(r);
    fix_end();
}
END_TEST

/* As the plugin wrote them, before the loader made them ours. */
START_TEST(the_fixtures_really_differ)
{
    static const char *const name[] = { "routes-old", "routes-same", "routes-new" };
    uint32_t size[3][2];

    for (int i = 0; i < 3; i++) {
        char path[256];
        const ath_plugin *theirs;
        ath_entry_fn *entry;
        void *object;
        snprintf(path, sizeof(path), "%s/%s.so", FIXTURES, name[i]);
        ck_assert_ptr_nonnull(object = dlopen(path, RTLD_NOW | RTLD_LOCAL));
        *(void **)&entry = dlsym(object, "athena_plugin_v1");
        theirs = entry(&fix_host, NULL);
        size[i][0] = theirs->size;
        size[i][1] = theirs->field_size;
    }
    for (int k = 0; k < 2; k++)
        ck_assert(size[0][k] < size[1][k] && size[1][k] < size[2][k]);
}
END_TEST

#define SIZE(type, bytes)                                                                          \
    {                                                                                              \
#type, sizeof(type), bytes                                                                 \
    }

/* ABI 1.0 on 64-bit Linux. A number here only ever grows, with a line in ABI.md. */
static const struct {
    const char *name;
    size_t now, published;
} sizes[] = {
    SIZE(ath_str, 16),      SIZE(ath_pair, 32),      SIZE(ath_right, 48),
    SIZE(ath_cap, 16),      SIZE(ath_error, 40),     SIZE(ath_err_api, 48),
    SIZE(ath_field, 56),    SIZE(ath_metric, 32),    SIZE(ath_fact, 40),
    SIZE(ath_event, 112),   SIZE(ath_log_api, 32),   SIZE(ath_done, 88),
    SIZE(ath_child, 56),    SIZE(ath_fork, 56),      SIZE(ath_mem_api, 24),
    SIZE(ath_loop_api, 32), SIZE(ath_task_api, 120), SIZE(ath_stream_api, 56),
    SIZE(ath_stmt, 32),     SIZE(ath_query, 88),     SIZE(ath_column, 32),
    SIZE(ath_pg_api, 104),   SIZE(ath_fetch, 112),    SIZE(ath_who, 56),
    SIZE(ath_req_api, 128), SIZE(ath_route, 88),     SIZE(ath_routes, 56),
    SIZE(ath_sink, 80),     SIZE(ath_queue, 280),    SIZE(ath_pace, 72),
    SIZE(ath_worker, 72),   SIZE(ath_act, 32),       SIZE(ath_job_api, 88),
    SIZE(ath_command, 72),  SIZE(ath_check, 40),     SIZE(ath_step, 24),
    SIZE(ath_schema, 48),   SIZE(ath_driver, 32),    SIZE(ath_host, 112),
    SIZE(ath_plugin, 176),  SIZE(ath_schedule, 128), SIZE(ath_due, 56),
    SIZE(ath_put, 32),      SIZE(ath_redrive, 72),
};

START_TEST(structs_have_their_published_sizes)
{
    for (size_t i = 0; i < ATH_COUNT(sizes); i++)
        ck_assert_msg(sizes[i].now == sizes[i].published, "%s has %zu bytes, published are %zu",
                      sizes[i].name, sizes[i].now, sizes[i].published);
}
END_TEST

/* What reads a plugin before anything is known about it. */
START_TEST(the_head_of_the_descriptor_is_frozen)
{
    ck_assert_uint_eq(offsetof(ath_plugin, size), 0);
    ck_assert_uint_eq(offsetof(ath_plugin, abi_major), 4);
    ck_assert_uint_eq(offsetof(ath_plugin, abi_minor), 6);
    ck_assert_uint_eq(offsetof(ath_plugin, layout), 8);
    ck_assert_uint_eq(ATH_LAYOUT, 0x040808);
    ck_assert(ATH_E_BUG == -16 && ATH_CAP_SCHEMA == 8 && ATH_AUTH_OWN == 6);
}
END_TEST

SUITE("abi", plugins_of_all_times_load, the_fixtures_really_differ,
      structs_have_their_published_sizes, the_head_of_the_descriptor_is_frozen)
