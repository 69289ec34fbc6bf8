#!/usr/bin/env bash
# The main job on a small real model: seven medical tasks, two ranks, one of them killed on the way.
#   demo.sh [--model medqwen3|smollm2]
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/fetch.sh

model=medqwen3
while [[ $# -gt 0 ]]; do
  case $1 in
    --model) model=${2:-}; shift 2 || die "--model needs a name: medqwen3 or smollm2" ;;
    *) die "demo: unknown argument '$1' (known: --model medqwen3|smollm2)" ;;
  esac
done

molora=build/bin/molora
run=runs/demo-$model
case $model in
  medqwen3)
    config=(configs/medqwen3-multitask.yaml)
    kill_after=60
    ;;
  smollm2)
    folder=$MOLORA_CACHE/models/smollm2-135m-instruct
    bash tools/smollm2.sh "$folder"
    config=(configs/smollm2-multitask.yaml --set "model.path=$folder")
    kill_after=6
    ;;
  *) die "demo: there is no model '$model' (known: medqwen3, smollm2)" ;;
esac
train=("$molora" train --ranks 2 "${config[@]}" --set "output_dir=$run")

children_of() { cat "/proc/$1/task/$1/children" 2>/dev/null || true; }

# The workers of a running `molora train --ranks N`: supervisor, mpirun, an agent for each rank, its worker.
workers_of() {
  local mpirun agent
  for mpirun in $(children_of "$1"); do
    for agent in $(children_of "$mpirun"); do children_of "$agent"; done
  done
}

steps_done() { grep -c '"type":"step"' "$run/metrics.jsonl" 2>/dev/null || true; }

rm -rf "$run"
say "fine-tuning $model with MoLoRA on seven medical tasks: ${train[*]}"
"${train[@]}" &
job=$!
trap 'kill "$job" 2>/dev/null || true' EXIT
while kill -0 "$job" 2>/dev/null && [[ $(steps_done) -lt $kill_after ]]; do sleep 0.1; done
if kill -0 "$job" 2>/dev/null; then
  say "kill -9 of rank 1 after $(steps_done) steps, as a machine would fail; it goes on by itself"
  read -ra workers <<<"$(workers_of "$job")"
  kill -9 "${workers[-1]}"
fi
wait "$job" || die "the training failed (see above)"
trap - EXIT

ask() {
  say "question: $1"
  "$molora" --quiet generate "$run" --prompt "$1" --max-new-tokens 80
}
ask "What are the symptoms of asthma?"
ask "感冒发烧咳嗽应该怎么办？"

say "everything of this run lies in $run/"
cat >&2 <<EOF
  results.txt      the table above
  metrics.jsonl    loss, learning rate, expert load, speed: one line per step
  config.yaml      the resolved configuration
  checkpoints/     adapters and optimizer state; the newest one goes on, the best one is kept
Next: $molora eval $run          $molora generate $run --prompt "..."
A model of this size talks like a doctor and knows nothing: never take its word for anything.
EOF
