#!/usr/bin/env bash
# Installs what the build needs and is not there yet: packages by name from the distribution, LibTorch
# out of the checksummed PyPI wheel. Needs the network only for what is missing.
#   setup.sh             what the build and the tests need
#   setup.sh fuzz        what the fuzz targets need: clang with libFuzzer as well, but no LibTorch
#   setup.sh slurm       what the tests of cluster/ need: Slurm, network tools, models of the Kubernetes API
#   setup.sh image       what the build of the container in chroots needs
#   setup.sh lint        what `./run lint` runs; version 14 of the clang tools, whose format it is
set -euo pipefail
# shellcheck source=tools/fetch.sh
source "$(dirname "$0")/fetch.sh"

[[ $(uname -sm) == "Linux x86_64" ]] || die "this is $(uname -sm); molora is built and tested on Linux x86_64"
command -v dpkg-query >/dev/null || die "no dpkg here; molora's set-up knows Debian 12 and Ubuntu 22.04/24.04. \
Install the libraries listed in cmake/Dependencies.cmake by hand and run cmake yourself"

packages=(
  cmake ninja-build ccache pkg-config git ca-certificates
  python3 python3-pip python3-venv unzip
  openmpi-bin libopenmpi-dev
  protobuf-compiler libprotobuf-dev
  libspdlog-dev libfmt-dev libyaml-cpp-dev libcli11-dev nlohmann-json3-dev
  libpcre2-dev libutf8proc-dev libsentencepiece-dev
  zlib1g-dev libssl-dev libxxhash-dev libisal-dev libgtest-dev libgmock-dev
)
if ! bash "$(dirname "$0")/find_compiler.sh" >/dev/null 2>&1; then
  packages+=(g++-12)
fi

# missing_of PACKAGE...: those that are not installed.
missing_of() {
  local package
  for package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

# install_packages PACKAGE...: installs those that are missing; asks the network for nothing else.
install_packages() {
  local missing
  mapfile -t missing < <(missing_of "$@")
  [[ ${#missing[@]} -eq 0 ]] && return
  [[ $(id -u) -eq 0 ]] || command -v sudo >/dev/null ||
    die "these packages are missing and neither root nor sudo is here: ${missing[*]}"
  say "installing packages: ${missing[*]}"
  apt_get update
  apt_get install -y --no-install-recommends "${missing[@]}"
}

# apt_get ARGUMENT...: quiet unless it fails.
apt_get() {
  local sudo=() log
  [[ $(id -u) -eq 0 ]] || sudo=(sudo)
  log=$(mktemp)
  if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "$@" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "apt-get $1 failed (its last lines are above; whole log: $log). \
Is the network there, and are Debian's or Ubuntu's registries in /etc/apt reachable?"
  fi
  rm -f "$log"
}

# LibTorch and the two CUDA libraries that it loads even without a GPU.
libtorch=$MOLORA_CACHE/libtorch-2.11.0
install_libtorch() {
  [[ -f $libtorch/complete ]] && return
  need_disk "$MOLORA_CACHE" 4
  say "fetching LibTorch 2.11.0 (530 MB) into $MOLORA_CACHE; this happens once"
  local part=$libtorch.part
  rm -rf "$part"
  mkdir -p "$part"
  fetch_wheel torch 2.11.0 manylinux_2_28_x86_64 7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
  unpack "$wheel" "$part" 'torch/lib/lib*' 'torch/include/ATen/*' 'torch/include/c10/*' 'torch/include/torch/*' \
    'torch/include/caffe2/*' 'torch-*/LICENSE' 'torch-*/licenses/LICENSE' 'torch-*/NOTICE' 'torch-*/licenses/NOTICE'
  fetch_wheel nvidia-cuda-runtime 13.0.96 manylinux2014_x86_64 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
  unpack "$wheel" "$part" 'nvidia/cu13/lib/libcudart.so*'
  fetch_wheel nvidia-cuda-cupti 13.0.85 manylinux_2_25_x86_64 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
  unpack "$wheel" "$part" 'nvidia/cu13/lib/libcupti.so*'
  touch "$part/complete"
  rm -rf "$libtorch"
  mv "$part" "$libtorch"
}

# Whether clang++ links a fuzz target with the sanitizers.
clang_fuzzes() {
  command -v clang++ >/dev/null || return 1
  local folder status=0
  folder=$(mktemp -d)
  echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' >"$folder/empty.cc"
  clang++ -fsanitize=fuzzer,address,undefined "$folder/empty.cc" -o "$folder/empty" >"$folder/log" 2>&1 || status=1
  rm -rf "$folder"
  return "$status"
}

# The run-time libraries are a package of their own in Debian 12 and Ubuntu 24.04 (libclang-rt-dev,
# libclang-rt-N-dev); in Ubuntu 22.04 they come with clang.
install_clang() {
  clang_fuzzes && return
  install_packages clang
  clang_fuzzes && return
  local version package
  version=$(clang++ -dumpversion | cut -d. -f1)
  apt_get update
  for package in libclang-rt-dev "libclang-rt-$version-dev"; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      install_packages "$package"
      clang_fuzzes && return
    fi
  done
  die "clang++ ($(clang++ -dumpversion)) does not link with -fsanitize=fuzzer,address; install the package with its \
run-time libraries (compiler-rt, libFuzzer)"
}

case ${1:-} in
  "")
    install_packages "${packages[@]}"
    install_libtorch
    ;;
  fuzz)
    install_packages "${packages[@]}"
    install_clang
    ;;
  slurm)
    # libpmix-dev: Slurm looks for libpmix.so, the name that only this package has.
    install_packages slurm-wlm slurm-wlm-basic-plugins munge libpmix-dev iproute2 procps python3-yaml python3-kubernetes
    ;;
  image) install_packages mmdebstrap ;;
  lint) install_packages clang-format-14 clang-tidy-14 shellcheck ;;
  *) die "tools/setup.sh knows fuzz, slurm, image and lint, not '$1'" ;;
esac
bash "$(dirname "$0")/find_compiler.sh" >/dev/null || exit 1
