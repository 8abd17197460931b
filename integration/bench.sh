#!/usr/bin/env bash
# Builds the release program and measures it; see bench.py for what and how.
# BYTES=1073741824 FILES=100000 SCAN=1000000 ROUNDS=3 make bench
set -euo pipefail
cd "$(dirname "$0")/.."
integration/servers/fetch.sh duckdb
cargo build --locked --release --bin lakeward --example generate --example direct --example scan
exec "${XDG_CACHE_HOME:-$HOME/.cache}/lakeward/readers/bin/python" integration/bench.py "${CARGO_TARGET_DIR:-target}"
