#!/usr/bin/env bash
# Lakeward against the tools that a user would take instead: builds the release
# program, obtains the contenders, generates the input (the same bytes each time),
# runs all of them in turn on the same input, cores and codec, looks for every
# record in every output, and writes a report in Markdown.
#
#   ONLY=ndjson,csv       some items: ndjson ndjson1 hive pass pass_day csv gzip zstd flume partitions wide small start memory scan
#   CONTENDERS=duckdb     some contenders beside Lakeward: direct alone duckdb pyarrow polars spark zstd cat gzip benthos flume
#   BYTES=1073741824      of each kind of input, in PARTS=8 files
#   ROUNDS=5              SLOW_ROUNDS=5 of those that take more than eight times as long as Lakeward
#   CORES=0,1             the first of them where an item has one core
#   FILES=100000 PARTITIONS=300 KNOWN=1000000 WAITING=100000 SCAN=1000000 MEMORY=512,128 MEMORY_INPUT=10737418240 MEMORY_GZIP=5368709120
#   TIMEOUT=1800          seconds for one run
#   QUICK=1               other defaults: one round over 50 MB, to see that all of it runs
#   RACE_DIR=DIR          works there and leaves its input for the next time; else below TMPDIR, and leaves nothing
#   REPORT=FILE           between its two marks, if it has them (BENCHMARKS.md has); else target/race/report.md
#
# Items that were not run this time are in the report as they were last time, if
# that was the same program, BYTES, PARTS and ROUNDS. A
# contender that cannot be had is named with the reason.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd -- "$here/.."
# shellcheck source=integration/servers/common.sh
. "$here/servers/common.sh"

# obtain NAME PLACE: RACE_NAME is the PLACE, or RACE_NAME_MISSING is why it is not there.
obtain() {
  local reason
  [[ -z ${CONTENDERS:-} ]] || listed "$1" "${CONTENDERS// /,}" || return 0
  if reason=$("$here/servers/fetch.sh" "$1" 2>&1 >&3); then
    export "RACE_${1^^}=$2"
  else
    export "RACE_${1^^}_MISSING=$(tail -n 1 <<<"$reason")"
    note "$1 is missing: $(tail -n 1 <<<"$reason")"
  fi
} 3>&2

# The readers look at every output, whoever races.
"$here/servers/fetch.sh" duckdb
readers=${LAKEWARD_TEST_READERS:-$cache/readers/bin/python}
export RACE_DUCKDB=$readers RACE_PYARROW=$readers
obtain polars "$polars/bin/python"
obtain spark "$spark/bin/python"
obtain flume "$flume/jars"
obtain benthos "$benthos"
if java=$(java_of java); then export JAVA_HOME=${java%/bin/java}; fi
cargo build --locked --release --bin lakeward --example generate --example direct --example scan
PYTHONPATH=$here exec "$readers" -B -m race
