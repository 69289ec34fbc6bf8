#!/usr/bin/env bash
# A real Slurm cluster on one machine: a login host with slurmctld and two compute hosts, n1 and n2, with a slurmd
# each. Every host has a network, a host name and a /dev/shm of its own, so ranks on n1 and n2 really talk over TCP.
# All of it lives in one process namespace: when that ends, nothing of the cluster or of its jobs is left.
#   slurm_cluster.sh start FOLDER [OWNER]   FOLDER (made here) gets configuration, state and logs of the daemons, and
#                                           the two below; the cluster ends by itself when process OWNER is gone
#   slurm_cluster.sh stop FOLDER            ends every process of it; FOLDER stays, for its logs
#   FOLDER/slurmd NAME                      starts the slurmd of n1 or n2 again (on that host, with bash)
#   FOLDER/on HOST COMMAND...               runs a command on login, n1 or n2 (sbatch, srun, scontrol, anything)
# Needs root and what `tools/setup.sh slurm` installs. MOLORA_SLURM_CPUS: CPUs of each node (default 2).
set -euo pipefail

die() { printf 'slurm_cluster: %s\n' "$*" >&2; exit 1; }

action=${1:-}
folder=${2:-}
[[ -n $folder && $action =~ ^(start|stop|inside)$ ]] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64; }
cpus=${MOLORA_SLURM_CPUS:-2}
pmix_folder=/usr/lib/x86_64-linux-gnu

check_needs() {
  local program missing=()
  [[ $(id -u) -eq 0 ]] || die "must be root: it makes network namespaces"
  for program in slurmctld slurmd srun munged mungekey mpirun ip unshare nsenter; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  # Slurm loads libpmix.so by this name, which is in the -dev package.
  [[ -e $pmix_folder/libpmix.so ]] || ldconfig -p | grep -q 'libpmix\.so$' || missing+=(libpmix.so)
  [[ ${#missing[@]} -eq 0 ]] || die "missing: ${missing[*]}; run: bash tools/setup.sh slurm"
}

write_configuration() {
  cat >"$folder/slurm.conf" <<END
ClusterName=molora
SlurmctldHost=login(10.77.7.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=1
KillWait=5
UnkillableStepTimeout=30
MessageTimeout=20
SlurmdTimeout=${MOLORA_SLURM_NODE_TIMEOUT:-20}
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
JobRequeue=1
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmdSpoolDir=$folder/spool.%n
StateSaveLocation=$folder/state
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
TmpFS=$folder/tmp.%n
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=n1 NodeAddr=10.77.7.1 CPUs=$cpus State=UNKNOWN
NodeName=n2 NodeAddr=10.77.7.2 CPUs=$cpus State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES DefaultTime=30 PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL DefaultTime=30 PriorityTier=2 PreemptMode=OFF
END
  cat >"$folder/on" <<END
#!/usr/bin/env bash
# on HOST COMMAND...: runs the command on a host of the cluster, in this working directory.
set -euo pipefail
host=\$1
shift
keeper=\$(cat "$folder/keeper.pid")
read -ra first <<<"\$(cat "/proc/\$keeper/task/\$keeper/children")"
exec nsenter -t "\${first[0]}" -p -m nsenter -t "\$(cat "$folder/\$host.pid")" -n -u -m \\
  env --chdir="\$PWD" SLURM_CONF="$folder/slurm.conf" "\$@"
END
  chmod +x "$folder/on"
  # All ranks on one core: where they outnumber the free cores, a rank that waits then hands the core to the one that
  # works; spread over busy cores the same runs take ten times as long.
  echo "exec taskset -c $(taskset -cp $$ | sed 's/.*[ ,-]//') slurmd -N \"\$1\"" >"$folder/slurmd"
}

# make_host NAME NUMBER: a sleeping process that keeps compute host NAME open, and a slurmd on it.
make_host() {
  local name=$1 number=$2
  unshare --net --uts --mount --propagation private sh -c "
    hostname $name
    mount -t tmpfs tmpfs /dev/shm
    ip link set lo up
    echo \$\$ >'$folder/$name.pid'
    exec sleep infinity" &
  until [[ -s $folder/$name.pid ]]; do sleep 0.05; done
  ip link add "port$number" type veth peer name e0 netns "$!"
  ip link set "port$number" master bridge0 up
  nsenter -t "$!" -n sh -c "ip addr add 10.77.7.$number/24 dev e0; ip link set e0 up"
  nsenter -t "$!" -n -u -m bash "$folder/slurmd" "$name"
}

# What the first process of the namespace does, on the login host.
be_cluster() {
  export SLURM_CONF=$folder/slurm.conf
  hostname login
  mount -t proc proc /proc
  mount -t tmpfs tmpfs /dev/shm
  ip link set lo up
  ip link add bridge0 type bridge
  ip addr add 10.77.7.254/24 dev bridge0
  ip link set bridge0 up
  munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
  slurmctld
  make_host n1 1
  make_host n2 2
  echo $$ >"$folder/login.pid"
  until [[ $(sinfo -h -N -o %T | sort -u) == idle ]]; do sleep 0.1; done
  touch "$folder/ready"
  # bash takes in what is left behind on the hosts, as an init does.
  sleep infinity &
  wait
}

case $action in
  start)
    check_needs
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    [[ ! -e $folder/login.pid ]] || die "$folder has a cluster already"
    mkdir -p "$folder/state" "$folder"/{spool,tmp}.n{1,2}
    write_configuration
    mungekey --create --keyfile="$folder/munge.key"
    setsid unshare --pid --fork --kill-child --net --uts --mount --propagation private \
      bash "$0" inside "$folder" >"$folder/cluster.log" 2>&1 </dev/null &
    echo $! >"$folder/keeper.pid"
    owner=${3:-}
    if [[ -n $owner ]]; then
      setsid bash -c "while [[ -d /proc/$owner && -d /proc/$! ]]; do sleep 1; done; kill -9 $! 2>/dev/null" \
        >/dev/null 2>&1 </dev/null &
    fi
    for _ in $(seq 600); do
      [[ -d /proc/$(cat "$folder/keeper.pid") ]] || { cat "$folder/cluster.log" >&2; die "did not start"; }
      [[ -e $folder/ready ]] && exit 0
      sleep 0.1
    done
    cat "$folder/cluster.log" "$folder"/slurm*.log >&2
    die "the nodes are not idle after 60 s (logs above)"
    ;;
  stop)
    [[ -e $folder/keeper.pid ]] || die "$folder has no cluster"
    # unshare --kill-child: the first process of the namespace dies with it, and all others with that one.
    kill -9 "$(cat "$folder/keeper.pid")" 2>/dev/null || true
    rm -f "$folder/keeper.pid" "$folder"/{login,n1,n2}.pid "$folder/ready"
    ;;
  inside) be_cluster ;;
esac
