# shellcheck shell=bash
# Sourced by the set-up scripts: fetching wheels by name with a checksum, keeping what was fetched.
MOLORA_CACHE=${MOLORA_CACHE:-$HOME/.cache/molora}
declare -F say >/dev/null || say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
declare -F die >/dev/null || die() { printf 'run: %s\n' "$*" >&2; exit 1; }

# need_disk FOLDER GIB: stops with a sentence when there is less free.
need_disk() {
  local folder=$1 gib=$2 free
  mkdir -p "$folder" || die "cannot make the folder $folder"
  free=$(df -Pk "$folder" | awk 'NR == 2 {print int($4 / 1048576)}')
  [[ $free -ge $gib ]] || die "$folder has $free GiB free, $gib GiB are needed; free some space or set MOLORA_CACHE to a folder on another disk"
}

# fetch_wheel NAME VERSION PLATFORM SHA256: leaves the path of the checked file in $wheel.
fetch_wheel() {
  local name=$1 version=$2 platform=$3 sha256=$4 log
  local folder=$MOLORA_CACHE/wheels
  mkdir -p "$folder"
  wheel=$(find "$folder" -name "${name//-/_}-$version-*.whl" -print -quit)
  if [[ -z $wheel ]]; then
    log=$(mktemp)
    if ! python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.11 --implementation cp \
         --abi cp311 --abi abi3 --abi none --platform "$platform" -d "$folder" "$name==$version" >"$log" 2>&1; then
      tail -n 5 "$log" >&2
      die "pip could not download $name==$version (its last lines are above). Is the network there, and PyPI or a mirror reachable?"
    fi
    rm -f "$log"
    wheel=$(find "$folder" -name "${name//-/_}-$version-*.whl" -print -quit)
  fi
  [[ -n $wheel ]] || die "pip downloaded $name==$version, but no such wheel is in $folder"
  if ! echo "$sha256  $wheel" | sha256sum --check --status; then
    local got
    got=$(sha256sum "$wheel" | cut -d' ' -f1)
    rm -f "$wheel"
    die "$name==$version has SHA-256 $got, expected $sha256; the file was removed, try again"
  fi
}

# unpack WHEEL FOLDER PATTERN... [-x PATTERN...]
unpack() {
  local archive=$1 folder=$2 words
  shift 2
  # Status 11: some pattern matched nothing, which is fine for optional licence files.
  words=$(unzip -qqo "$archive" "$@" -d "$folder" 2>&1) || [[ $? -eq 11 ]] ||
    die "cannot unpack $archive into $folder: $words"
}
