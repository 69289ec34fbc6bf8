#!/usr/bin/env bash
# Four ranks on two hosts: network namespaces with host names, /dev/shm and an Ethernet link of their own, so that
# ranks of different hosts really talk over TCP. The demo configuration on tp2 x ep2 must come to the loss of one
# rank in one process. Needs root and iproute2.
#   two_hosts.sh [STEPS]
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${1:-12}
molora=${MOLORA_PROGRAM:-$PWD/build/bin/molora}
work=$(mktemp -d)
hosts=tests/support/two_hosts.sh

trap 'bash "$hosts" down "$work"; rm -rf "$work"' EXIT
bash "$hosts" up "$work"

arguments=(train configs/medqwen3-multitask.yaml --set "train.max_steps=$steps" --set eval.at_start=false
  --set eval.every=0 --set eval.max_samples_per_task=5 --set checkpoint.every=0)
"$molora" "${arguments[@]}" --set "output_dir=$work/one" >"$work/one.log" 2>&1
nsenter -t "$(cat "$work/holder1")" -n -u -m env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
  OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1 \
  mpirun --wdir "$PWD" --hostfile "$work/hosts" --mca plm_rsh_agent "$work/agent" \
  --mca oob_tcp_if_include e0 --mca btl_tcp_if_include e0 --mca btl self,vader,tcp --bind-to none -n 4 \
  "$molora" "${arguments[@]}" --set "output_dir=$work/four" --set parallel.tensor_parallel=2 \
  --set parallel.expert_parallel=2 --set parallel.exchange=tokens >"$work/four.log" 2>&1 ||
  { cat "$work/four.log" >&2; exit 1; }

grep -E 'layout|sent between' "$work/four.log"
python3 - "$work" "$steps" <<'END'
import json, sys
def losses(name):
    lines = (json.loads(line) for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl"))
    return [line["loss"] for line in lines if line["type"] == "step"]
one, four = losses("one"), losses("four")
assert len(one) == len(four) == int(sys.argv[2]), (len(one), len(four))
worst = max(abs(a - b) / b for a, b in zip(four, one))
print(f"{len(one)} steps; loss {one[0]:.6f} -> {one[-1]:.6f} on one rank, {four[-1]:.6f} on two hosts; "
      f"largest relative difference {worst:.1e}")
sys.exit(0 if worst < 1e-4 else 1)
END
