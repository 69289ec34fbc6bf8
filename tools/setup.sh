#!/usr/bin/env bash
# Installs what the build needs and is not there yet: packages by name from the distribution, LibTorch
# out of the checksummed PyPI wheel. Needs the network only for what is missing.
#   setup.sh             what the build and the tests need
#   setup.sh cuda        what training on NVIDIA GPUs needs as well: NVIDIA's libraries that LibTorch's CUDA library
#                        loads, out of their checksummed wheels (2 GB). CUDA's compiler is not among them
#   setup.sh fuzz        what the fuzz targets need: clang with libFuzzer as well, but no LibTorch
#   setup.sh python      what the tests of exported folders load them with: PyTorch, transformers, PEFT (5 GB); MixLoRA
#                        and MoE-PEFT over an older transformers (150 MB)
#   setup.sh slurm       what the tests of cluster/ need: Slurm, network tools, models of the Kubernetes API
#   setup.sh bench       what tests/bench/instruction_counts.py needs: valgrind
#   setup.sh image       what the build of the container in chroots needs
#   setup.sh pictures    what the slow tests of pictures need: Chromium, TensorBoard in a venv of its own
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
  libspdlog-dev libfmt-dev libyaml-cpp-dev libcli11-dev nlohmann-json3-dev libcpp-httplib-dev
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

# What libtorch_cuda.so of LibTorch 2.11.0+cu130 loads, in the versions that its wheel asks for: name, version,
# platform, megabytes, SHA-256. NVIDIA's libraries load one another: cusolver and cusparse want nvjitlink, cudnn nvrtc.
cuda_wheels() {
  cat <<'EOF'
nvidia-cublas 13.1.0.3 manylinux_2_27_x86_64 423 ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
nvidia-cuda-nvrtc 13.0.88 manylinux2014_x86_64 90 ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
nvidia-cudnn-cu13 9.19.0.56 manylinux_2_27_x86_64 366 d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf
nvidia-cufft 12.0.0.61 manylinux2014_x86_64 214 6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3
nvidia-cufile 1.15.1.6 manylinux2014_x86_64 1 08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44
nvidia-curand 10.4.0.35 manylinux_2_27_x86_64 60 1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc
nvidia-cusolver 12.0.4.66 manylinux_2_27_x86_64 201 0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112
nvidia-cusparse 12.6.3.3 manylinux2014_x86_64 146 2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b
nvidia-cusparselt-cu13 0.8.0 manylinux2014_x86_64 170 25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd
nvidia-nccl-cu13 2.28.9 manylinux_2_18_x86_64 196 e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42
nvidia-nvjitlink 13.0.88 manylinux2014_x86_64 41 13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b
nvidia-nvshmem-cu13 3.4.5 manylinux2014_x86_64 60 290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80
EOF
}

# A file for each wheel says that its libraries are there, so that a set-up that was cut off goes on where it was.
# They go where libtorch_cuda.so looks for them (its RPATH), beside the libraries that every build has.
install_cuda_libraries() {
  local name version platform megabytes sha256 missing=() total=0
  while read -r name version platform megabytes sha256; do
    [[ -f $libtorch/nvidia/complete-$name-$version ]] && continue
    missing+=("$name $version $platform $sha256")
    [[ -n $(find "$MOLORA_CACHE/wheels" -name "${name//-/_}-$version-*.whl" -print -quit 2>/dev/null) ]] && continue
    say "  $name $version: $megabytes MB"
    total=$((total + megabytes))
  done < <(cuda_wheels)
  [[ ${#missing[@]} -eq 0 ]] && return
  need_disk "$MOLORA_CACHE" $((3 + (total + 1023) / 1024))
  say "fetching $total MB of NVIDIA's libraries into $MOLORA_CACHE (3 GB more when unpacked); this happens once"
  for name in "${missing[@]}"; do
    read -r name version platform sha256 <<<"$name"
    fetch_wheel "$name" "$version" "$platform" "$sha256"
    unpack "$wheel" "$libtorch" 'nvidia/*/lib/*.so*' 'nvidia/nccl/include/*' -x '*/libnvrtc*.alt.so*'
    touch "$libtorch/nvidia/complete-$name-$version"
  done
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

# An environment of Python with the packages of tests/interchange/requirements.txt. PyTorch's wheel is the one that
# LibTorch came out of.
install_python() {
  local requirements folder=$MOLORA_CACHE/python
  requirements=$(dirname "$0")/../tests/interchange/requirements.txt
  cmp -s "$requirements" "$folder/complete" && return
  need_disk "$MOLORA_CACHE" 8
  say "installing PyTorch, transformers and PEFT for the tests into $folder (5 GB); this happens once"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --find-links "$MOLORA_CACHE/wheels" -r "$requirements" ||
    die "pip could not install $requirements (see above). Is its package index reachable?"
  cp "$requirements" "$folder/complete"
}

# MixLoRA and MoE-PEFT need an older transformers: an environment of their own, which takes PyTorch and what else it
# lacks from the one above.
install_moe_python() {
  local requirements packages folder=$MOLORA_CACHE/python-moe
  requirements=$(dirname "$0")/../tests/interchange/moe_requirements.txt
  cmp -s "$requirements" "$folder/complete" && return
  need_disk "$MOLORA_CACHE" 1
  say "installing MixLoRA and MoE-PEFT for the tests into $folder (150 MB); this happens once"
  rm -rf "$folder"
  python3 -m venv "$folder"
  packages=("$folder"/lib/python3*/site-packages)
  realpath "$MOLORA_CACHE"/python/lib/python3*/site-packages >"${packages[0]}/pytorch.pth"
  "$folder/bin/pip" install --quiet --no-deps -r "$requirements" ||
    die "pip could not install $requirements (see above). Is its package index reachable?"
  cp "$requirements" "$folder/complete"
}

# Chromium is a package of Debian; Ubuntu has it as a snap only, which runs nothing of /tmp.
install_pictures() {
  install_packages chromium fonts-dejavu-core
  local venv=$MOLORA_CACHE/tensorboard-2.21.0
  [[ -f $venv/complete ]] && return
  say "installing TensorBoard 2.21.0 into $venv"
  python3 -m venv "$venv"
  # It still asks setuptools for pkg_resources, which later versions do not have.
  "$venv/bin/pip" install --quiet tensorboard==2.21.0 'setuptools<81' || die "pip could not install tensorboard"
  touch "$venv/complete"
}

case ${1:-} in
  "")
    install_packages "${packages[@]}"
    install_libtorch
    ;;
  python)
    install_packages "${packages[@]}"
    install_libtorch
    install_python
    install_moe_python
    ;;
  cuda)
    install_packages "${packages[@]}"
    install_libtorch
    install_cuda_libraries
    ;;
  fuzz)
    install_packages "${packages[@]}"
    install_clang
    ;;
  slurm)
    # libpmix-dev: Slurm looks for libpmix.so, the name that only this package has.
    install_packages slurm-wlm slurm-wlm-basic-plugins munge libpmix-dev iproute2 procps python3-yaml python3-kubernetes
    ;;
  bench) install_packages valgrind ;;
  image) install_packages mmdebstrap ;;
  pictures) install_pictures ;;
  lint) install_packages clang-format-14 clang-tidy-14 shellcheck ;;
  *) die "tools/setup.sh knows cuda, python, fuzz, slurm, bench, image, pictures and lint, not '$1'" ;;
esac
bash "$(dirname "$0")/find_compiler.sh" >/dev/null || exit 1
