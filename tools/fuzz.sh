#!/usr/bin/env bash
# Runs the fuzz targets of build-fuzz/bin, each on a copy of its seeds in tests/fuzz/corpus, and prints
# a line for each: runs, runs a second, coverage, result. Fails, with the input's path, when one crashes.
#   fuzz.sh SECONDS [NAME...]   NAME: safetensors for build-fuzz/bin/safetensors_fuzz; default: all
#   KEEP=1 fuzz.sh ...          adds inputs that reach new code to the seeds
set -euo pipefail
cd "$(dirname "$0")/.."
declare -F die >/dev/null || die() { printf 'fuzz: %s\n' "$*" >&2; exit 1; }

seconds=${1:?usage: tools/fuzz.sh SECONDS [NAME...]}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "SECONDS is '$seconds', expected a whole number above 0"
shift
names=("$@")
if [[ ${#names[@]} -eq 0 ]]; then
  for source in tests/fuzz/*_fuzz.cc; do
    names+=("$(basename "$source" _fuzz.cc)")
  done
fi
findings=build-fuzz/findings
options=(-rss_limit_mb=1024 -timeout=10 -max_len=65536 -print_final_stats=1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# last LOG PATTERN: the number after the last PATTERN in the log, or 0.
last() { { grep -oE "$2 *[0-9]+" "$1" || echo 0; } | tail -n 1 | grep -oE '[0-9]+$'; }

# fuzz NAME: runs one target; 1 when it found something or ran nothing.
fuzz() {
  local name=$1 program=build-fuzz/bin/$1_fuzz log=$work/$1.log result=ok runs input
  [[ -x $program ]] || die "$program is not there; build it with: ./run fuzz"
  [[ -d tests/fuzz/corpus/$name ]] || die "tests/fuzz/corpus/$name, the seeds of $name, is not there"
  { mkdir -p "$findings" "$work/$name" && cp -r "tests/fuzz/corpus/$name/." "$work/$name"; } ||
    die "cannot copy the seeds of $name to $work"
  "$program" "${options[@]}" -max_total_time="$seconds" -artifact_prefix="$findings/$name-" \
    "$work/$name" >"$log" 2>&1 || result="FAILED (status $?)"
  runs=$(last "$log" 'stat::number_of_executed_units:')
  [[ $result != ok || $runs -gt 0 ]] || result="FAILED (no run)"
  printf '%-16s %9d runs  %7d runs/s  coverage %5d  %s\n' "$name" "$runs" \
    "$(last "$log" 'stat::average_exec_per_sec:')" "$(last "$log" 'cov:')" "$result"
  if [[ $result != ok ]]; then
    tail -n 60 "$log" >&2
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    printf 'fuzz: %s failed on the input %s\n  again: %s %s\n' "$name" "${input:-(none kept)}" "$program" "$input" >&2
    return 1
  fi
  if [[ ${KEEP:-0} == 1 ]]; then
    "$program" -merge=1 "tests/fuzz/corpus/$name" "$work/$name" >"$log" 2>&1 || die "merging failed: $(tail -n 1 "$log")"
  fi
}

failed=0
for name in "${names[@]}"; do
  fuzz "$name" || failed=1
done
exit "$failed"
