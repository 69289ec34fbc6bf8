#!/usr/bin/env bash
# Tries molora on this machine's NVIDIA GPUs, in under ten minutes, and writes a report.
#
# usage: tests/gpu/run.sh [--pack FILE | --built FOLDER] [--fake]
#   --pack FILE      programs that tests/gpu/pack.sh gathered elsewhere; nothing is built
#   --built FOLDER   a build folder as it is; nothing is built
#   --fake           on the test libraries of the build folder, whose GPU is host memory: tests this script
# Without either it builds what it can: all of molora where LibTorch is (./run setup cuda fetches it, where there are a
# network and root), else the programs that nvcc, NCCL and a C++ compiler are enough for.
#
# The report is $OUT/gpu-report.txt and .json, with all that the steps said in $OUT/gpu-steps.log (OUT: runs/gpu). A
# step that fails does not stop the others. Exit codes: 0 all steps that were run passed; 1 one failed; 69 no GPU here.
set -euo pipefail
cd "$(dirname "$0")/../.."
say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
die() { printf 'gpu: %s\n' "$*" >&2; exit "${code:-1}"; }
# shellcheck source=tests/gpu/machine.sh
source tests/gpu/machine.sh
# shellcheck source=tests/gpu/programs.sh
source tests/gpu/programs.sh
# shellcheck source=tests/gpu/report.sh
source tests/gpu/report.sh

# folder_of OPTION FOLDER: its full name.
folder_of() {
  [[ -d $2/bin ]] || { echo "gpu: $1 needs a folder with bin/, not '$2'" >&2; return 64; }
  realpath -- "$2"
}

pack='' built='' fake=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --pack) [[ -f ${2:-} ]] || code=64 die "--pack needs a file of tests/gpu/pack.sh, not '${2:-}'"; pack=$2; shift 2 ;;
    --built) built=$(folder_of "$1" "${2:-}") || exit 64; shift 2 ;;
    --fake) fake=yes; shift ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done
[[ -z $fake || -n $built ]] || code=64 die "--fake needs --built FOLDER"
total_limit=570
out=${OUT:-$PWD/runs/gpu}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

find_machine
if [[ -n $fake ]]; then
  gpu_count=8 gpu_names='host memory (the test libraries)' libtorch_uses_gpus=yes
  [[ -f $built/lib/fake_gpu/libcudart.so.13 ]] || die "the test libraries are not in $built/lib/fake_gpu"
elif [[ $gpu_count -eq 0 ]]; then
  code=69 die "no GPU is seen: nvidia-smi $(command -v nvidia-smi >/dev/null && echo "shows none" || echo "is not here"). \
Run this on a machine with an NVIDIA GPU and its driver; --fake --built FOLDER tries the script itself"
fi
describe_machine | sed 's/\t/: /' >&2
find_programs
if [[ -n $fake ]]; then
  libraries=$built/lib/fake_gpu:$libraries
fi
export bin work mpirun LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader,tcp OMPI_MCA_pml=ob1 \
       OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(($(nproc --all) < 8 ? $(nproc --all) : 8))}
say "programs: $built_from${bin:+ ($bin)}"

# Sizes: for the clock on a GPU, for a test of the script on host memory.
preload='' settings=''
largest=67108864 kernel_size=() steps=40 layouts='NcclOracle.*-*BrainFloat*' rank_counts=(1 2 4)
# Through sockets a collective takes milliseconds.
[[ $gpu_count -ge 2 ]] || layouts='NcclOracle.*DoublePrecision:NcclOracleAll.*OneExpert'
if [[ -n $fake ]]; then
  largest=65536 kernel_size=(small) steps=3 layouts='NcclOracleAll.*OneExpert' OMP_NUM_THREADS=1 rank_counts=(1 2)
  settings=$work/small.yaml preload=LD_PRELOAD=$built/lib/fake_gpu/libcudart.so.13
  cat >"$settings" <<'EOF'
data: {train: [tests/assets/data/multitask/sample_ming_format_64.json], eval: [], max_length: 128}
train: {global_batch_size: 2, micro_batch_size: 1}
EOF
fi
export steps settings

# ranks RANKS: starts a program of ours with MPI, on as many GPUs as there are.
ranks() {
  local ranks=$1
  shift
  local launch=("$mpirun" --allow-run-as-root --oversubscribe -np "$ranks")
  [[ $ranks -le $gpu_count ]] || launch+=(bash tests/gpu/rank_of_one_gpu.sh)
  command_of_ranks=("${launch[@]}" "$@")
}

# a) Kernels against the CPU.
step kernels-shapes - 120 kernel_shapes "$bin/kernel_shapes" "${kernel_size[@]}"
step kernels-tests - 120 kernel_launchers_test "$bin/kernel_launchers_test" --gtest_brief=1

# b) NCCL: alone, then as molora drives it.
for n in "${rank_counts[@]}"; do
  step nccl-ranks "$n" 180 nccl_ranks "$bin/nccl_ranks" "$n" "$gpu_count" "$largest"
done
# Where ranks share a GPU on purpose, sharing is not refused.
for n in 2 4; do
  filter='*'
  [[ $n -le $gpu_count ]] || filter='-*.RefusesTwoRanksOnOneGpu'
  ranks "$n" "$bin/nccl_communicator_test" --gtest_brief=1 "--gtest_filter=$filter"
  step nccl-communicator "$n" 120 "nccl_communicator_test mpirun" "${command_of_ranks[@]}"
  [[ -z $fake ]] || break
done
# molora itself is linked with libcudart; of the test libraries it must be there before LibTorch asks for it.
step torch-sees-gpus - 60 "gpu_seen libtorch" env ${preload:+"$preload"} "$bin/gpu_seen"
# On a real GPU to a tolerance, in place of bits; bf16 has its place below.
[[ -n $fake ]] || export MOLORA_REAL_GPU=1
ranks 2 "$bin/nccl_oracle_test" --gtest_brief=1 "--gtest_filter=$layouts"
step nccl-oracle 2 180 "nccl_oracle_test mpirun libtorch" "${command_of_ranks[@]}"

# c) The demo on a GPU against the CPU. fp32: rounding alone differs, and grows with the steps; a token whose two best
# experts are nearly equal may go to the other one. bf16: eight bits.
training=(bash tests/gpu/training.sh)
step training-curve aten 150 "molora libtorch" "${training[@]}" curve aten 1e-4 0.02 device.kernels=aten device.deterministic=true
step training-curve fused 90 "molora libtorch" "${training[@]}" curve fused 1e-4 0.02 device.kernels=fused
step training-bf16 fused 150 "molora libtorch" "${training[@]}" curve bf16 0.02 0.05 device.kernels=fused model.precision=bf16
step training-repeat - 90 "molora libtorch" "${training[@]}" repeat repeat device.deterministic=true
step training-ranks 2 120 "molora libtorch mpirun" "${training[@]}" ranks 2 "$gpu_count" 1e-4 0.02 \
  parallel.expert_parallel=2 parallel.exchange=tokens

# d) Speed. A larger shape has random weights and the demo's text.
step training-speed demo 60 "molora libtorch" "${training[@]}" speed demo configs/medqwen3-multitask.yaml
if [[ -z $fake ]]; then
  steps=12
  larger=(model.precision=bf16 "model.path=$work/larger" data.max_length=2048 train.micro_batch_size=4 train.global_batch_size=8
          adapter.num_experts=8 adapter.experts_per_token=2 adapter.lora_rank=16 checkpoint.keep_last=1)
  step training-shape qwen1.5-0.5b 60 "write_model libtorch" "$bin/write_model" configs/shapes/qwen1.5-0.5b \
    tests/assets/tokenizers/qwen2 "$work/larger"
  for kernels in fused aten; do
    step training-speed "qwen1.5-0.5b-$kernels" 90 "molora libtorch write_model" "${training[@]}" speed "qwen1.5-0.5b-$kernels" \
      configs/medqwen3-multitask.yaml "${larger[@]}" "device.kernels=$kernels"
  done
fi

# e) The report.
write_report
if [[ $failed -gt 0 ]]; then exit 1; fi
