#!/usr/bin/env bash
# Runs the integration tests against real servers, which it fetches, starts and
# stops: integration/test.sh [ARGUMENT OF THE TEST PROGRAM]...
#
# Ends as cargo ends. LAKEWARD_TEST_WITHOUT and the variables of servers that run
# already are explained in servers/start.sh. LAKEWARD_TEST_KEEP=1 keeps the data
# and the logs of the servers.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
dir=
tests=

# shellcheck disable=SC2317  # the traps call it
finish() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  if [[ -n $tests ]]; then
    kill -TERM -- "-$tests" 2>/dev/null || true
    wait "$tests" 2>/dev/null || true
  fi
  if [[ -n $dir ]]; then
    "$here/servers/stop.sh" "$dir" || true
    if [[ -n ${LAKEWARD_TEST_KEEP:-} ]]; then
      echo "The servers' data and logs are in $dir." >&2
    else
      rm -rf -- "$dir"
    fi
  fi
  if [[ -n ${LAKEWARD_TEST_WITHOUT:-} ]]; then
    echo "Left out by LAKEWARD_TEST_WITHOUT: $LAKEWARD_TEST_WITHOUT." >&2
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$here/servers/fetch.sh" all
dir=$(mktemp -d "${TMPDIR:-/tmp}/lakeward-test.XXXXXX")
exports=$("$here/servers/start.sh" "$dir")
eval "$exports"

cd -- "$here/.."
# In a process group of its own, which finish can end as a whole: a signal sent
# to this script alone would else wait for the end of the tests.
set -m
cargo test --locked --test integration -- "$@" &
tests=$!
set +m
status=0
wait "$tests" || status=$?
tests=
exit "$status"
