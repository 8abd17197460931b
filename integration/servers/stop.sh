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

# runs PID: it, or one of its threads, has not ended; until then it has its ports.
runs() {
  local stat
  local -a tasks
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  tasks=("/proc/$1/task/"*)
  [[ ${stat%% *} != [ZX] ]] || ((${#tasks[@]} > 1))
}

# ours PID: it runs, and its command line names DIR (a pid may have been given anew).
ours() {
  { tr '\0' '\n' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "$dir/"
}

# ended PID: within 5 seconds.
ended() {
  local i
  for ((i = 0; i < 100; i++)); do
    runs "$1" || return 0
    sleep 0.05
  done
  return 1
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
  ended "$pid" || ! ours "$pid" || {
    kill -KILL "$pid" 2>/dev/null || true
    ended "$pid" || true
  }
done
