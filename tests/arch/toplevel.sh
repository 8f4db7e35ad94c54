#!/bin/sh
# toplevel.sh ROOT: the root holds what the architecture lists, and files that tools insist on finding.
set -eu
cd "$1"
status=0
for entry in $(ls); do
    case $entry in
    CMakeLists.txt | core | plugins | sdk | include | tests | etc | packaging | README.md) ;;
    LICENSE | CMakePresets.json | build | compile_commands.json) ;;
    *)
        echo "\"$entry\" does not belong in the root"
        status=1
        ;;
    esac
done
exit $status
