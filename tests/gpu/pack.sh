#!/usr/bin/env bash
# Gathers the programs of tests/gpu/run.sh, built here, with every library that a bare machine may lack (Open MPI's
# mpirun among them), but without LibTorch, CUDA and NCCL, which such a machine has: in a Python with the same torch,
# or by ./run setup cuda. Then copy the repository and the pack there and run: tests/gpu/run.sh --pack FILE
#
# usage: pack.sh BUILD-FOLDER FILE.tar.xz
set -euo pipefail
cd "$(dirname "$0")/../.."
die() { echo "pack: $*" >&2; exit 1; }
[[ $# -eq 2 ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64; }
build=$1 file=$2
pack=$(mktemp -d)
trap 'rm -rf "$pack"' EXIT
# shellcheck source=tests/gpu/programs.sh
source tests/gpu/programs.sh

# From the machine itself (glibc and g++'s), or from LibTorch and CUDA.
theirs='^(ld-linux|libc|libm|libdl|librt|libutil|libpthread|libstdc\+\+|libgcc_s|libgomp|libtorch[a-z_]*|libc10|libcud[a-z]*|libcupti|libnccl)[-.]'

# pack_libraries FILE...: what they load.
pack_libraries() {
  ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u | while read -r library; do
    grep -qE "$theirs" <<<"${library##*/}" || cp -L "$library" "$pack/lib/"
  done
}

mkdir -p "$pack"/{bin,lib} "$pack"/openmpi/{bin,lib,plugins,pmix,help,etc}
for target in "${gpu_targets[@]}"; do
  if [[ -x $build/bin/$target ]]; then
    strip -o "$pack/bin/$target" "$build/bin/$target"
  else
    echo "pack: $target is not in $build/bin and is left out" >&2
  fi
done
compgen -G "$pack/bin/*" >/dev/null || die "none of the programs is in $build/bin: ${gpu_targets[*]}"
pack_libraries "$build"/bin/*

command -v mpirun >/dev/null || die "no mpirun here"
path_of() { ompi_info --path "$1" | sed 's/.*: //'; }
cp -L "$(command -v mpirun)" "$pack/openmpi/bin/mpirun"
cp -L "$(command -v orted)" "$pack/openmpi/bin/orted"
# Without the plugins for fabrics and batch systems, which want libraries of their own.
for plugin in "$(path_of pkglibdir)"/mca_*.so; do
  case $plugin in *ucx* | *ofi* | *psm* | *openib* | *romio* | *gridengine* | *flux* | *slurm* | *memheap* | *scoll* | *spml* | *sshmem*) ;;
    *) cp -L "$plugin" "$pack/openmpi/plugins/" ;;
  esac
done
cp "$(path_of pkgdatadir)"/help-*.txt "$pack/openmpi/help/"
cp "$(path_of sysconfdir)"/*.conf "$pack/openmpi/etc/" 2>/dev/null || true
for plugin in "$(dirname "$(ldconfig -p | awk '/libpmix.so.2 / {print $NF; exit}')")"/pmix2/lib/pmix/*.so; do
  case $plugin in *slurm*) ;; *) cp -L "$plugin" "$pack/openmpi/pmix/" ;; esac
done
pack_libraries "$pack"/openmpi/bin/* "$pack"/openmpi/plugins/*.so "$pack"/openmpi/pmix/*.so
cp -L "$(path_of libdir)"/libmca_common_{sm,monitoring,ompio}.so* "$pack/lib/" 2>/dev/null || true
git describe --always --abbrev=40 --dirty >"$pack/commit" 2>/dev/null || echo unknown >"$pack/commit"
tar -C "$pack" -cJf "$file" .
ls -sh "$file" >&2
