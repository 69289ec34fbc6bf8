#!/usr/bin/env bash
# In the place of mpirun where there is no MPI: starts the ranks of one host and ends them all when one ends
# badly or when it is asked to, TERM first and KILL a second later, as Open MPI does. Understands the options
# that molora gives to mpirun on one host.
set -u
np=1
while [[ $# -gt 0 ]]; do
  case $1 in
    --np | -np) np=$2 && shift 2 ;;
    --mca) shift 3 ;;
    --bind-to | --map-by) shift 2 ;;
    --oversubscribe) shift ;;
    -*) printf 'fake mpirun: unknown option %s\n' "$1" >&2 && exit 213 ;;
    *) break ;;
  esac
done
printf 'fake mpirun: starting %d ranks\n' "$np" >&2
[[ -z ${FAKE_MPIRUN_FAILS:-} ]] || { printf 'fake mpirun: no host can be reached\n' >&2; exit 213; }

ranks=()
end_all() {
  trap '' TERM INT
  kill -TERM "${ranks[@]}" 2>/dev/null
  for ((i = 0; i < 20; ++i)); do
    kill -0 "${ranks[@]}" 2>/dev/null || return
    sleep 0.05
  done
  kill -KILL "${ranks[@]}" 2>/dev/null
}
trap 'end_all; exit 143' TERM INT
for ((rank = 0; rank < np; ++rank)); do
  OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=$np "$@" &
  ranks+=($!)
done
for ((left = np; left > 0; --left)); do
  wait -n
  status=$?
  if [[ $status -ne 0 ]]; then
    printf 'fake mpirun: a rank ended with code %d\n' "$status" >&2
    end_all
    exit "$status"
  fi
done
