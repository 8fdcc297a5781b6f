# Compiler flags, sanitizers, linker and ccache. Nothing here is product-specific.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

add_library(dunlin_flags INTERFACE)
target_compile_options(dunlin_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror=return-type -Werror=unused-result
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety -Werror=thread-safety>
  # gcc 12 sees an overlap in "text" + std::string that cannot be (its bug 105651), many times in a build.
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  # -g1 keeps line numbers for crash reports and profiles; frame pointers keep perf cheap.
  target_compile_options(dunlin_flags INTERFACE -g1 -fno-omit-frame-pointer)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_options(dunlin_flags INTERFACE -g1)
endif()
if(DUNLIN_SANITIZE)
  # The check of virtual tables looks at memory through a pipe, and reports an error when there is no descriptor left for one, which a test
  # brings about. Most of what it would find AddressSanitizer finds too.
  target_compile_options(dunlin_flags INTERFACE -fsanitize=${DUNLIN_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all
    -fno-omit-frame-pointer -O1)
  target_link_options(dunlin_flags INTERFACE -fsanitize=${DUNLIN_SANITIZE})
endif()
if(DUNLIN_FUZZ)
  target_compile_options(dunlin_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -O1)
  target_link_options(dunlin_flags INTERFACE -fsanitize=address,undefined)
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_link_options(dunlin_flags INTERFACE -fuse-ld=mold)
endif()
