#!/usr/bin/env bash
# The test SmolLM2Golden: makes the real model, which needs the network the first time, and compares its
# losses, top logits, greedy tokens and weights with the golden numbers.
#   smollm2_golden.sh PROGRAM     PROGRAM: the built model_golden_test
set -euo pipefail
program=$(realpath "${1:?usage: smollm2_golden.sh PROGRAM}")
cd "$(dirname "$0")/../.."

name=smollm2-135m-instruct
model=$(tools/smollm2.sh)
golden=$(mktemp -d)
trap 'rm -rf "$golden"' EXIT
mkdir "$golden/$name"
ln -s "$(realpath "$model")"/* "$PWD/tests/assets/models/$name"/golden_forward* "$golden/$name"
MOLORA_GOLDEN_DIR=$golden "$program" --gtest_filter="*ForwardGolden.*/${name//-/_}"
