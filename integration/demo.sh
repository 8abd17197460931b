#!/usr/bin/env bash
# A spool of varied sample files lands as partitioned Parquet in a local lake: nothing to start, nothing to edit.
# Usage: integration/demo.sh [DIR]   (a new directory; default: demo/ under target)
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
dir=${1:-$target/demo}
profile=${LAKEWARD_PROFILE:-release}
flag=--release
[ "$profile" = debug ] && flag=
cargo build --locked --quiet $flag --bin lakeward --example generate
lakeward=$target/$profile/lakeward
rm -rf "$dir"
mkdir -p "$dir"
"$target/$profile/examples/generate" demo "$dir/spool"
cat >"$dir/lakeward.toml" <<'TOML'
[agent]
state_dir = "var"

[lake]
type = "fs"
root = "lake"

[[pipeline]]
name = "events"
[pipeline.source]
path = "spool/events"
ready_after = "0s"
[pipeline.schema]
columns = { id = "bigint" }
[pipeline.sink]
path = "events/dt={created_at:%Y-%m-%d}"
compression = "zstd"

[[pipeline]]
name = "readings"
[pipeline.source]
path = "spool/readings"
format = "csv"
ready_after = "0s"
[pipeline.sink]
path = "readings/station={station}"
rejects = "_rejects/readings"
TOML
run() {
  printf '\n$ lakeward %s\n' "$*"
  "$lakeward" --config "$dir/lakeward.toml" "$@"
}
run check
run run --once
run files | head -n 12
run audit --deep
printf '\nThe lake (first 12 of its files):\n'
(cd "$dir/lake" && find events readings _rejects -type f | sort | head -n 12)
printf '\nLook at the data, for instance:\n'
printf "  duckdb -c \"SELECT dt, count(*), sum(amount) FROM read_parquet('%s/lake/events/*/*.parquet', hive_partitioning = true) GROUP BY dt ORDER BY dt\"\n" "$dir"
printf "  python3 -c \"import pyarrow.dataset as d; print(d.dataset('%s/lake/events', partitioning='hive').head(5))\"\n" "$dir"
printf '  zcat %s/lake/_rejects/events/*.gz      # the broken lines, with file, offset and reason\n' "$dir"
