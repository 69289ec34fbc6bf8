#!/usr/bin/env bash
# Prints the C++ compiler to use: $CXX, or the first g++ of version 12 or newer.
set -euo pipefail

version_of() { "$1" -dumpversion 2>/dev/null | cut -d. -f1; }

if [[ -n ${CXX:-} ]]; then
  command -v "$CXX" >/dev/null || { echo "run: CXX is set to '$CXX', which is not a program" >&2; exit 1; }
  echo "$CXX"
  exit 0
fi
for candidate in g++ g++-12 g++-13 g++-14; do
  version=$(version_of "$candidate" || true)
  if [[ ${version:-0} -ge 12 ]]; then
    echo "$candidate"
    exit 0
  fi
done
echo "run: molora needs g++ 12 or newer (found: $(g++ -dumpfullversion 2>/dev/null || echo none)); install g++-12 or set CXX" >&2
exit 1
