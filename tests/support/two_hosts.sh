#!/usr/bin/env bash
# Two hosts on this machine: network namespaces with host names, /dev/shm and an Ethernet link of their own, so that
# ranks of different hosts really talk over TCP. Needs root and iproute2.
#   two_hosts.sh up FOLDER          makes hosts 10.77.0.1 and 10.77.0.2; FOLDER gets
#                                     holder1, holder2   ids of the processes that keep them open
#                                     agent              in ssh's place: agent HOST COMMAND...
#                                     hosts              a hostfile, two slots each
#   two_hosts.sh link FOLDER up|down   the cable of the second host
#   two_hosts.sh down FOLDER
# Within the first host:  nsenter -t "$(cat FOLDER/holder1)" -n -u -m COMMAND
set -euo pipefail
action=${1:?up, link or down}
folder=${2:?a folder}

# make_host NUMBER: a sleeping process that keeps host 10.77.0.NUMBER open.
make_host() {
  local number=$1
  unshare --net --uts --mount --propagation private sh -c "
    hostname molora-h$number
    mount -t tmpfs tmpfs /dev/shm
    ip link set lo up
    echo ready >'$folder/ready$number'
    exec sleep 36000" >/dev/null 2>&1 &
  echo $! >"$folder/holder$number"
  until [[ -s $folder/ready$number ]]; do sleep 0.05; done
  ip link add "molora-v$number" type veth peer name e0 netns "$!"
  ip link set "molora-v$number" master molora-br up
  nsenter -t "$!" -n ip addr add "10.77.0.$number/24" dev e0
  nsenter -t "$!" -n ip link set e0 up
}

case $action in
  up)
    ip link add molora-br type bridge
    ip link set molora-br up
    make_host 1
    make_host 2
    echo up >"$folder/link"
    # A host that cannot be reached answers ssh with 255 after a while.
    cat >"$folder/agent" <<END
#!/bin/sh
case \$1 in
  10.77.0.1) pid=$(cat "$folder/holder1") ;;
  10.77.0.2) pid=$(cat "$folder/holder2")
    if [ "\$(cat '$folder/link')" = down ]; then
      sleep 1
      echo "connect to host \$1: No route to host" >&2
      exit 255
    fi ;;
  *) echo "no host \$1" >&2; exit 255 ;;
esac
shift
exec nsenter -t \$pid -n -u -m sh -c "\$*"
END
    chmod +x "$folder/agent"
    printf '10.77.0.1 slots=2\n10.77.0.2 slots=2\n' >"$folder/hosts"
    ;;
  link)
    echo "${3:?up or down}" >"$folder/link"
    ip link set molora-v2 "$3"
    ;;
  down)
    for number in 1 2; do
      if [[ -s $folder/holder$number ]]; then kill "$(cat "$folder/holder$number")" 2>/dev/null || true; fi
    done
    for link in molora-br molora-v1 molora-v2; do ip link del "$link" 2>/dev/null || true; done
    ;;
  *) echo "two_hosts.sh: unknown action '$action'" >&2; exit 64 ;;
esac
