#!/usr/bin/env bash
# The program as it is released: compiled with a profile of what it does when it
# lands files, which makes it a few percent faster than `cargo build --release`.
# Two builds, and a minute of landing sample input between them.
#
#   make release          leaves lakeward, and the race's direct writer, in target/optimized/
#
# Needs rustup. Its component llvm-tools, where there is none, is added to the toolchain.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
root=$(pwd)
target=${CARGO_TARGET_DIR:-$root/target}
[[ $target = /* ]] || target=$root/$target
optimized=$target/optimized
host=$(rustc -vV | sed -n 's/^host: //p')

profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [[ ! -x $profdata ]]; then
  command -v rustup >/dev/null || {
    echo "make release: llvm-profdata of this toolchain is missing, and there is no rustup to get it; \`cargo build --release\` makes a program that is a few percent slower" >&2
    exit 2
  }
  rustup component add llvm-tools
fi

# The same paths each time, so that what has not changed is not built again.
profile=$target/profiled/profile
rm -rf -- "$profile"
work=$(mktemp -d "${TMPDIR:-/tmp}/lakeward-release-XXXXXX")
trap 'rm -rf -- "$work"' EXIT

# With a target of its own, or programs of the build would be profiled too.
CARGO_TARGET_DIR=$target/profiled RUSTFLAGS="-Cprofile-generate=$profile" \
  cargo build --locked --release --target "$host" --bin lakeward --example generate
profiled=$target/profiled/$host/release

# generate ARGUMENTS: sample input of its own, not what the race measures with; leaves no profile.
generate() {
  LLVM_PROFILE_FILE=$work/none.profraw "$profiled/examples/generate" "$@" --seed 7 >/dev/null
}
generate events "$work/events" --bytes 268435456 --parts 4
generate csv "$work/csv" --bytes 134217728 --parts 2
generate wide "$work/wide" --bytes 33554432 --parts 2
generate small "$work/small" --files 5000
mkdir "$work/gzip"
for file in "$work"/events/*; do
  gzip -1 -c "$file" >"$work/gzip/$(basename -- "$file").gz"
done

# land INPUT FORMAT SCHEMA PATH SINK...: as users do, with each kind of file that they land.
land() {
  local input=$1 format=$2 schema=$3 path=$4
  shift 4
  rm -rf -- "$work/run"
  mkdir -p "$work/run/spool"
  find "$work/$input" -type f -exec ln -t "$work/run/spool" {} +
  {
    printf '[agent]\nstate_dir = "var"\nlanes = 2\n[lake]\ntype = "fs"\nroot = "lake"\n'
    printf '[[pipeline]]\nname = "sample"\n[pipeline.source]\npath = "spool"\nready_after = "0s"\nformat = "%s"\n' "$format"
    printf '[pipeline.schema]\nmode = "%s"\n[pipeline.sink]\npath = "%s"\n' "$schema" "$path"
    printf '%s\n' "$@"
  } >"$work/run/lakeward.toml"
  (cd -- "$work/run" && "$profiled/lakeward" --config lakeward.toml -q run --once)
}
by_day='all/dt={created_at:%Y-%m-%d}'
land events ndjson infer all 'compat = "modern"' 'compression = "zstd(1)"'
land events ndjson infer all 'compat = "hive"' 'compression = "snappy"'
land events ndjson infer "$by_day" 'compression = "zstd(1)"'
land events ndjson none all 'format = "ndjson"' 'compression = "zstd(1)"'
land events ndjson none "$by_day" 'format = "ndjson"' 'compression = "zstd(1)"'
land gzip ndjson infer all 'compression = "zstd(1)"'
land csv csv infer all 'compression = "zstd(1)"'
land wide ndjson infer 'all/part={part}' 'compression = "snappy"'
land small ndjson infer all 'compression = "snappy"'
"$profdata" merge -o "$profile.profdata" "$profile"/*.profraw

CARGO_TARGET_DIR=$optimized RUSTFLAGS="-Cprofile-use=$profile.profdata" \
  cargo build --locked --release --target "$host" --bin lakeward --example direct
cp -- "$optimized/$host/release/lakeward" "$optimized/$host/release/examples/direct" "$optimized/"
"$optimized/lakeward" --version
