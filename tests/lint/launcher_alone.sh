#!/usr/bin/env bash
# The test program of the launcher needs neither MPI nor LibTorch, directly or through a library.
#
# usage: launcher_alone.sh PROGRAM
set -euo pipefail

needed=$(ldd "$1")
if ! grep -q 'libc\.so' <<<"$needed"; then
  echo "ldd $1 names no C library, so it cannot be trusted to name others: ${needed:-nothing}"
  exit 1
fi
if grep -E 'lib(mpi|open-(rte|pal)|pmix|torch|c10|cudart|nccl)' <<<"$needed"; then
  echo "$1 needs the libraries above; the launcher must do without"
  exit 1
fi
echo "$1 needs $(wc -l <<<"$needed") libraries, none of MPI or LibTorch"
