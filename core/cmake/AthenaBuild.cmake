# Warnings, hardening and sanitizers for everything of ours; foreign sources are built without them.

set(ATHENA_WARNINGS
    -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wwrite-strings -Wformat=2 -Wvla -Wundef -Wno-sign-conversion)

if(CMAKE_C_COMPILER_ID MATCHES "Clang") # gcc leaves functions that take a va_list alone
    list(APPEND ATHENA_WARNINGS -Wno-format-nonliteral)
endif()

set(ATHENA_HARDENING -fstack-protector-strong)
if(CMAKE_BUILD_TYPE MATCHES "Rel" AND NOT ATHENA_SANITIZE)
    list(APPEND ATHENA_HARDENING -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
    # Shadow stacks. Not branch tracking: Linux has it for the kernel only, and its landing pads cost.
    list(APPEND ATHENA_HARDENING -fcf-protection=return)
endif()
set(ATHENA_LINK_HARDENING -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)

if(CMAKE_INTERPROCEDURAL_OPTIMIZATION AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    # At link time gcc 12 warns of copies on paths that cannot be taken (an empty text's last byte).
    add_link_options(-Wno-stringop-overflow)
endif()

add_compile_definitions(_GNU_SOURCE)
if(ATHENA_SANITIZE)
    add_compile_options(-fsanitize=${ATHENA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${ATHENA_SANITIZE})
    if(ATHENA_SANITIZE MATCHES "address")
        add_compile_definitions(ATHENA_ASAN=1)
    endif()
endif()
if(ATHENA_FAULTS)
    add_compile_definitions(ATHENA_FAULTS=1)
endif()
if(ATHENA_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Applies our rules to one target of ours.
function(athena_rules target)
    target_compile_options(${target} PRIVATE ${ATHENA_WARNINGS} ${ATHENA_HARDENING})
endfunction()
