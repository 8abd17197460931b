#!/usr/bin/env bash
# Measures the release program: those items of the race that need no other tool
# than DuckDB, then landing on MinIO and HDFS beside the local disk (race/lakes.py).
#
#   integration/bench.sh [speed|lakes]...     both, if none is given
#
# BYTES=1073741824 FILES=100000 SCAN=1000000 ROUNDS=5 make bench    and what else race.sh knows
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

for what; do
  if [[ $what == speed ]]; then
    ONLY=${ONLY:-ndjson1,small,scan} CONTENDERS=${CONTENDERS:-direct,duckdb} "$here/race.sh"
    continue
  fi
  "$here/servers/fetch.sh" all
  cargo build --locked --release --bin lakeward --example generate
  python=${LAKEWARD_TEST_READERS:-${XDG_CACHE_HOME:-$HOME/.cache}/lakeward/readers/bin/python}
  # Not before: they would take of what is measured above.
  dir=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/lakeward-bench.XXXXXX")
  exports=$("$here/servers/start.sh" "$dir")
  eval "$exports"
  PYTHONPATH=$here "$python" -B -m race.lakes
done
