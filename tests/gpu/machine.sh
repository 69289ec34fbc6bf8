# shellcheck shell=bash disable=SC2034 # what it sets is read by run.sh
# Sourced by run.sh: what this machine has. Sets
#   gpu_count gpu_names driver         what the driver shows
#   nvcc nvcc_version                  CUDA's compiler; empty when there is none
#   nccl_include nccl_library          NCCL's header and library; empty when there is none
#   libtorch                           a folder with torch/ and nvidia/ of LibTorch; empty when there is none
#   libtorch_uses_gpus                 yes when what its CUDA library loads is there too
#   mpirun                             Open MPI's; empty when there is none
libtorch_version=2.11.0

find_gpus() {
  gpu_count=0 gpu_names='' driver=''
  command -v nvidia-smi >/dev/null || return 0
  gpu_names=$(nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null) || return 0
  [[ -n $gpu_names ]] || return 0
  gpu_count=$(wc -l <<<"$gpu_names")
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
  if [[ -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
    gpu_count=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c .)
  fi
}

find_nvcc() {
  local at
  nvcc='' nvcc_version=''
  for at in "$(command -v nvcc || true)" "${CUDA_HOME:-}/bin/nvcc" /usr/local/cuda/bin/nvcc /usr/local/cuda-13.*/bin/nvcc; do
    [[ -x $at ]] || continue
    nvcc=$at
    nvcc_version=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
    return 0
  done
}

# The LibTorch that ./run setup fetched, or the same version in a Python: both have the folders of the wheels.
find_libtorch() {
  local at
  libtorch='' libtorch_uses_gpus=''
  at=$(python3 -c "import torch, os; print(torch.__version__.split('+')[0], os.path.dirname(os.path.dirname(torch.__file__)))" \
       2>/dev/null) || true
  for at in "${MOLORA_LIBTORCH:-}" "${MOLORA_CACHE:-$HOME/.cache/molora}/libtorch-$libtorch_version" \
            "$(sed -n "s/^$libtorch_version //p" <<<"$at")"; do
    [[ -n $at && -f $at/torch/lib/libtorch_cuda.so && -f $at/torch/lib/libtorch_cpu.so ]] || continue
    libtorch=$at
    [[ -f $at/nvidia/cudnn/lib/libcudnn.so.9 ]] || continue
    libtorch_uses_gpus=yes
    return 0
  done
}

find_nccl() {
  local at cuda
  cuda=${nvcc:+$(dirname "$(dirname "$nvcc")")}
  nccl_include='' nccl_library=''
  for at in "$libtorch/nvidia/nccl/include" "$cuda/include" /usr/include; do
    [[ -f $at/nccl.h ]] && nccl_include=$at && break
  done
  for at in "$libtorch/nvidia/nccl/lib" "$cuda/lib64" "$cuda/lib" /usr/lib/x86_64-linux-gnu; do
    [[ -f $at/libnccl.so.2 ]] && nccl_library=$at/libnccl.so.2 && break
  done
}

nccl_version() {
  [[ -n $nccl_include ]] || return 0
  sed -n 's/^#define NCCL_\(MAJOR\|MINOR\|PATCH\) //p' "$nccl_include/nccl.h" | paste -sd.
}

find_machine() {
  find_gpus
  find_nvcc
  find_libtorch
  find_nccl
  mpirun=$(command -v mpirun || true)
}

# describe_machine: a line for each thing, "name<TAB>value".
describe_machine() {
  printf 'machine\t%s, %s cores, %s GiB\n' "$(uname -srm)" "$(nproc --all)" "$(awk '/MemTotal/ {print int($2 / 1048576)}' /proc/meminfo)"
  printf 'GPUs\t%s\n' "${gpu_count}${gpu_names:+: $(paste -sd';' <<<"$gpu_names")}"
  printf 'driver\t%s\n' "${driver:-none}"
  printf 'nvcc\t%s\n' "${nvcc_version:-none}"
  printf 'NCCL\t%s\n' "$(nccl_version | grep . || echo none)"
  printf 'LibTorch\t%s\n' "${libtorch:-none}$([[ -z $libtorch || -n $libtorch_uses_gpus ]] || echo ", for CPUs alone")"
  printf 'MPI\t%s\n' "$([[ -n $mpirun ]] && "$mpirun" --version 2>/dev/null | head -n 1 || echo none)"
  printf 'commit\t%s\n' "$(git rev-parse --verify --quiet HEAD 2>/dev/null || echo unknown)"
}
