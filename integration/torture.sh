#!/usr/bin/env bash
# Breaks the real program for real, for minutes or hours: kill -9 and SIGSTOP at
# moments that nobody chose, over a local lake and over MinIO, which this obtains
# and starts; a proxy that spoils exchanges; full and read-only disks; power cuts,
# for which it needs strace.
# The last line is the verdict.
#
#   ROUNDS=10 SEED=1 KILLS=100 ONLY=local,minio integration/torture.sh
#
# integration/programs/torture.rs says what each means. Histories are left in
# target/torture/SEED. LAKEWARD_PROFILE=release (or debug, the default) is the
# program that is tortured.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

profile=${LAKEWARD_PROFILE:-debug}
flags=()
[[ $profile == debug ]] || flags=(--profile "$profile")
for need in minio strace; do
  [[ ,${LAKEWARD_TEST_WITHOUT:-}, == *,$need,* ]] || integration/servers/fetch.sh "$need"
done
cargo build --locked --bin lakeward "${flags[@]}"
cargo build --locked --example torture
target=${CARGO_TARGET_DIR:-target}
export LAKEWARD_PROGRAM=${LAKEWARD_PROGRAM:-$(realpath -- "$target")/$profile/lakeward}
exec "$target/debug/examples/torture"
