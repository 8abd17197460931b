#!/usr/bin/env bash
# Ends the servers that start.sh started in DIR, those and no others, also when a
# test has started one anew since. DIR is left as it is.
#
#   stop.sh DIR
set -euo pipefail

(($# == 1)) || {
  echo "usage: stop.sh DIR" >&2
  exit 1
}
[[ -d $1 ]] || exit 0
dir=$(cd -- "$1" && pwd)

# ours PID: it runs, and its command line names DIR (a pid may have been given anew).
ours() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  [[ ${stat%% *} != [ZX] ]] || return 1
  { tr '\0' '\n' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "$dir/"
}

pids=()
for file in "$dir"/*.pid; do
  [[ -e $file ]] || continue
  pid=$(cat "$file")
  if ! [[ $pid =~ ^[0-9]+$ ]] || ! ours "$pid"; then continue; fi
  pids+=("$pid")
  # A test may have it stopped (SIGSTOP), and then it would not hear the first.
  kill -TERM "$pid" 2>/dev/null || true
  kill -CONT "$pid" 2>/dev/null || true
done
for pid in ${pids[@]+"${pids[@]}"}; do
  for ((i = 0; i < 100; i++)); do
    ours "$pid" || continue 2
    sleep 0.05
  done
  kill -KILL "$pid" 2>/dev/null || true
done
