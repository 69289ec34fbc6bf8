#!/usr/bin/env bash
# tests/gpu/run.sh itself, on the test libraries of a build folder, and on a machine without a GPU.
#
# usage: run_test.sh BUILD-FOLDER
set -euo pipefail
build=$1
OUT=$(mktemp -d)
export OUT
trap 'rm -rf "$OUT"' EXIT
die() { echo "run_test: $*" >&2; exit 1; }

if ! command -v nvidia-smi >/dev/null; then
  words=$(timeout 20 bash tests/gpu/run.sh 2>&1) && die "without a GPU it ended with 0"
  status=0
  timeout 20 bash tests/gpu/run.sh >/dev/null 2>&1 || status=$?
  [[ $status -eq 69 && $words == *"no GPU is seen"* ]] || die "without a GPU it ended with $status: $words"
fi
status=0
bash tests/gpu/run.sh --pack "$OUT/none.tar.xz" >/dev/null 2>&1 || status=$?
[[ $status -eq 64 ]] || die "a pack that is not there gave code $status"

bash tests/gpu/run.sh --fake --built "$build" || die "a step failed on the test libraries"
python3 - "$OUT/gpu-report.json" <<'EOF'
import json, sys
report = json.load(open(sys.argv[1]))
results = {step["name"]: step["result"] for step in report["steps"]}
left = [f"{name}: {result}" for name, result in results.items() if result != "passed"]
assert not left, left
assert report["failed"] == 0 and report["passed"] == len(results) >= 10, report
figures = {figure["name"]: float(figure["value"]) for figure in report["figures"]}
assert any(name.startswith("all_to_all.2_ranks") and value > 0 for name, value in figures.items()), figures
assert any(name.startswith("training.") and value > 0 for name, value in figures.items()), figures
assert any("real GPU" in line["what"] for line in report["not_covered"]), report["not_covered"]
EOF
grep -q "^not covered:" "$OUT/gpu-report.txt" || die "the text report does not say what was not covered"
