# CUDA and NCCL: used when found (MOLORA_CUDA=AUTO), required (ON), or not looked for (OFF).
#
# Sets MOLORA_HAS_CUDA. With it the interface target molora::cuda carries the CUDA run time and NCCL,
# and molora_add_kernels() compiles .cu files; without it nothing of either is compiled or linked.
set(MOLORA_HAS_CUDA FALSE)
if(NOT MOLORA_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 13.0 QUIET)  # that of LibTorch: one run time in a process
  find_path(MOLORA_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(MOLORA_NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
  if(CUDAToolkit_FOUND AND MOLORA_NCCL_INCLUDE AND MOLORA_NCCL_LIBRARY)
    set(MOLORA_HAS_CUDA TRUE)
    file(STRINGS ${MOLORA_NCCL_INCLUDE}/nccl.h nccl_lines REGEX "^#define NCCL_(MAJOR|MINOR|PATCH)")
    string(REGEX REPLACE "[^0-9]+" "." nccl_version "${nccl_lines}")
    string(REGEX REPLACE "^\\.|\\.$" "" nccl_version "${nccl_version}")
    message(STATUS "CUDA ${CUDAToolkit_VERSION} and NCCL ${nccl_version} found")
    add_library(molora::cuda INTERFACE IMPORTED)
    target_include_directories(molora::cuda SYSTEM INTERFACE ${MOLORA_NCCL_INCLUDE})
    target_link_libraries(molora::cuda INTERFACE CUDA::cudart ${MOLORA_NCCL_LIBRARY})
  elseif(MOLORA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MOLORA_CUDA is ON, but the CUDA toolkit 13 (found: ${CUDAToolkit_FOUND}) or "
                        "NCCL (header: ${MOLORA_NCCL_INCLUDE}, library: ${MOLORA_NCCL_LIBRARY}) is "
                        "not here. Install both, point CUDAToolkit_ROOT at the toolkit, or leave "
                        "MOLORA_CUDA at AUTO.")
  else()
    message(STATUS "CUDA (13 or newer) or NCCL not found: building for the CPU (MOLORA_CUDA=ON to require them)")
  endif()
endif()

if(NOT MOLORA_HAS_CUDA)
  return()
endif()

# Machine code for the data centre GPUs since A100 and the workstation GPUs since Blackwell; later ones
# compile what they run from the PTX.
set(MOLORA_CUDA_ARCHITECTURES 80-real 90-real 100-real 120)
if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
endif()
if(NOT CMAKE_CUDA_HOST_COMPILER)
  set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
endif()
set(CMAKE_CUDA_ARCHITECTURES ${MOLORA_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # for whatever links a kernel: the real one, or the tests'
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # nvcc has it since 12.0; CMake knows that since 3.26
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
endif()
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")

# molora_add_kernels(<target> <file.cu>...): an object library. What ptxas says of each kernel
# (registers, shared memory, spills) lies beside its object, <object>.ptxas, for
# tests/cuda/emulator/kernel_budgets.py.
#   -fmad=false   a product and a sum are rounded one by one, as LibTorch's operators do: kernels then
#                 give the bits of the operators that they replace. They wait for memory, not for this.
function(molora_add_kernels target)
  add_library(${target} OBJECT ${ARGN})
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_compile_options(${target} PRIVATE -fmad=false -Werror=all-warnings -Xptxas=-v
                         -Xcompiler=-Wall,-Wextra,-Wshadow)
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON
    EXPORT_COMPILE_COMMANDS OFF  # clang-tidy and its like know no nvcc
    CUDA_COMPILER_LAUNCHER "bash;${CMAKE_SOURCE_DIR}/cmake/compile_kernels.sh;${MOLORA_CCACHE}")
endfunction()
