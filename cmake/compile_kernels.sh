#!/usr/bin/env bash
# Runs nvcc (or ccache and nvcc) and puts what ptxas says of the kernels beside the object.
#
# usage: compile_kernels.sh COMMAND... -o OBJECT ...     the rest of the compiler's words go to stderr
set -euo pipefail
object=
for ((i = 1; i < $#; ++i)); do
  if [[ ${!i} == -o ]]; then
    next=$((i + 1))
    object=${!next}
  fi
done
status=0
words=$("$@" 2>&1) || status=$?
ours='^ptxas info|^    [0-9]+ bytes stack frame'
if [[ -n $object && $status -eq 0 ]]; then
  grep -E "$ours" <<<"$words" >"$object.ptxas" || true
fi
grep -vE "$ours|^$" <<<"$words" >&2 || true
exit "$status"
