#!/bin/sh
# symbols.sh FOLDER: each plugin exports athena_plugin_v1 and nothing else, and uses no name that is not
# in a library that it declares.
set -eu
status=0
have=$(mktemp)
trap 'rm -f "$have"' EXIT
for so in "$1"/*.so; do
    exported=$(nm -D --defined-only "$so" | awk '$2 != "A" && $3 !~ /^__odr_asan/ { print $3 }' | sort | tr '\n' ' ')
    if [ "$exported" != "athena_plugin_v1 " ]; then
        echo "$so exports: $exported"
        status=1
    fi
    # A sanitizer's runtime is in the executable.
    ldd "$so" | awk '$3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' |
        xargs nm -D --defined-only 2>/dev/null | awk 'NF == 3 { sub(/@.*/, "", $3); print $3 }' | sort -u >"$have"
    unknown=$(nm -D --undefined-only "$so" | awk '$1 == "U" { sub(/@.*/, "", $2); print $2 }' |
        grep -Ev '^__(asan|ubsan|tsan|lsan|sanitizer)_' | sort -u | comm -23 - "$have" | tr '\n' ' ')
    if [ -n "$unknown" ]; then
        echo "$so uses what no library of its has: $unknown"
        status=1
    fi
done
exit $status
