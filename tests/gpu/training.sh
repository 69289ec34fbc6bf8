#!/usr/bin/env bash
# Training on a GPU against training on the CPU, for run.sh, which exports `bin`, `work`, `steps`, `mpirun`.
#
#   training.sh curve NAME FIRST ALL SETTING...   the demo on the CPU and on a GPU; losses may differ by FIRST in the
#                                                 first step and by ALL in any, relative
#   training.sh repeat NAME SETTING...            twice on the GPU: the same losses to the last digit
#   training.sh ranks RANKS GPUS FIRST ALL SETTING...   several ranks, on one GPU if need be, against the CPU
#   training.sh speed NAME CONFIG SETTING...      tokens per second
set -euo pipefail
cd "$(dirname "$0")/../.."
# `settings`: a file with more of the configuration, or nothing.
: "${bin:?}" "${work:?}" "${steps:?}" "${settings=}"
demo=configs/medqwen3-multitask.yaml

# train NAME SETTING...: the demo, or $config, without evaluation to speak of.
train() {
  local name=$1 setting arguments=()
  shift
  for setting in "train.max_steps=$steps" eval.every=0 eval.max_samples_per_task=1 checkpoint.every=100000 \
                 train.log_every=1000 supervisor.max_restarts=0 "output_dir=$work/training/$name" "$@"; do
    arguments+=(--set "$setting")
  done
  rm -rf "$work/training/$name"
  mkdir -p "$work/training"
  "${launch[@]}" "$bin/molora" train "${config:-$demo}" ${settings:+"$settings"} "${ranks_option[@]}" --progress plain "${arguments[@]}" \
    >"$work/training/$name.log" 2>&1 || { tail -n 20 "$work/training/$name.log"; echo "training $name failed"; return 1; }
}
launch=() ranks_option=(--ranks 1)

losses_of() {
  grep '"type":"step"' "$work/training/$1/metrics.jsonl" | grep -o '"loss":[^,}]*' | cut -d: -f2
}

# The CPU's losses, computed once for each set of settings.
train_on_cpu() {
  local name
  name=cpu-$(cksum <<<"$*" | cut -d' ' -f1)
  [[ -f $work/training/$name/metrics.jsonl ]] || (launch=() ranks_option=(--ranks 1) && train "$name" device.kind=cpu "$@")
  cpu=$name
}

# compare NAME OTHER FIRST ALL
compare() {
  paste <(losses_of "$1") <(losses_of "$2") | awk -v first="$3" -v all="$4" -v steps="$steps" -v name="$1" '
    NF != 2 || $1 != $1 + 0 && $1 !~ /e/ { bad = 1; print "step " NR ": losses are \"" $0 "\"" }
    { d = ($1 - $2) / ($2 < 0 ? -$2 : $2); if (d < 0) d = -d; if (NR == 1) d1 = d; if (d > worst) { worst = d; at = NR } last = $0 }
    END {
      if (NR != steps) { print "there are " NR " steps instead of " steps; bad = 1 }
      print "last losses (GPU, CPU): " last
      print "FIGURE loss." name ".difference_in_first_step " d1 + 0 " relative (allowed " first ")"
      print "FIGURE loss." name ".largest_difference " worst + 0 " relative, in step " at + 0 " (allowed " all ")"
      exit bad || d1 > first || worst > all
    }'
}

case ${1:-} in
  curve)
    name=$2 first=$3 all=$4
    shift 4
    precision=()
    for setting; do [[ $setting == model.* ]] && precision+=("$setting"); done
    train_on_cpu "${precision[@]}"
    train "$name" device.kind=cuda "$@"
    compare "$name" "$cpu" "$first" "$all"
    ;;
  repeat)
    name=$2
    shift 2
    train "$name-1" device.kind=cuda "$@"
    train "$name-2" device.kind=cuda "$@"
    compare "$name-1" "$name-2" 0 0
    ;;
  ranks)
    ranks=$2 gpus=$3 first=$4 all=$5
    shift 5
    train_on_cpu
    launch=("${mpirun:?}" --allow-run-as-root --oversubscribe -np "$ranks")
    [[ $ranks -le $gpus ]] || launch+=(bash tests/gpu/rank_of_one_gpu.sh)
    ranks_option=()
    train "ranks-$ranks" device.kind=cuda parallel.backend=nccl "$@"
    compare "ranks-$ranks" "$cpu" "$first" "$all"
    ;;
  speed)
    name=$2 config=$3
    shift 3
    train "$name" device.kind=cuda "$@"
    # The first steps set things up; the median of the others.
    grep '"type":"step"' "$work/training/$name/metrics.jsonl" | grep -o '"tokens_per_second":[^,}]*' | cut -d: -f2 |
      tail -n +"$((steps / 3 + 1))" | sort -g | awk -v name="$name" '
        { value[NR] = $1 }
        END { if (NR == 0) exit 1; printf "FIGURE training.%s %.0f tokens/s\n", name, value[int((NR + 1) / 2)] }'
    ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
