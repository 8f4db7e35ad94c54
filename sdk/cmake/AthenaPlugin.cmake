# athena_embed(TARGET FILE SYMBOL): the text of FILE as `const char SYMBOL[]`, ended by a NUL.
function(athena_embed target file symbol)
    get_filename_component(path ${file} ABSOLUTE)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    file(READ ${path} text)
    string(REPLACE "\\" "\\\\" text "${text}")
    string(REPLACE "\"" "\\\"" text "${text}")
    string(REPLACE "\n" "\\n\"\n    \"" text "${text}")
    set(out ${CMAKE_CURRENT_BINARY_DIR}/${target}.${symbol}.auto.c)
    file(CONFIGURE OUTPUT ${out} @ONLY CONTENT
         "extern const char @symbol@[];\nconst char @symbol@[] =\n    \"@text@\";\n")
    target_sources(${target} PRIVATE ${out})
endfunction()

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
