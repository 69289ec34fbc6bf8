#!/usr/bin/env bash
# The test ScoresLive: thousands of random cases, answered here and now by scikit-learn, SciPy, numpy and both ROUGE
# packages, which need the network the first time.
#   scores_golden.sh PROGRAM     PROGRAM: the built scores_golden_test
set -euo pipefail
program=$(realpath "${1:?usage: scores_golden.sh PROGRAM}")
cd "$(dirname "$0")/../.."
# shellcheck source=tools/fetch.sh
source tools/fetch.sh

venv=$MOLORA_CACHE/scores-venv
if ! cmp -s tests/golden/scores_golden.txt "$venv/complete"; then
  say "fetching scikit-learn, scipy, rouge packages and tokenizers into $venv; this happens once"
  need_disk "$MOLORA_CACHE" 1
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet -r tests/golden/scores_golden.txt ||
    die "pip could not install tests/golden/scores_golden.txt. Is the network there, and PyPI or a mirror reachable?"
  cp tests/golden/scores_golden.txt "$venv/complete"
fi
cases=$(mktemp)
trap 'rm -f "$cases"' EXIT
"$venv/bin/python" tests/golden/scores_golden.py 2 2000 >"$cases"
MOLORA_SCORES_GOLDEN=$cases "$program"
