#!/usr/bin/env bash
# What the Dockerfile and the Apptainer definition run inside, as root; Debian 12, Ubuntu 22.04 or 24.04.
#   install.sh build [PRESET]   in the repository: sets up, builds the program, and gathers it with the libraries that
#                               are in no package into /opt/molora (preset: cpu, or default: CUDA when found)
#   install.sh runtime          with /opt/molora in place: installs the packages it needs to run, and makes `molora` a
#                               command and a user
set -euo pipefail
target=/opt/molora
export DEBIAN_FRONTEND=noninteractive

install_packages() {
  apt-get update
  apt-get install -y --no-install-recommends "$@"
  rm -rf /var/lib/apt/lists/*
}

# libraries_of FILE...: the files that the loader finds for them, one a line.
libraries_of() { ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u; }

# package_of FILE: the package that FILE is from, if any. Debian 12 lists libraries under /lib or /usr/lib.
package_of() {
  local file
  file=$(readlink -f "$1")
  { dpkg -S "$file" "${file#/usr}" 2>/dev/null || true; } | sed -n '1s/:.*//p'
}

# LibTorch's CUDA library is loaded when a GPU is asked for, with NVIDIA's libraries; those load one another by name.
gather_gpu_libraries() {
  local libtorch=$MOLORA_CACHE/libtorch-2.11.0
  bash tools/setup.sh cuda
  cp -L "$libtorch"/torch/lib/{libtorch_cuda,libtorch_cuda_linalg,libc10_cuda,libtorch_nvshmem,libcaffe2_nvrtc}.so \
    "$libtorch"/nvidia/*/lib/*.so* "$1/"
}

build() {
  local preset=${1:-cpu} library package
  bash tools/setup.sh
  CXX=$(bash tools/find_compiler.sh) cmake --preset "$preset" -DMOLORA_TESTS=OFF
  cmake --build --preset "$preset" --target molora
  mkdir -p "$target/bin" "$target/lib" "$target/share"
  install build/bin/molora "$target/bin/"
  cp -r configs cluster/slurm LICENSE "$target/share/"
  cp cluster/containers/install.sh "$target/"
  for library in $(libraries_of build/bin/molora); do
    package=$(package_of "$library")
    if [[ -n $package ]]; then
      echo "$package"
    else
      cp -L "$library" "$target/lib/"
    fi
  done | sort -u >"$target/packages"
  if libraries_of build/bin/molora | grep -q libnccl; then
    gather_gpu_libraries "$target/lib"
  fi
  strip --strip-debug "$target/bin/molora"
}

runtime() {
  local packages
  mapfile -t packages <"$target/packages"
  # openssh: the ranks of an MPIJob are started over it.
  install_packages "${packages[@]}" openmpi-bin openssh-client openssh-server
  # A file, not LD_LIBRARY_PATH: a rank that ssh starts has no environment from the image.
  echo "$target/lib" >/etc/ld.so.conf.d/molora.conf
  ldconfig
  ln -sf "$target/bin/molora" /usr/local/bin/molora
  useradd --create-home --uid 2000 --shell /bin/bash molora
  # sshd without root, for cluster/kubernetes: a key of the job, mounted by the operator, is all that it knows.
  mkdir -p /run/sshd
  cat >/home/molora/.sshd_config <<'END'
Port 2222
PidFile /home/molora/sshd.pid
HostKey /home/molora/.ssh/id_rsa
StrictModes no
PasswordAuthentication no
END
  # The keys of the workers are made anew for each job, so there is nothing to compare them with.
  cat >/etc/ssh/ssh_config.d/molora.conf <<'END'
Host *
  Port 2222
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
END
  chown molora:molora /home/molora/.sshd_config
  molora --version
}

case ${1:-} in
  build) build "${2:-cpu}" ;;
  runtime) runtime ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
