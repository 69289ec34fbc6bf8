#!/usr/bin/env bash
# LibTorch's real CUDA library is found and loads with all that it needs, on a machine without a GPU; and which one
# is taken where there are several. Skipped (code 77) until `./run setup cuda` has fetched what it needs.
#
# usage: torch_cuda_loads.sh GPU_SEEN LIBTORCH STAND_IN_FOLDER
set -euo pipefail
program=$1 libtorch=$2 stand_in=$3
real=$libtorch/torch/lib/libtorch_cuda.so
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset LD_LIBRARY_PATH LD_PRELOAD

if ! compgen -G "$libtorch/nvidia/complete-nvidia-*" >/dev/null; then
  echo "skipped: ./run setup cuda was not run"
  exit 77
fi

# expect NAME LIBRARY COMMAND...: the command loads this library and then says that there is no GPU.
expect() {
  local name=$1 library=$2 words status=0
  shift 2
  words=$("$@" 2>&1) || status=$?
  if [[ $status -ne 64 || $words != "library: $library"$'\n'"device.kind is cuda, but no GPU is seen"* ]]; then
    printf '%s: expected code 64, %s and "no GPU is seen", got code %s and\n%s\n' "$name" "$library" "$status" "$words"
    exit 1
  fi
  echo "$name: ok"
}

expect "the real library loads" "$real" env CUDA_VISIBLE_DEVICES= "$program"
expect "LD_LIBRARY_PATH comes first" "$stand_in/libtorch_cuda.so" env LD_LIBRARY_PATH="$stand_in" "$program"

# A program that was moved: nothing in it says where LibTorch is.
cp "$program" "$folder/moved"
cat >"$folder/remove.cmake" <<EOF
file(RPATH_REMOVE FILE $folder/moved)
EOF
cmake -P "$folder/remove.cmake"
expect "it is found beside LibTorch" "$real" env CUDA_VISIBLE_DEVICES= \
  LD_PRELOAD="$libtorch/torch/lib/libc10.so:$libtorch/torch/lib/libtorch_cpu.so" "$folder/moved"

# One that LD_LIBRARY_PATH finds and that does not load is not passed over.
mkdir -p "$folder/broken"
echo "no library" >"$folder/broken/libtorch_cuda.so"
words=$(env LD_LIBRARY_PATH="$folder/broken" "$program" 2>&1) && exit 1
if [[ $words != *"cannot be loaded: $folder/broken/libtorch_cuda.so: "* ]]; then
  printf 'with a broken library the program said\n%s\n' "$words"
  exit 1
fi
echo "a broken library is named: ok"

# Without what it needs, the loader's words name the first file that is missing.
mkdir -p "$folder/torch"
cp -rs "$libtorch/torch/lib" "$folder/torch/lib"
mkdir -p "$folder/nvidia"
cp -rs "$libtorch/nvidia/cu13" "$folder/nvidia/cu13"
words=$(env LD_PRELOAD="$folder/torch/lib/libc10.so:$folder/torch/lib/libtorch_cpu.so" "$folder/moved" 2>&1) && exit 1
if ! grep -Eq "cannot be loaded: lib[a-zA-Z_]+\.so\.[0-9]+: cannot open shared object file.*run setup cuda" <<<"$words"; then
  printf 'without NVIDIA libraries the program said\n%s\n' "$words"
  exit 1
fi
echo "a missing library is named: ok"
