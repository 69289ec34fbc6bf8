# What the project stands on, each found by name; `./run setup` installs all of it.
#
#   library         version here      licence
#   LibTorch        2.11.0            BSD-3-Clause     (PyPI wheel torch==2.11.0)
#   Open MPI        >= 4.1            BSD-3-Clause
#   protobuf        >= 3.12           BSD-3-Clause
#   spdlog, fmt     >= 1.9, >= 8      MIT
#   yaml-cpp        >= 0.7            MIT
#   CLI11           >= 2.1            BSD-3-Clause
#   nlohmann-json   >= 3.10           MIT
#   cpp-httplib     >= 0.10           MIT              (molora serve)
#   PCRE2           >= 10.39          BSD-3-Clause
#   utf8proc        >= 2.7            MIT
#   SentencePiece   >= 0.1.96         Apache-2.0
#   OpenSSL crypto  >= 3.0            Apache-2.0       (SHA-256)
#   xxHash          >= 0.8            BSD-2-Clause     (XXH3, base fingerprint)
#   ISA-L           >= 2.30         BSD-3-Clause     (CRC-32C)
#   GoogleTest      >= 1.11           BSD-3-Clause     (tests only)
#   libgomp         of the wheel      GPL-3.0 with the GCC run-time library exception (OpenMP threads)
#   CUDA toolkit    13.0              NVIDIA's EULA    (GPUs only: compiler and run time)
#   NCCL            >= 2.28           BSD-3-Clause     (GPUs only)
if(MOLORA_WORKER AND NOT MOLORA_FUZZERS)  # what is fuzzed reads files, and no reader of files needs LibTorch
  include(LibTorch)
endif()

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
# Part of our programs: a libprotobuf.so in the process would mix with the protobuf of another version
# that Debian's libsentencepiece exports (src/tokenizer/sentencepiece_library.h, test TwoProtobufs).
set(Protobuf_USE_STATIC_LIBS ON)
find_package(Protobuf REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
if(NOT TARGET yaml-cpp::yaml-cpp)  # the name since 0.8; before, it was yaml-cpp
  add_library(yaml-cpp::yaml-cpp INTERFACE IMPORTED)
  target_link_libraries(yaml-cpp::yaml-cpp INTERFACE yaml-cpp)
endif()
if(MOLORA_WORKER)
  find_package(CLI11 REQUIRED)
  find_package(MPI REQUIRED COMPONENTS CXX)
  pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
  pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
  pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
  pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
endif()
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
if(MOLORA_TESTS)
  find_package(GTest REQUIRED)
endif()

# How tests start ranks: works as root, with more ranks than cores, without probing networks.
set(MOLORA_MPIRUN ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none
    --mca pml ob1 --mca btl self,vader,tcp)
set(MOLORA_TEST_ENVIRONMENT
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
    OMP_PROC_BIND=false)  # several tests at a time would bind ranks to the same cores
