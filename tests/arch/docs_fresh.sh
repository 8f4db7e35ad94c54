#!/bin/sh
# docs_fresh.sh ROOT ATHENA: the samples in etc/ are what the server would print today, and it accepts each of them.
set -eu
cd "$1"
athena=$2
status=0
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

etc/refresh "$athena" "$fresh"
for sample in config.yaml plugins.d; do
    diff -ru "etc/$sample" "$fresh/$sample" || status=1
done
[ $status = 0 ] || echo "etc/ is old: cmake --build build/release --target docs"

check() { # SAMPLE: accepted without a word when its variables are set; else the missing one is named
    said=$(env -i ASAN_OPTIONS="${ASAN_OPTIONS:-}" POSTGRES_APP_URI=postgres://app@db.internal/app \
        POSTGRES_ATHENA_LOGGING_URI=postgres://athena@db.internal/athena "$athena" check-config --config "$1" 2>&1) || status=1
    case $said in
    "$1: configuration accepted, "[0-9]*" plugins, "[12]" clients") ;;
    *) echo "$said" && status=1 ;;
    esac
    if said=$(env -i ASAN_OPTIONS="${ASAN_OPTIONS:-}" "$athena" check-config --config "$1" 2>&1); then
        echo "$1: accepted without the variables of its clients" && status=1
    fi
    case $said in
    *POSTGRES_APP_URI*) ;;
    *) echo "$said" && status=1 ;;
    esac
}
for sample in etc/config.yaml etc/roles/*.yaml; do
    check "$sample"
done
exit $status
