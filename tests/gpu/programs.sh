# shellcheck shell=bash disable=SC2034,SC2154 # shared with run.sh
# Sourced by run.sh: where the programs of the steps come from, in this order:
#   1. a pack (tests/gpu/pack.sh), for machines that lack what a build needs
#   2. the build folder, as it is (--built) or built now
#   3. compiled by hand, which nvcc, NCCL and g++ are enough for: nccl_ranks and kernel_shapes
# Sets `bin` (the folder with the programs), `libraries` (for LD_LIBRARY_PATH) and `built_from`.
gpu_targets=(gpu_seen nccl_ranks kernel_shapes kernel_launchers_test write_model nccl_communicator_test molora
             nccl_oracle_test)

# use_pack FILE FOLDER: unpacks it there.
use_pack() {
  tar -C "$2" -xJf "$1" || { say "$1 cannot be unpacked"; return 0; }
  set -- "$2"
  bin=$1/bin libraries=$1/lib built_from="the pack, of commit $(cat "$1/commit" 2>/dev/null || echo unknown)"
  # Never this machine's with the pack's libraries: another release of Open MPI or PMIx does not start with them.
  if [[ -x $1/openmpi/bin/mpirun ]]; then
    mpirun=$1/openmpi/bin/mpirun
    export OPAL_PREFIX=$1/openmpi OPAL_BINDIR=$1/openmpi/bin OPAL_LIBDIR=$1/openmpi/lib \
           OPAL_PKGLIBDIR=$1/openmpi/plugins OPAL_PKGDATADIR=$1/openmpi/help OPAL_SYSCONFDIR=$1/openmpi/etc \
           OMPI_MCA_mca_base_component_path=$1/openmpi/plugins PMIX_MCA_mca_base_component_path=$1/openmpi/pmix
    libraries+=:$1/openmpi/lib
  fi
}

# The folders of LibTorch and NVIDIA's libraries, which are in no pack.
add_libtorch_folders() {
  local at
  [[ -n $libtorch ]] || return 0
  for at in "$libtorch/torch/lib" "$libtorch"/nvidia/*/lib; do
    libraries+=:$at
  done
}

# can_install: root or sudo, a package manager, and a network that answers.
can_install() {
  [[ $(id -u) -eq 0 ]] || sudo -n true 2>/dev/null || return 1
  command -v apt-get >/dev/null && timeout 30 python3 -m pip index versions nvidia-nvtx >/dev/null 2>&1
}

# build_all SECONDS: as much as can be built within the time. What is not there afterwards is not run.
build_all() {
  local limit=$1 log=$out/build.log target options=()
  if can_install; then
    say "setting up (./run setup cuda)"
    timeout "$limit" ./run setup cuda >"$log" 2>&1 || say "set-up failed or took too long: $log"
    find_machine
  fi
  [[ -n $libtorch && -n $nvcc && -n $nccl_library ]] && command -v cmake >/dev/null || return 0
  options+=(-DMOLORA_CUDA=ON "-DMOLORA_LIBTORCH=$libtorch" "-DMOLORA_NCCL_INCLUDE=$nccl_include"
            "-DMOLORA_NCCL_LIBRARY=$nccl_library" "-DCUDAToolkit_ROOT=$(dirname "$(dirname "$nvcc")")")
  say "building in build/ with $(nproc --all) processes, at most $limit s ($log)"
  if ! CXX=$(bash tools/find_compiler.sh 2>>"$log") cmake --preset cuda "${options[@]}" >>"$log" 2>&1; then
    say "CMake cannot configure: $(grep -m1 -E 'Error|not found|Could not find' "$log")"
    return 0
  fi
  # One after the other, so that the first ones are there when the time is over.
  local end=$((SECONDS + limit))
  for target in "${gpu_targets[@]}"; do
    ((SECONDS < end)) || break
    timeout $((end - SECONDS)) cmake --build build -j "$(nproc --all)" --target "$target" >>"$log" 2>&1 ||
      say "$target could not be built: $log"
  done
  bin=build/bin built_from="a build"
}

# compile_by_hand: the programs that need nothing but CUDA, NCCL and a compiler.
compile_by_hand() {
  local cxx cuda log=$out/compile.log folder=$out/bin
  [[ -n $nvcc ]] || { say "no nvcc: nothing can be compiled"; return 0; }
  cxx=$(bash tools/find_compiler.sh 2>/dev/null || command -v g++ || true)
  [[ -n $cxx ]] || { say "no C++ compiler: nothing can be compiled"; return 0; }
  cuda=$(dirname "$(dirname "$nvcc")")
  mkdir -p "$folder"
  say "compiling nccl_ranks and kernel_shapes by hand ($log)"
  local flags=(-std=c++20 -O2 -ffp-contract=off -Isrc -Itests "-I$cuda/include" "-L$cuda/lib64" "-Wl,-rpath,$cuda/lib64")
  if [[ -n $nccl_library && -n $nccl_include ]]; then
    "$cxx" "${flags[@]}" "-I$nccl_include" tests/gpu/{nccl_ranks,nccl_rank,rank_processes}.cc -o "$folder/nccl_ranks" \
      "$nccl_library" "-Wl,-rpath,$(dirname "$nccl_library")" -lcudart -lpthread >>"$log" 2>&1 ||
      say "nccl_ranks does not compile: $log"
  fi
  if "$nvcc" -std=c++20 -O3 -fmad=false -arch=native -Isrc --lib src/kernels/cuda/*.cu -o "$folder/kernels.a" >>"$log" 2>&1; then
    "$cxx" "${flags[@]}" tests/gpu/kernel_shapes.cc tests/cuda/emulator/fiber_block.cc "$folder/kernels.a" \
      -o "$folder/kernel_shapes" -lcudart >>"$log" 2>&1 || say "kernel_shapes does not compile: $log"
  else
    say "the kernels do not compile: $log"
  fi
  bin=$folder built_from="compiled by hand"
}

# find_programs: fills bin and libraries.
find_programs() {
  bin='' libraries='' built_from=nothing
  if [[ -n $pack ]]; then
    mkdir -p "$work/pack"
    use_pack "$pack" "$work/pack"
  elif [[ -n $built ]]; then
    bin=$built/bin built_from="the build folder as it is"
  else
    build_all "${MOLORA_GPU_BUILD_LIMIT:-270}"
    [[ -n $bin && -x $bin/nccl_ranks ]] || compile_by_hand
  fi
  add_libtorch_folders
}
