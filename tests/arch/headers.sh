#!/bin/sh
# headers.sh ROOT: every public header compiles alone, with each compiler that is here, as C11 and C17, and
# with every warning that a plugin's author may have on.
set -eu
cd "$1"
status=0
for cc in gcc clang; do
    command -v $cc >/dev/null || continue
    for std in c11 c17; do
        for header in include/athena/*.h include/athena/service/*.h; do
            echo "#include <${header#include/}>" |
                $cc -std=$std -Wpedantic -Wall -Wextra -Wshadow -Wconversion -Werror -fsyntax-only \
                    -Iinclude -x c - || { echo "$cc -std=$std: $header"; status=1; }
        done
    done
done
exit $status
