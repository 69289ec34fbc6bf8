#!/usr/bin/env bash
# Builds what the Dockerfile says in chroots, and uses it as its user: trains on two ranks with this repository as
# /work, answers over ssh as a worker of an MPIJob does, and is the image of the MPIJob of mpijob_pods.sh. Needs root,
# mmdebstrap and what `tools/setup.sh slurm` installs; takes as long as a whole build.
#   image_test.sh [FOLDER]   FOLDER: where the chroots are made, and stay
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v mmdebstrap >/dev/null || { echo "image_test: no mmdebstrap; run: bash tools/setup.sh image" >&2; exit 1; }
if [[ $# -eq 0 ]]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
else
  folder=$1
fi
# What was fetched already is not fetched again.
wheels=${MOLORA_CACHE:-$HOME/.cache/molora}/wheels
mkdir -p "$wheels"
train='molora train configs/medqwen3-multitask.yaml --ranks 2 --set train.max_steps=3 --set eval.at_start=false
  --set eval.max_samples_per_task=2 --set output_dir=/tmp/run'
worker='set -e; mkdir -m 700 ~/.ssh; ssh-keygen -q -t ecdsa -N "" -f ~/.ssh/id_rsa
  cp ~/.ssh/id_rsa.pub ~/.ssh/authorized_keys; /usr/sbin/sshd -f ~/.sshd_config
  ssh 127.0.0.1 "molora --version && orted --help >/dev/null"'
# shellcheck disable=SC2016  # the shell in the chroot expands it
python3 tests/cluster/run_dockerfile.py --keep "$folder" --mount "$wheels:/var/cache/molora/wheels" \
  --mount "$PWD:/work" cluster/containers/Dockerfile . \
  'test "$(id -un)" = molora && test "$PWD" = /work' 'molora --version' "${train//$'\n'/}" \
  'molora verify /tmp/run' "$worker"
bash tests/cluster/mpijob_pods.sh "$folder/stage1"
