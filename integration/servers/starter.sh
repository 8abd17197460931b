# Read by start.sh and standing.sh: files that start servers, and what is told of them.
# shellcheck shell=bash disable=SC2154  # what they and common.sh have set

# Seconds until it is said that one does not start; all start at once, maybe beside a build.
# shellcheck disable=SC2034  # used by those that read this
patience=300

# quoted WORD...: a shell command line.
quoted() {
  local line
  printf -v line '%q ' "$@"
  printf '%s' "${line% }"
}

# starter NAME LETS READY COMMAND...: writes DIR/NAME.start, which starts the COMMAND.
# READY is a command line that waits for it; it gets the process id as its last word.
# LETS are lines of NAME=value, the environment it gets beside PATH and HOME: not
# ours, so that no setting or key of the one who tests reaches a server.
# shellcheck disable=SC2016  # what stands in single quotes is for the file
starter() {
  local name=$1 env=$2 ready=$3 line
  shift 3
  local -a lets=()
  while IFS= read -r line; do
    [[ -z $line ]] || lets+=("$line")
  done <<<"$env"
  {
    echo '#!/usr/bin/env bash'
    echo "# Starts $name in the background, once."
    echo 'set -euo pipefail'
    printf 'dir=%q\ncd -- "$dir"\n' "$dir"
    printf 'pid_file=%q log=%q\n' "$dir/$name.pid" "$dir/$name.log"
    printf 'ready() {\n  %s "$(cat "$pid_file")"\n}\n' "$ready"
    cat <<'TEXT'
runs() {
  local pid stat line
  local -a tasks
  pid=$(cat "$pid_file" 2>/dev/null) && stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  # One that ended, but was not waited for (Z), is out, when all of its threads are.
  tasks=("/proc/$pid/task/"*)
  [[ ${stat%% *} != [ZX] ]] || ((${#tasks[@]} > 1)) || return 1
  # The number may have been given anew. On its way out, a process has no command line any more.
  line=$({ tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null) || return 1
  [[ -z $line || $line == *"$dir/"* ]]
}
case ${1:-} in
--ready)
  ready
  exit
  ;;
--runs)
  runs
  exit
  ;;
esac
# The one before may still be on its way out.
for ((i = 0; i < 100; i++)); do
  runs || break
  sleep 0.05
done
if runs; then
  echo "$pid_file tells of a process that still runs" >&2
  exit 1
fi
rm -f -- "$pid_file"
TEXT
    # A session of its own, so that an interrupt at the terminal leaves it to
    # stop.sh. The shell in between tells its pid, and becomes the server.
    printf 'setsid env -i PATH="$PATH" HOME=%q TMPDIR=%q' "$dir/home" "$dir/home"
    ((${#lets[@]} == 0)) || printf ' %q' "${lets[@]}"
    printf ' bash -c %q' 'echo $$ >"$0.new" && mv -f "$0.new" "$0" && exec "$@"'
    printf ' "$pid_file"'
    printf ' %q' "$@"
    printf ' </dev/null >>"$log" 2>&1 &\n'
    cat <<'TEXT'
for ((i = 0; i < 500; i++)); do
  [[ ! -e $pid_file ]] || break
  sleep 0.01
done
[[ -e $pid_file ]]
[[ ${1:-} != --wait ]] || ready
TEXT
  } >"$dir/$name.start"
  chmod 700 "$dir/$name.start"
}

exports=()
export_line() { exports+=("export $1=$(printf %q "$2")"); }

# export_process VAR NAME: where its process id is, and how it is started again.
export_process() {
  export_line "$1_PID_FILE" "$dir/$2.pid"
  export_line "$1_START" "$(quoted "$dir/$2.start")"
}

# have DIR NAME: DIR is complete, and there is a Java for it.
have() {
  [[ -n $java ]] || fail "$java_needed"
  [[ -e $1/complete ]] || fail "${1##*/} is not here: run integration/servers/fetch.sh $2 first."
}

have_kerberos() {
  [[ -z $(packages_missing "${kerberos_commands[@]}") ]] ||
    fail "Kerberos is not here: run integration/servers/fetch.sh hdfs_kerberos first."
}
