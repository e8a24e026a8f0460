# espnet_embed(target path/to/seg.onnx) puts a file and its manifest, path/to/seg.onnx.json, into `target`, a program or
# a library that links espnet::runtime:
#
#     #include <espnet_embedded/seg_onnx.hpp>
#     auto net = espnet::Network::open(espnet::embedded::seg_onnx);
#
# The name is the file's, made an identifier. The words of a language model, the vocabulary that its manifest names, come
# along as the text espnet::embedded::lm_onnx_vocabulary; their file lies beside the manifest. The build fails where the manifest is missing or has another SHA-256 than
# a file, and builds again when one of them changes. The assembler reads the bytes: no compiler sees them. GCC and
# Clang, for ELF.

if(NOT CMAKE_SCRIPT_MODE_FILE)
    set(ESPNET_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE} CACHE INTERNAL "")

    # The path of the vocabulary that `manifest` names; empty where it names none.
    function(_espnet_vocabulary manifest out)
        file(READ ${manifest} text)
        set(${out} "" PARENT_SCOPE)
        if(text MATCHES "\"vocabulary\"[ \t\r\n]*:[ \t\r\n]*{[^{}]*\"name\"[ \t\r\n]*:[ \t\r\n]*\"([^\"/]+)\"")
            get_filename_component(folder ${manifest} DIRECTORY)
            set(${out} ${folder}/${CMAKE_MATCH_1} PARENT_SCOPE)
        endif()
    endfunction()

    function(espnet_embed target file)
        if(NOT TARGET ${target})
            message(FATAL_ERROR "espnet_embed: there is no target \"${target}\"; call it after add_executable or add_library")
        endif()
        get_filename_component(path ${file} ABSOLUTE)
        get_filename_component(name ${path} NAME)
        string(MAKE_C_IDENTIFIER ${name} identifier)
        string(MAKE_C_IDENTIFIER espnet_embedded_${target}_${name} symbol)
        set(folder ${CMAKE_CURRENT_BINARY_DIR}/${symbol})
        set(header ${folder}/espnet_embedded/${identifier}.hpp)
        set(source ${folder}/${identifier}.cpp)
        if(TARGET ${symbol})
            message(FATAL_ERROR "espnet_embed: ${target} has a file of the name ${name} already; rename ${path}")
        endif()
        # Missing files are said here, with the way out, and not by the build tool.
        foreach(needed ${path} ${path}.json)
            if(NOT EXISTS ${needed})
                message(FATAL_ERROR "espnet_embed: ${needed} is missing; make both files with espnet-export")
            endif()
        endforeach()
        _espnet_vocabulary(${path}.json vocabulary)
        if(vocabulary AND NOT EXISTS ${vocabulary})
            message(FATAL_ERROR "espnet_embed: ${vocabulary} is missing, the words of ${name}; it was exported with it")
        endif()
        # Another manifest may name another vocabulary.
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path}.json)
        add_custom_command(OUTPUT ${header} ${source}
            COMMAND ${CMAKE_COMMAND} -D file=${path} -D name=${name} -D identifier=${identifier} -D symbol=${symbol}
                -D header=${header} -D source=${source} -D vocabulary=${vocabulary} -P ${ESPNET_EMBED_SCRIPT}
            DEPENDS ${path} ${path}.json ${vocabulary} ${ESPNET_EMBED_SCRIPT}
            COMMENT "Embedding ${name} in ${target}"
            VERBATIM)
        # Objects of their own, so that the target may stand in another folder.
        add_library(${symbol} OBJECT ${source} ${header})
        set_target_properties(${symbol} PROPERTIES POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF)
        add_dependencies(${target} ${symbol})
        target_sources(${target} PRIVATE $<TARGET_OBJECTS:${symbol}>)
        target_include_directories(${target} PRIVATE ${folder})
    endfunction()
    return()
endif()

# From here on: the script that the build runs, with the variables that are defined above.

# Fail unless `path` has the SHA-256 that the manifest's object `key` says. Found by a pattern: CMake reads JSON since 3.19
# only.
function(check_sha256 path key manifest)
    if(NOT manifest MATCHES "\"${key}\"[ \t\r\n]*:[ \t\r\n]*{[^{}]*\"sha256\"[ \t\r\n]*:[ \t\r\n]*\"([0-9a-f]+)\"")
        message(FATAL_ERROR "${file}.json: not a manifest, it has no ${key}.sha256; export again")
    endif()
    set(described ${CMAKE_MATCH_1})
    file(SHA256 ${path} actual)
    if(NOT actual STREQUAL described)
        string(SUBSTRING ${actual} 0 16 actual)
        string(SUBSTRING ${described} 0 16 described)
        message(FATAL_ERROR "${path}: sha256 ${actual}..., its manifest says ${described}...; the file was "
            "changed or replaced: export it again")
    endif()
endfunction()

# Let the assembler put the bytes of `path` under the name `symbol` into the object; declared as an array of `type` in
# the header.
function(embed path symbol type)
    # A path in an assembler's string; the raw string around it takes it as it is.
    string(REPLACE "\\" "\\\\" quoted "${path}")
    string(REPLACE "\"" "\\\"" quoted "${quoted}")
    file(APPEND ${source} "__asm__(R\"assembler(
    .pushsection .rodata.${symbol},\"a\",@progbits
    .balign 64
    .globl ${symbol}
    .hidden ${symbol}
    .type ${symbol},@object
${symbol}:
    .incbin \"${quoted}\"
    .size ${symbol}, . - ${symbol}
    .popsection
)assembler\");
")
    set(declarations "${declarations}extern const ${type} ${symbol}[];\n" PARENT_SCOPE)
endfunction()

file(READ ${file}.json manifest)
check_sha256(${file} file "${manifest}")
file(SIZE ${file} size)
file(SIZE ${file}.json manifest_size)
file(WRITE ${source} "// Made by espnet_embed.\n")
embed(${file} ${symbol} "unsigned char")
embed(${file}.json ${symbol}_manifest char)
set(constants "constexpr EmbeddedFile ${identifier}{\"${name}\", {${symbol}, ${size}}, {${symbol}_manifest, ${manifest_size}}};\n")
if(vocabulary)
    check_sha256(${vocabulary} vocabulary "${manifest}")
    file(SIZE ${vocabulary} vocabulary_size)
    embed(${vocabulary} ${symbol}_vocabulary char)
    string(APPEND constants
        "constexpr std::string_view ${identifier}_vocabulary{${symbol}_vocabulary, ${vocabulary_size}};\n")
endif()

file(WRITE ${header} "// Made by espnet_embed.
#pragma once

#include <string_view>

#include <espnet/network.hpp>

extern \"C\" {
${declarations}}

namespace espnet {
namespace embedded {

${constants}
}  // namespace embedded
}  // namespace espnet
")
