# How every target of the project is built: language level, warnings, and the functions
# molora_add_library() and molora_add_test().

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
add_compile_options($<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-fPIC>)  # one setting for libraries and programs, so that they share headers
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 12)
  message(FATAL_ERROR "molora needs g++ 12 or newer, but ${CMAKE_CXX_COMPILER} is "
                      "${CMAKE_CXX_COMPILER_VERSION}. Install g++-12 and set CXX=g++-12.")
endif()

find_program(MOLORA_CCACHE ccache)
if(MOLORA_CCACHE)
  # The sloppiness is what ccache asks for when a precompiled header is in use.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${MOLORA_CCACHE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
  endif()
endif()

add_library(molora_flags INTERFACE)
target_compile_options(molora_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wsign-conversion -Wno-psabi -Wno-missing-field-initializers>
  # g++ 12 sees overflows in std::string that are not there (GCC bugs 105329, 105651, 105762).
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict
  -Wno-array-bounds -Wno-stringop-overflow>
  # Warnings stop the build with the compilers that it is tested with; a newer one may know more.
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Werror>)
if(MOLORA_SANITIZE)
  add_compile_options($<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-fsanitize=address,undefined>
                      $<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-fno-sanitize-recover=undefined>
                      $<$<NOT:$<COMPILE_LANGUAGE:CUDA>>:-fno-omit-frame-pointer>)
  add_link_options(-fsanitize=address,undefined)
endif()
if(MOLORA_FUZZERS)
  # The whole code is instrumented for coverage; only the targets themselves bring libFuzzer's main.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link,address,undefined>
                      -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()

# molora_add_library(<folder> [TORCH] [LINK <target>...]): the static library molora_<folder> of
# every source file in src/<folder>, or in <folder> at the top. TORCH adds LibTorch and the shared
# precompiled header; a fuzz build has no LibTorch and leaves such folders out. Without MOLORA_WORKER
# only the launcher and what it stands on is there.
set(MOLORA_LAUNCHER_FOLDERS base io config watch coord launcher)
function(molora_add_library folder)
  cmake_parse_arguments(ARG "TORCH" "" "LINK" ${ARGN})
  if((ARG_TORCH AND MOLORA_FUZZERS) OR NOT (MOLORA_WORKER OR folder IN_LIST MOLORA_LAUNCHER_FOLDERS))
    return()
  endif()
  set(parent ${CMAKE_SOURCE_DIR}/src)
  if(NOT EXISTS ${parent}/${folder})
    set(parent ${CMAKE_SOURCE_DIR})
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${parent}/${folder}/*.cc)
  if(folder STREQUAL "launcher")  # has rooms
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${parent}/${folder}/*.cc)
  endif()
  list(FILTER sources EXCLUDE REGEX "/main\.cc$")
  # Files that need CUDA, or that stand in for them, are named so.
  if(MOLORA_HAS_CUDA)
    list(FILTER sources EXCLUDE REGEX "/no_nccl\.cc$")
  else()
    list(FILTER sources EXCLUDE REGEX "/nccl_[a-z_]*\.cc$")
  endif()
  add_library(molora_${folder} STATIC ${sources})
  target_include_directories(molora_${folder} PUBLIC ${parent} ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(molora_${folder} PUBLIC ${ARG_LINK} PRIVATE molora_flags)
  if(ARG_TORCH)
    target_link_libraries(molora_${folder} PUBLIC molora::torch)
    molora_use_torch_header(molora_${folder})
  endif()
endfunction()

# molora_add_loops(<library>): adds the loops of src/kernels/host, compiled for each instruction set
# that they have on this processor (src/kernels/host/instruction_set.h).
#   -ffp-contract=off   a product and a sum are rounded one by one: all sets give the same bits
function(molora_add_loops library)
  if(NOT TARGET ${library})
    return()
  endif()
  set(sets kPlain)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND sets kAvx2 kAvx512)
  endif()
  set(options_kAvx2 -mavx2 -mbmi -mbmi2)
  set(options_kAvx512 ${options_kAvx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
      $<$<CXX_COMPILER_ID:GNU>:-mprefer-vector-width=512>)
  foreach(set ${sets})
    set(loops ${library}_loops_${set})
    add_library(${loops} OBJECT ${CMAKE_SOURCE_DIR}/src/kernels/host/loops_of_set.cc)
    target_include_directories(${loops} PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_compile_definitions(${loops} PRIVATE MOLORA_LOOP_SET=${set})
    target_compile_options(${loops} PRIVATE -O3 -ffp-contract=off -fno-math-errno
                           -fno-trapping-math ${options_${set}})
    target_link_libraries(${loops} PRIVATE molora_flags)
    target_sources(${library} PRIVATE $<TARGET_OBJECTS:${loops}>)
    set_property(TARGET ${library} APPEND PROPERTY MOLORA_LOOPS ${loops})
  endforeach()
  target_sources(${library} PRIVATE ${CMAKE_SOURCE_DIR}/src/kernels/host/instruction_set.cc)
endfunction()

# molora_add_vector_kernels(<library>): adds src/kernels/host/*_{base,avx2,avx512,avx512bf16}.cc, each
# compiled with the vector instructions that its name ends with, on processors that may have them. No
# inline function of a library may be made in such files (src/kernels/host/expert_rows_kernels.h).
#   -ffp-contract=fast   products are summed by fused operations, as in matrix products
function(molora_add_vector_kernels library)
  if(NOT TARGET ${library})
    return()
  endif()
  set(host ${CMAKE_SOURCE_DIR}/src/kernels/host)
  file(GLOB sources CONFIGURE_DEPENDS ${host}/*_base.cc ${host}/*_avx*.cc)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(FILTER sources EXCLUDE REGEX "_avx[0-9]+(bf16)?\\.cc$")
  endif()
  target_sources(${library} PRIVATE ${sources})
  foreach(source ${sources})
    set(options -O3 -ffp-contract=fast)
    if(source MATCHES "_avx512(bf16)?\\.cc$")
      list(APPEND options -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma)
      if(source MATCHES "bf16\\.cc$")
        list(APPEND options -mavx512bf16)
      endif()
    elseif(source MATCHES "_avx2\\.cc$")
      list(APPEND options -mavx2 -mfma)
    endif()
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${options}"
                                SKIP_PRECOMPILE_HEADERS ON)
  endforeach()
endfunction()

# One precompiled <ATen/ATen.h> serves every target that uses LibTorch.
function(molora_use_torch_header target)
  if(NOT TARGET molora_torch_header)
    file(WRITE ${CMAKE_BINARY_DIR}/torch_header.cc "// Owner of the precompiled LibTorch header.\n")
    add_library(molora_torch_header OBJECT ${CMAKE_BINARY_DIR}/torch_header.cc)
    target_link_libraries(molora_torch_header PUBLIC molora::torch PRIVATE molora_flags)
    target_precompile_headers(molora_torch_header PRIVATE
                              <ATen/ATen.h> <torch/csrc/autograd/custom_function.h>)
  endif()
  target_precompile_headers(${target} REUSE_FROM molora_torch_header)
endfunction()

# molora_add_test(<program> SOURCES <file>... [TORCH] [RANKS <n>...] [LABELS <label>...]
#                 [LINK <target>...])
# Builds the program and registers each TEST suite found in its sources as one ctest test of the
# suite's name (so `ctest -R Golden` works), once per number of MPI ranks when RANKS is given.
function(molora_add_test program)
  cmake_parse_arguments(ARG "TORCH" "TIMEOUT" "SOURCES;RANKS;LABELS;LINK" ${ARGN})
  add_executable(${program} ${ARG_SOURCES})
  target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${program} PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest molora_flags)
  if(NOT ARG_RANKS)
    target_link_libraries(${program} PRIVATE GTest::gtest_main)
  endif()
  if(MOLORA_SANITIZE)
    # With sanitizers g++ 12 takes parts of std::regex for uninitialized (GCC bug 105562).
    target_compile_options(${program} PRIVATE -Wno-maybe-uninitialized)
  endif()
  if(ARG_TORCH)
    molora_use_torch_header(${program})
  endif()
  if("unit" IN_LIST ARG_LABELS)
    add_dependencies(unit_tests ${program})
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()

  set(suites)
  foreach(source ${ARG_SOURCES})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
    file(STRINGS ${source} lines REGEX "^(TEST|TEST_F|TEST_P|TYPED_TEST)\\(")
    foreach(line ${lines})
      string(REGEX REPLACE "^[A-Z_]+\\(([A-Za-z0-9_]+),.*" "\\1" suite "${line}")
      list(APPEND suites ${suite})
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES suites)
  foreach(suite ${suites})
    set(filter --gtest_filter=${suite}.*:*/${suite}.*:${suite}/*.*)
    if(ARG_RANKS)
      foreach(ranks ${ARG_RANKS})
        molora_register_test(${suite}.np${ranks} ${ARG_TIMEOUT} "${ARG_LABELS}"
          ${MOLORA_MPIRUN} -np ${ranks} $<TARGET_FILE:${program}> ${filter})
        set_tests_properties(${suite}.np${ranks} PROPERTIES PROCESSORS 2)
      endforeach()
    else()
      molora_register_test(${suite} ${ARG_TIMEOUT} "${ARG_LABELS}"
        $<TARGET_FILE:${program}> ${filter})
    endif()
  endforeach()
endfunction()

# A filter that selects nothing is a failure, not a success.
function(molora_register_test name timeout labels)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES
    LABELS "${labels}" TIMEOUT ${timeout}
    FAIL_REGULAR_EXPRESSION "Running 0 tests from 0 test suites"
    ENVIRONMENT "${MOLORA_TEST_ENVIRONMENT}")
endfunction()
