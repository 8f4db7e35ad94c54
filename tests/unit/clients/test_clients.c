/* plugins/shared/clients: URIs as the catalogue has them. */
#include "base/arena.h"
#include "clients/register.h"
#include "lib/text.h"
#include "support/check_main.h"
#include "support/testhost.h"

START_TEST(uris_are_written_one_way)
{
    static const char *const uri[][2] = {
        { "postgres://u:p@h/d", "postgresql://u:p@h/d" },
        { "athena://h/d?x=postgres://y", "postgresql://h/d?x=postgres://y" },
        { "postgresql://h/d", "postgresql://h/d" },
        { "host=h dbname=d", "host=h dbname=d" },
        { "", "" },
    };
    ath_arena a;

    arena_init(&a);
    testhost_pg(NULL);
    for (size_t i = 0; i < ATH_COUNT(uri); i++)
        ck_assert(str_is(client_uri_normal(&a, str_of(uri[i][0])), uri[i][1]));
    arena_free(&a);
}
END_TEST

Suite *test_suite(void)
{
    Suite *s = suite_create("clients");
    TCase *t = tcase_create("clients");

    tcase_add_test(t, uris_are_written_one_way);
    suite_add_tcase(s, t);
    return s;
}
