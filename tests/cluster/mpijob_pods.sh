#!/usr/bin/env bash
# Runs cluster/kubernetes/mpijob.yaml without Kubernetes: a launcher and two workers, each with a network, host name,
# processes and /dev/shm of its own, on the image that image_test.sh has built, with what the operator adds
# (names, keys, hostfile, environment). Then as when the launcher's node is drained: its preStop hook asks for a save,
# workers' hooks wait for their ranks; and as when the launcher starts again: it resumes. Needs root.
#   mpijob_pods.sh IMAGE      IMAGE: the folder of the last stage
set -euo pipefail
cd "$(dirname "$0")/../.."
image=$(cd "$1" && pwd)
if [[ ${2:-} != inside ]]; then
  # All ranks on one core: tests/cluster/slurm_cluster.sh says why.
  exec taskset -c 0 unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private \
    bash "$0" "$image" inside
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
repository=$PWD
domain=molora.default.svc

# from_manifest ROLE FIELD: a field of the role's container, its words NUL-separated.
from_manifest() {
  /usr/bin/python3 - "$@" <<'END'
import sys, yaml
role, field = sys.argv[1:]
job = next(yaml.safe_load_all(open("cluster/kubernetes/mpijob.yaml")))
container = job["spec"]["mpiReplicaSpecs"][role]["template"]["spec"]["containers"][0]
words = {"command": lambda: container["command"],
         "preStop": lambda: container["lifecycle"]["preStop"]["exec"]["command"],
         "env": lambda: [f"{pair['name']}={pair['value']}" for pair in container.get("env", [])]}[field]()
sys.stdout.write("".join(word + "\0" for word in words))
END
}

# pod NAME NUMBER ROLE [NAME=VALUE]...: the role's command as process 1 of a pod; leaves its number in $pod.
pod() {
  local name=$1 number=$2 role=$3 command environment
  shift 3
  mapfile -d '' command < <(from_manifest "$role" command)
  mapfile -d '' environment < <(from_manifest "$role" env)
  rm -f "$work/$name.ready" "$work/$name.network"
  # shellcheck disable=SC2016  # the inner shell expands them
  NAME=$name IMAGE=$image WORK=$work REPOSITORY=$repository \
    unshare --net --uts --mount --pid --fork --kill-child --propagation private bash -c '
    set -e
    hostname "$NAME"
    touch "$WORK/$NAME.ready"
    until [[ -e $WORK/$NAME.network ]]; do sleep 0.05; done
    cd "$IMAGE"
    mkdir -p repository work home/molora/.ssh etc/mpi
    mount --rbind /dev dev
    mount -t tmpfs tmpfs dev/shm
    mount -t tmpfs tmpfs tmp
    mount -t proc proc proc
    mount --bind "$REPOSITORY" repository
    mount --bind "$WORK/volume" work
    mount --bind "$WORK/keys" home/molora/.ssh
    mount --bind "$WORK/mpi" etc/mpi
    mount --bind "$WORK/hosts" etc/hosts
    exec chroot --userspec=molora:molora . /usr/bin/env -i -C /work PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin \
      HOME=/home/molora "$@"' pod "${environment[@]}" "$@" "${command[@]}" >>"$work/$name.log" 2>&1 &
  pod=$!
  until [[ -e $work/$name.ready ]]; do sleep 0.05; done
  ip link add "port$number" type veth peer name eth0 netns "$pod"
  ip link set "port$number" master bridge0 up
  nsenter -t "$pod" -n sh -c "ip link set lo up; ip addr add 10.77.9.$number/24 dev eth0; ip link set eth0 up"
  touch "$work/$name.network"
}

# in_pod POD WORD...: runs a command in a pod, as kubelet runs a hook.
in_pod() {
  local first
  read -ra first <<<"$(cat "/proc/$1/task/$1/children")"
  shift
  nsenter -t "${first[0]}" -n -u -m -p chroot --userspec=molora:molora "$image" "$@"
}

steps() { grep -c '"type":"step"' "$work/volume/run/metrics.jsonl" 2>/dev/null || true; }
fail() { tail -n 40 "$work"/*.log >&2; echo "mpijob_pods: $*" >&2; exit 1; }

ip link set lo up
ip link add bridge0 type bridge
ip link set bridge0 up
mkdir -p "$work"/{volume,keys,mpi}
ssh-keygen -q -t ecdsa -N '' -f "$work/keys/id_rsa"
cp "$work/keys/id_rsa.pub" "$work/keys/authorized_keys"
for number in 0 1; do
  echo "molora-worker-$number.$domain slots=1" >>"$work/mpi/hostfile"
  echo "10.77.9.$((number + 1)) molora-worker-$number.$domain molora-worker-$number" >>"$work/hosts"
done
echo "10.77.9.3 molora-launcher.$domain molora-launcher" >>"$work/hosts"
data=/repository/tests/assets
cat >"$work/volume/my.yaml" <<END
model: {path: $data/models/medqwen3-1m}
adapter: {num_experts: 4, experts_per_token: 2, lora_rank: 4, lora_alpha: 8}
data: {train: [$data/data/multitask/dev.jsonl], max_length: 128, packing: true}
train: {max_steps: 30, global_batch_size: 8, micro_batch_size: 2, learning_rate: 0.005}
checkpoint: {every: 10}
output_dir: /work/run
END
chown -R 2000:2000 "$work/volume" "$work/keys"

operator=(OMPI_MCA_orte_keep_fqdn_hostnames=true OMPI_MCA_orte_default_hostfile=/etc/mpi/hostfile
  "OMPI_MCA_plm_rsh_args=-o ConnectionAttempts=10" OMPI_MCA_mpi_yield_when_idle=1)
pod molora-worker-0 1 Worker
workers=("$pod")
pod molora-worker-1 2 Worker
workers+=("$pod")
pod molora-launcher 3 Launcher "${operator[@]}"
launcher=$pod

until [[ $(steps) -ge 3 ]]; do
  kill -0 "$launcher" 2>/dev/null || fail "the launcher has ended before step 3"
  sleep 0.2
done
mapfile -d '' hook < <(from_manifest Launcher preStop)
in_pod "$launcher" "${hook[@]}" 2>/dev/null &
mapfile -d '' waiting < <(from_manifest Worker preStop)
in_pod "${workers[0]}" "${waiting[@]}" || fail "the hook of worker 0 failed"
code=0
wait "$launcher" || code=$?
[[ $code -eq 75 ]] || fail "the launcher ended with $code, not with 75"
[[ $(steps) -lt 30 ]] || fail "it was not stopped on the way"

ip link del port3 2>/dev/null || true
pod molora-launcher 3 Launcher "${operator[@]}"
wait "$pod" || fail "the second launcher ended with $?"
grep -q 'resuming from' "$work/molora-launcher.log" || fail "it has not resumed"
[[ $(steps) -eq 30 ]] || fail "there are $(steps) steps, not 30"
grep -hE 'ranks on|stopped|resuming|done:' "$work/molora-launcher.log"
echo "mpijob_pods: saved on the hook, ended with 75, resumed, done"
