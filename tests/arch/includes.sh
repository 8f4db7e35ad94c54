#!/bin/sh
# includes.sh ROOT: who may include whom.
#
#   include/    <stdarg.h> <stddef.h> <stdint.h> and itself
#   sdk/lib/    the contract, itself, the C library
#   plugins/    the contract, sdk/lib, its own folder, plugins/shared, libraries; never the core
#   core/       the contract, sdk/lib, its own layer and those that its athena_layer() line names
#
# and which layer alone may use which library.
set -eu
cd "$1"
{
    sed -n 's/^athena_layer(\([a-z]*\).*/& /p' core/CMakeLists.txt
    echo FILES
    grep -rn --include='*.[ch]' '^ *# *include' include sdk core plugins
} | awk '
    function fail(words) { print at ": " words; failed = 1 }
    function library(layer, header) {
        if (header == "yaml.h") return layer == "config" || at ~ /^core\/base\/gen\//
        if (header == "uv.h") return layer ~ /^(io|db|http|plugin|server)$/
        if (header ~ /^(libpq-fe|pg_config|libpq\/)/) return layer == "db"
        if (header == "llhttp.h" || header == "zlib.h") return layer == "http"
        if (header ~ /^openssl\//) return layer ~ /^(io|db)$/
        if (header ~ /^curl\//) return layer == "http"
        if (header ~ /^hiredis\//) return layer == "db"
        return 1
    }
    /^FILES$/ { files = 1; next }
    !files {
        layer = $0; sub(/^athena_layer\(/, "", layer); sub(/[ )].*/, "", layer)
        uses = $0; sub(/.*USES/, "", uses); sub(/LIBS.*/, "", uses); sub(/\).*/, "", uses)
        sees[layer] = ($0 ~ /USES/ ? uses : "") " " layer " "
        next
    }
    {
        split($0, part, ":")
        file = part[1]; at = part[1] ":" part[2]
        own = file; sub(/\/[^\/]*$/, "", own)
        quoted = match($0, /"[^"]*"/); if (!quoted) match($0, /<[^>]*>/)
        header = substr($0, RSTART + 1, RLENGTH - 2)
        room = header; sub(/\/.*/, "", room)
        if (header ~ /^athena\//) {
            if (quoted) fail("the contract is included as <" header ">")
            next
        }
        if (header ~ /\.auto\.[ch]$/) next
    }
    file ~ /^include\// {
        if (header !~ /^std(arg|def|int)\.h$/) fail("include/ must not include " header)
        next
    }
    file ~ /^sdk\/lib\// {
        if (quoted ? room != "lib" : !library("sdk", header)) fail("sdk/lib must not include " header)
        next
    }
    file ~ /^core\// {
        layer = file; sub(/^core\//, "", layer); sub(/\/.*/, "", layer)
        if (layer ~ /\.c$/) layer = "server" # main.c
        if (!quoted) { if (!library(layer, header)) fail("only another layer may use <" header ">") }
        else if (room != "lib" && index(sees[layer] " ", " " room " ") == 0)
            fail("layer " layer " must not include \"" header "\"")
        next
    }
    file ~ /^plugins\// {
        if (!quoted) { if (header == "llhttp.h") fail("a plugin speaks no HTTP of its own"); next }
        if (room == "lib" || header !~ /\//) {
            if (header !~ /\// && system("test -f " own "/" header) != 0 &&
                system("ls plugins/shared/*/" header " >/dev/null 2>&1") != 0)
                fail("\"" header "\" is not in the plugin'"'"'s own folder")
        } else if (system("test -f plugins/shared/" header) != 0)
            fail("a plugin must not include \"" header "\"")
    }
    END { exit failed }'
