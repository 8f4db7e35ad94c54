/* Included by every test program, which defines test_suite(). */
#ifndef TESTS_SUPPORT_CHECK_MAIN_H
#define TESTS_SUPPORT_CHECK_MAIN_H

#include <check.h>

Suite *test_suite(void);

/* A suite of one test case made of the START_TEST functions named after `name`. */
#define SUITE(name, ...) \
    Suite *test_suite(void) \
    { \
        const TTest *const tests[] = { __VA_ARGS__ }; \
        Suite *s = suite_create(name); \
        TCase *c = tcase_create(name); \
        tcase_set_timeout(c, 120); \
        for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) \
            tcase_add_test(c, tests[i]); \
        suite_add_tcase(s, c); \
        return s; \
    }

#endif
