# CUDA and NCCL: used when found (MOLORA_CUDA=AUTO), required (ON), or not looked for (OFF).
#
# Sets MOLORA_HAS_CUDA. With it the interface target molora::cuda carries the CUDA run time and NCCL;
# without it nothing of either is compiled or linked.
set(MOLORA_HAS_CUDA FALSE)
if(NOT MOLORA_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
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
    message(FATAL_ERROR "MOLORA_CUDA is ON, but the CUDA toolkit (found: ${CUDAToolkit_FOUND}) or "
                        "NCCL (header: ${MOLORA_NCCL_INCLUDE}, library: ${MOLORA_NCCL_LIBRARY}) is "
                        "not here. Install both, point CUDAToolkit_ROOT at the toolkit, or leave "
                        "MOLORA_CUDA at AUTO.")
  else()
    message(STATUS "CUDA or NCCL not found: building for the CPU (MOLORA_CUDA=ON to require them)")
  endif()
endif()
