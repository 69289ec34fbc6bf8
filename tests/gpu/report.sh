# shellcheck shell=bash disable=SC2154 # set by run.sh
# Sourced by run.sh: runs the steps, and writes what came of them.
step_lines=() figure_lines=() failed=0 passed=0 left_out=0

# has NEED...: whether a step's programs, and mpirun and libtorch where it wants them, are there; names what is not.
has() {
  local need
  for need; do
    case $need in
      mpirun) [[ -n $mpirun ]] || { echo "no mpirun"; return 1; } ;;
      libtorch) [[ -n $libtorch_uses_gpus ]] || { echo "no LibTorch $libtorch_version with CUDA"; return 1; } ;;
      *) [[ -n $bin && -x $bin/$need ]] || { echo "$need was not built"; return 1; } ;;
    esac
  done
}

# step NAME VARIANT LIMIT NEEDS COMMAND...: runs it within its limit and within the whole time, and notes the result.
step() {
  local name=$1 variant=$2 limit=$3 needs=$4 title result why log=$work/step.log begin
  shift 4
  title=$name
  [[ $variant == - ]] || title+=" $variant"
  begin=$(date +%s.%N)
  # shellcheck disable=SC2086
  if ! why=$(has $needs); then
    result="not run: $why"
  elif ((SECONDS + 5 > total_limit)); then
    result="not run: no time left of $total_limit s"
  else
    ((SECONDS + limit <= total_limit)) || limit=$((total_limit - SECONDS))
    local status=0
    timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 || status=$?
    # A filter that selects nothing is a failure, not a success.
    ! grep -q "0 tests from 0 test suites" "$log" || status=1
    case $status in
      0) result=passed ;;
      124 | 137) result="FAILED: not done within $limit s" ;;
      *) result="FAILED with code $status" ;;
    esac
    { printf '=== %s: %s\n%s\n' "$title" "$result" "$*"; cat "$log"; } >>"$work/steps.log"
    mapfile -t -O "${#figure_lines[@]}" figure_lines < <(sed -n 's/^FIGURE //p' "$log")
    [[ $result == passed ]] || tail -n 15 "$log" >&2
  fi
  case $result in
    passed) passed=$((passed + 1)) ;;
    FAILED*) failed=$((failed + 1)) ;;
    *) left_out=$((left_out + 1)) ;;
  esac
  local seconds
  seconds=$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN {printf "%.1f", b - a}')
  step_lines+=("$title"$'\t'"$result"$'\t'"$seconds")
  printf '%-40s %8s s  %s\n' "$title" "$seconds" "$result" >&2
}

# What this run cannot show, whatever its steps say.
not_covered() {
  [[ -z $fake ]] || echo "anything of a real GPU: the test libraries ran in place of CUDA, NCCL and LibTorch's CUDA library"
  if [[ $gpu_count -lt 2 ]]; then
    echo "NCCL between GPUs: ranks shared one GPU and talked through sockets; NVLink, NVLS, direct copies and the speed of collectives"
  fi
  echo "several machines: InfiniBand, RoCE, GPUDirect RDMA"
  echo "overlap of communication and computation, and the priority of streams"
  echo "kernels of several ranks that run at once and wait for one another"
  echo "a driver or a GPU that fails"
  echo "GPU architectures other than: ${gpu_names//$'\n'/; }"
}

json_text() { sed 's/\\/\\\\/g; s/"/\\"/g; s/[[:cntrl:]]/ /g' <<<"$1" | sed '1s/^/"/; $s/$/"/'; }

# json_lines NAME...: tab-separated lines on stdin as objects with these keys.
json_lines() {
  local line separator='' keys=("$@") cells i
  while IFS= read -r line; do
    IFS=$'\t' read -ra cells <<<"$line"
    printf '%s\n    {' "$separator"
    for i in "${!keys[@]}"; do
      printf '%s"%s": %s' "$([[ $i -eq 0 ]] || echo ', ')" "${keys[i]}" "$(json_text "${cells[i]:-}")"
    done
    printf '}'
    separator=,
  done
}

write_report() {
  local text=$out/gpu-report.txt json=$out/gpu-report.json figures
  # "name value unit": the first two words, then the rest.
  figures=$(printf '%s\n' "${figure_lines[@]}" | sed -n 's/^\([^ ]*\) \([^ ]*\) \(.*\)$/\1\t\2\t\3/p')
  {
    echo "molora on GPUs: $passed steps passed, $failed failed, $left_out not run, in $SECONDS s"
    echo
    describe_machine | sed 's/\t/: /'
    echo "programs: $built_from"
    echo
    printf '%s\n' "${step_lines[@]}" | awk -F'\t' '{printf "%-40s %8s s  %s\n", $1, $3, $2}'
    echo
    awk -F'\t' '{printf "%-64s %14s %s\n", $1, $2, $3}' <<<"$figures"
    echo
    echo "not covered:"
    not_covered | sed 's/^/  /'
  } >"$text"
  {
    printf '{\n  "passed": %d, "failed": %d, "not_run": %d, "seconds": %d,\n  "machine": [' "$passed" "$failed" "$left_out" "$SECONDS"
    { describe_machine; printf 'programs\t%s\n' "$built_from"; } | json_lines name value
    printf '\n  ],\n  "steps": ['
    printf '%s\n' "${step_lines[@]}" | json_lines name result seconds
    printf '\n  ],\n  "figures": ['
    [[ -z $figures ]] || json_lines name value unit <<<"$figures"
    printf '\n  ],\n  "not_covered": ['
    not_covered | json_lines what
    printf '\n  ]\n}\n'
  } >"$json"
  cp "$work/steps.log" "$out/gpu-steps.log" 2>/dev/null || : >"$out/gpu-steps.log"
  cat "$text" >&2
  say "report: $text, $json; what the steps said: $out/gpu-steps.log"
}
