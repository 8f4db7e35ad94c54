/* athena: everything is behind server_main(), but for what becomes a child of ours. */
#include <string.h>

#include "base/mem.h"
#include "io/child.h"
#include "server/server.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--as-child") == 0)
        return child_shim(argc, argv);
    mem_large_apart();
    return server_main(argc, argv);
}
