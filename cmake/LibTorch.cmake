# The imported target molora::torch: LibTorch's CPU library, out of the unpacked PyPI wheel.
#
# The wheel's own CMake package insists on a CUDA toolkit, so the two libraries that a CPU program
# needs are imported here by hand. libtorch_cpu itself loads libcudart and libcupti, which lie
# beside it (nvidia/cu13/lib) and are found through its RPATH.
set(MOLORA_LIBTORCH_VERSION 2.11.0)
if(DEFINED ENV{MOLORA_CACHE})
  set(MOLORA_CACHE_DEFAULT $ENV{MOLORA_CACHE})
else()
  set(MOLORA_CACHE_DEFAULT $ENV{HOME}/.cache/molora)
endif()
set(MOLORA_LIBTORCH ${MOLORA_CACHE_DEFAULT}/libtorch-${MOLORA_LIBTORCH_VERSION}
    CACHE PATH "Folder with the unpacked torch wheel (torch/ and nvidia/)")

if(NOT EXISTS ${MOLORA_LIBTORCH}/torch/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch ${MOLORA_LIBTORCH_VERSION} is not in ${MOLORA_LIBTORCH}.\n"
                      "Run ./run setup, or point MOLORA_LIBTORCH at a folder that holds torch/lib "
                      "and torch/include of the wheel torch==${MOLORA_LIBTORCH_VERSION}.")
endif()

add_library(molora_c10 SHARED IMPORTED)
set_target_properties(molora_c10 PROPERTIES IMPORTED_LOCATION ${MOLORA_LIBTORCH}/torch/lib/libc10.so)
add_library(molora_torch_cpu SHARED IMPORTED)
set_target_properties(molora_torch_cpu PROPERTIES
  IMPORTED_LOCATION ${MOLORA_LIBTORCH}/torch/lib/libtorch_cpu.so)

add_library(molora::torch INTERFACE IMPORTED)
target_include_directories(molora::torch SYSTEM INTERFACE ${MOLORA_LIBTORCH}/torch/include)
# at::parallel_for is an inline function that uses threads only where the compiler has OpenMP on. The
# run time is the one that libtorch_cpu loads: two of them would each start threads of their own.
target_compile_options(molora::torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
target_link_libraries(molora::torch INTERFACE molora_torch_cpu molora_c10
                      ${MOLORA_LIBTORCH}/torch/lib/libgomp.so.1)
# The wheel's libraries find one another by RPATH, which the static linker does not read.
target_link_options(molora::torch INTERFACE
  -Wl,-rpath-link,${MOLORA_LIBTORCH}/torch/lib -Wl,-rpath-link,${MOLORA_LIBTORCH}/nvidia/cu13/lib)
