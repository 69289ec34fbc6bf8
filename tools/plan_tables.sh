#!/bin/bash
# The tables of configs/hardware/README.md: the best layout for published models on GPUs, as `molora
# plan --gpus` finds it.
#
# usage: tools/plan_tables.sh [--check] [PROGRAM]
#   writes the part of the README between its two marks anew; with --check compares and exits 1 when
#   the tables are out of date. PROGRAM: build/bin/molora.
set -euo pipefail
cd "$(dirname "$0")/.."

is_check=no
if [ "${1:-}" = --check ]; then
  is_check=yes
  shift
fi
program=${1:-build/bin/molora}
readme=configs/hardware/README.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# table TITLE GPU LINK MODELS NUMBERS [OVERRIDE...]
table() {
  local title=$1 gpu=$2 link=$3 models=$4 numbers=$5
  shift 5
  local sets=()
  for override in "$@"; do sets+=(--set "$override"); done
  printf '\n**%s**\n\n' "$title"
  echo '| model | GPUs | best layout | tokens/s | a GPU | memory | of it base / kept | sent a step | most time in |'
  echo '|---|---|---|---|---|---|---|---|---|'
  for model in $models; do
    for gpus in $numbers; do
      "$program" plan configs/ming-moe.yaml --gpus "$gpus" --gpu "$gpu" --link "$link" \
        --json "$work/plan.json" --set model.path=configs/shapes/"$model" \
        --set data.max_length=4096 --set train.global_batch_size=1024 "${sets[@]}" > "$work/out" 2>&1 ||
        { cat "$work/out" >&2; exit 1; }
      python3 tools/plan_row.py "$work/plan.json"
    done
  done
}

tables() {
  local models="qwen1.5-1.8b qwen1.5-4b qwen1.5-7b qwen1.5-14b qwen2.5-72b llama-3-70b"
  table "H100 80 GB, NVLink and InfiniBand NDR" h100 nvlink+ib400 "$models" "8 64 512"
  table "8 x A100 80 GB, base in nf4" a100-80g nvlink "$models" 8 model.quantization=nf4
  table "8 x L40S 48 GB over PCIe, base in nf4" l40s pcie "$models" 8 model.quantization=nf4
}

tables > "$work/tables"
begin='<!-- tables: tools/plan_tables.sh writes what follows -->'
end='<!-- end of the tables -->'
awk -v begin="$begin" -v end="$end" -v file="$work/tables" '
  $0 == begin { print; while ((getline line < file) > 0) print line; skip = 1 }
  $0 == end { print ""; skip = 0 }
  !skip && $0 != begin { print }' "$readme" > "$work/readme"
if [ "$is_check" = yes ]; then
  if ! diff -u "$readme" "$work/readme"; then
    echo "the tables of $readme are out of date: run tools/plan_tables.sh and commit the file" >&2
    exit 1
  fi
  echo "the tables of $readme are up to date"
else
  cp "$work/readme" "$readme"
fi
