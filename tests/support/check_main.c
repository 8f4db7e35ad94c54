/* main() of every test program: runs the suite that the file brings. Like the server's own it
 * starts children through itself.
 *
 * What fails is said at once: check tells it at the end, which a program does not reach that then
 * dies of what the failed test has left behind.
 */
#include "support/check_main.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/child.h"

/* The linker puts the first in the place of check's own, which is the second (--wrap). */
_Noreturn void __wrap__ck_assert_failed(const char *file, int line, const char *expr,
                                        const char *msg, ...);
_Noreturn void __real__ck_assert_failed(const char *file, int line, const char *expr,
                                        const char *msg, ...);

_Noreturn void __wrap__ck_assert_failed(const char *file, int line, const char *expr,
                                        const char *msg, ...)
{
    char text[4096];
    va_list ap;

    va_start(ap, msg);
    vsnprintf(text, sizeof(text), msg ? msg : "", ap);
    va_end(ap);
    fprintf(stderr, "FAILED %s:%d: %s%s%s\n", file, line, expr, msg ? ": " : "", text);
    __real__ck_assert_failed(file, line, expr, msg ? "%s" : NULL, text);
}

int main(int argc, char **argv)
{
    SRunner *runner;
    int failed;

    if (argc > 1 && strcmp(argv[1], "--as-child") == 0)
        return child_shim(argc, argv);
    runner = srunner_create(test_suite());
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
