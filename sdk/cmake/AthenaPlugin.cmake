# athena_add_plugin(NAME SOURCES ... [LIBS ...] [NO_SDK]): one shared object with one exported name.
# It may not call what it does not link (-z defs), so a call into the server's internals fails here.
function(athena_add_plugin name)
    cmake_parse_arguments(A "NO_SDK" "" "SOURCES;LIBS" ${ARGN})
    add_library(${name} MODULE ${A_SOURCES})
    set_target_properties(${name} PROPERTIES PREFIX "" C_VISIBILITY_PRESET hidden
        LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins/lib)
    target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(${name} PRIVATE Athena::headers ${A_LIBS})
    if(NOT A_NO_SDK)
        target_link_libraries(${name} PRIVATE athena_sdk)
    endif()
    target_link_options(${name} PRIVATE -Wl,-z,now -Wl,-z,relro -Wl,--exclude-libs,ALL)
    if(NOT ATHENA_SANITIZE) # a sanitizer's runtime is in the executable, not in the plugin
        target_link_options(${name} PRIVATE -Wl,-z,defs)
    endif()
    if(COMMAND athena_rules)
        athena_rules(${name})
    endif()
endfunction()
