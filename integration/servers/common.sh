# Read by fetch.sh, start.sh and stop.sh: the pins, the places, small helpers.
# shellcheck shell=bash disable=SC2034  # used by those that read this

# MinIO has no semantic versions. This is RELEASE.2025-09-07T16-13-09Z, which
# mended conditional multipart writes: nothing older will do for our tests.
minio_version=v0.0.0-20250907161309-07c3a429bfed
weed_version=4.48
duckdb_version=2.0.1
pyarrow_version=26.0.1

cache=${XDG_CACHE_HOME:-${HOME:?HOME or XDG_CACHE_HOME must be set}/.cache}/lakeward
minio=$cache/bin/minio-$minio_version
weed=$cache/bin/weed-$weed_version
readers_dir=$cache/readers-duckdb-$duckdb_version-pyarrow-$pyarrow_version

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

note() { printf '%s\n' "$*" >&2; }

# left_out NAME: LAKEWARD_TEST_WITHOUT (a list with commas) has it.
left_out() {
  local list=",${LAKEWARD_TEST_WITHOUT:-},"
  [[ ${list// /} == *",$1,"* ]]
}

# wanted NAME: we are to start it: not left out, and no endpoint given for it.
wanted() {
  local var="LAKEWARD_TEST_${1^^}"
  ! left_out "$1" && [[ -z ${!var:-} ]]
}
