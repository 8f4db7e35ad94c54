# The HTTP parser: pkg-config's libllhttp where a distribution packages it, else the C sources that
# Debian 12 ships with node-llhttp, built here into a static library. Nothing is vendored.
#
# Provides the target LLHTTP::llhttp.

find_package(PkgConfig QUIET)
pkg_check_modules(PC_LLHTTP QUIET IMPORTED_TARGET libllhttp)

if(TARGET PkgConfig::PC_LLHTTP)
    add_library(LLHTTP::llhttp ALIAS PkgConfig::PC_LLHTTP)
    set(LLHTTP_SOURCE "libllhttp ${PC_LLHTTP_VERSION}")
else()
    find_path(LLHTTP_SOURCE_DIR llhttp.c PATHS /usr/share/llhttp /usr/share/nodejs/llhttp/src)
    find_path(LLHTTP_INCLUDE_DIR llhttp.h PATHS /usr/share/include PATH_SUFFIXES llhttp)
    if(LLHTTP_SOURCE_DIR AND LLHTTP_INCLUDE_DIR)
        add_library(llhttp_vendor STATIC ${LLHTTP_SOURCE_DIR}/llhttp.c ${LLHTTP_SOURCE_DIR}/api.c
                                         ${LLHTTP_SOURCE_DIR}/http.c)
        target_include_directories(llhttp_vendor SYSTEM PUBLIC ${LLHTTP_INCLUDE_DIR})
        target_compile_options(llhttp_vendor PRIVATE -w)
        # As version 9 is by itself: without it, what follows a chunk's data is not looked at.
        target_compile_definitions(llhttp_vendor PRIVATE LLHTTP_STRICT_MODE=1)
        add_library(LLHTTP::llhttp ALIAS llhttp_vendor)
        set(LLHTTP_SOURCE ${LLHTTP_SOURCE_DIR})
    endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LLHTTP REQUIRED_VARS LLHTTP_SOURCE
    REASON_FAILURE_MESSAGE "install libllhttp-dev (Debian 13) or node-llhttp (Debian 12)")
