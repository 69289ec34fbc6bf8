#!/usr/bin/env bash
# The checks that read the sources: format, folder rules, shell scripts, clang-tidy, headers alone.
# Needs a configured build/ with its generated headers; `./run lint` sees to that.
#   lint.sh               everything (clang-tidy: a quarter of a minute for each file that uses LibTorch)
#   lint.sh FILE...       only these files
set -euo pipefail
cd "$(dirname "$0")/.."
declare -F say >/dev/null || say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
declare -F die >/dev/null || die() { printf 'lint: %s\n' "$*" >&2; exit 1; }

jobs=2
failed=()
check() {  # check WHAT COMMAND...: runs all checks, remembers those that fail
  local what=$1
  shift
  say "$what"
  "$@" || failed+=("$what")
}

# of PATTERN...: the files to look at whose path fits one of these (git's) patterns, one a line.
if [[ $# -gt 0 ]]; then
  given=("$@")
  for file in "${given[@]}"; do
    [[ -f $file ]] || die "there is no file $file"
  done
fi
of() {
  local files
  files=$(git ls-files --cached --others --exclude-standard -- "$@")
  if [[ -n ${given:-} ]]; then
    grep -xFf <(printf '%s\n' "${given[@]#./}") <<<"$files" || true
  else
    echo "$files"
  fi
}

# g++'s precompiled headers mean nothing to clang, and hide what a file forgets to include.
database=build/lint
[[ -f build/compile_commands.json ]] || die "build/compile_commands.json is not there; use: ./run lint"
mkdir -p "$database"
sed -E 's/ -include [^ ]*cmake_pch\.hxx//; s/ -(fpch-preprocess|Winvalid-pch|Werror)\b//g' \
  build/compile_commands.json >"$database/compile_commands.json"

mapfile -t sources < <(of 'src/*.h' 'src/*.cc' 'launcher/*.h' 'launcher/*.cc' 'tests/*.h' 'tests/*.cc')
mapfile -t product < <(of 'src/*.cc' 'launcher/*.cc')
mapfile -t headers < <(of 'src/*.h' 'launcher/*.h')
mapfile -t scripts < <(of run .ci/run '*.sh' '*.sbatch')

check_shell() {
  local script result=0
  for script in "$@"; do
    bash -n "$script" || result=1
  done
  shellcheck -x "$@" || result=1
  return "$result"
}

# tidy_one DATABASE FILE: one line, and what clang-tidy says of the file when it fails.
tidy_one() {
  local out
  if out=$(clang-tidy-14 -p "$1" --quiet "$2" 2>&1); then
    echo "  $2"
  else
    printf '  %s: FAILED\n%s\n' "$2" "$(sed -E '/^[0-9]+ warnings?( and [0-9]+ errors?)? generated\.$/d' <<<"$out")"
    return 1
  fi
}
export -f tidy_one
check_tidy() {
  # shellcheck disable=SC2016  # the inner shell expands them
  printf '%s\0' "$@" | xargs -0 -n 1 -P "$jobs" bash -c 'tidy_one "$0" "$1"' "$database"
}

# No list, no check: without arguments these programs would read their standard input.
[[ -z ${sources[*]} ]] || check "clang-format" clang-format-14 --dry-run --Werror "${sources[@]}"
check "folder rules" python3 tests/lint/check_folders.py
[[ -z ${scripts[*]} ]] || check "shell scripts" check_shell "${scripts[@]}"
[[ -z ${headers[*]} ]] || check "headers alone" python3 tests/lint/headers_alone.py "$database/compile_commands.json" "$jobs" "${headers[@]}"
[[ -z ${product[*]} ]] || check "clang-tidy" check_tidy "${product[@]}"

[[ ${#failed[@]} -eq 0 ]] || die "failed: $(printf '%s; ' "${failed[@]}")"
