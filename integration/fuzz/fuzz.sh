#!/usr/bin/env bash
# Runs each fuzz target for SECONDS (60), from the inputs of corpus/ and those that
# former runs found on this machine: SECONDS=600 TARGETS="names config" make fuzz
#
# Ends with 1 as soon as a property does not hold; the input is printed and kept in
# integration/fuzz/artifacts/. Put it into corpus/ under a name that says what went
# wrong, so that `make unit` holds it from then on.
#
# Needs rustup with the nightly toolchain; cargo-fuzz, where there is none, is
# installed into ${XDG_CACHE_HOME:-$HOME/.cache}/lakeward/.
set -euo pipefail

# bash counts in SECONDS itself from the value that the caller gave.
seconds=$(printenv SECONDS || echo 60)
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd -- "$here"

missing() {
  echo "make fuzz: $1 is missing; get it by: $2" >&2
  exit 2
}
command -v rustup >/dev/null || missing "rustup" "https://rustup.rs"
rustup toolchain list | grep -q '^nightly' ||
  missing "the nightly toolchain of Rust" "rustup toolchain install nightly --profile minimal"
cargo_fuzz_version=0.13.2
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  root=${XDG_CACHE_HOME:-$HOME/.cache}/lakeward/cargo-fuzz-$cargo_fuzz_version
  [[ -x $root/bin/cargo-fuzz ]] ||
    cargo install --locked --root "$root" "cargo-fuzz@$cargo_fuzz_version"
  export PATH=$root/bin:$PATH
fi

read -ra targets <<<"${TARGETS:-unpack frame decode names config manifest journal}"
cargo +nightly fuzz build --fuzz-dir .
for target in "${targets[@]}"; do
  mkdir -p "found/$target"
  echo "== $target, $seconds s" >&2
  # New inputs go into the first directory. A gigabyte is twice what any file may take to unpack.
  cargo +nightly fuzz run --fuzz-dir . "$target" "found/$target" "corpus/$target" -- \
    -max_total_time="$seconds" -timeout=30 -rss_limit_mb=1024 -malloc_limit_mb=512 \
    -max_len=65536 -print_final_stats=1 2>&1 | sed "s/^/$target: /"
done
echo "targets ${#targets[@]}, seconds each $seconds, faults 0"
