#!/bin/sh
# sizes.sh ROOT: no function over 80 lines, no file over 900. sizes.allow lists exceptions with reasons;
# one that is not needed any more fails too.
set -eu
cd "$1"
find include core plugins sdk tests -name '*.[ch]' ! -name '*.auto.*' ! -name '*.vendor.*' | sort |
    xargs awk -v function_most=80 -v file_most=900 -v allow=tests/arch/sizes.allow '
    BEGIN {
        while ((getline line < allow) > 0) {
            if (line ~ /^#/ || line == "") continue
            split(line, word, /[ \t]+/)
            if (line !~ /[ \t]# ./) fail(allow ": \"" word[1] "\" has no reason")
            allowed[word[1]] = word[2]
        }
    }
    function fail(words) { print words; failed = 1 }
    function judge(what, n, most) {
        if (n <= most) return
        if (!(what in allowed)) fail(what " has " n " lines, over the limit of " most)
        else if (n > allowed[what]) fail(what " has " n " lines, over the " allowed[what] " allowed to it")
        used[what] = 1
    }
    function file_end() { if (file != "") judge(file, lines, file_most) }
    FNR == 1 { file_end(); file = FILENAME; open = 0 }
    { lines = FNR }
    /^[A-Za-z_].*\(/ && !/;$/ && !open { head = FNR; name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
    /^\{$/ { open = 1 }
    /^\}/ { if (open) judge(file ":" name, FNR - head + 1, function_most); open = 0 }
    END {
        file_end()
        for (what in allowed) if (!(what in used)) fail(allow ": \"" what "\" is not needed any more")
        exit failed
    }'
