/* main() of every test program: runs the suite that the file brings. Like the server's own it starts
 * children through itself. */
#include "support/check_main.h"

#include <stdlib.h>
#include <string.h>

#include "io/child.h"

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
