#!/usr/bin/env bash
# Builds the release program and measures it: speed and memory on a local disk
# (bench.py), then landing on MinIO and HDFS beside it (bench_lakes.py).
#
#   integration/bench.sh [speed|lakes]...     both, if none is given
#
# BYTES=1073741824 FILES=100000 SCAN=1000000 ROUNDS=3 make bench
# LAKEWARD_TEST_WITHOUT=minio,hdfs_new make bench     leaves out a server, or both
# Servers that run already, and how they are told of: servers/start.sh.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd -- "$here/.."
(($#)) || set -- speed lakes
for what; do
  [[ $what == speed || $what == lakes ]] || {
    echo "bench.sh: no such thing as \"$what\"; give speed, lakes or nothing." >&2
    exit 1
  }
done
export LAKEWARD_TEST_ONLY=minio,hdfs_new
dir=

# shellcheck disable=SC2317  # the trap calls it
finish() {
  local status=$?
  trap - EXIT
  if [[ -n $dir ]]; then
    "$here/servers/stop.sh" "$dir" || true
    rm -rf -- "$dir"
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ " $* " == *" lakes "* ]]; then
  "$here/servers/fetch.sh" all
else
  "$here/servers/fetch.sh" duckdb
fi
cargo build --locked --release --bin lakeward --example generate --example direct --example scan
python=${LAKEWARD_TEST_READERS:-${XDG_CACHE_HOME:-$HOME/.cache}/lakeward/readers/bin/python}
for what; do
  if [[ $what == speed ]]; then
    "$python" integration/bench.py "${CARGO_TARGET_DIR:-target}"
    continue
  fi
  # Not before: they would take of what is measured above.
  dir=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/lakeward-bench.XXXXXX")
  exports=$("$here/servers/start.sh" "$dir")
  eval "$exports"
  "$python" integration/bench_lakes.py "${CARGO_TARGET_DIR:-target}"
done
