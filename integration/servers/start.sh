#!/usr/bin/env bash
# Starts the servers of the integration tests: S3, HDFS, the Hive metastore. It
# prints what tests need to know as export lines:
#
#   eval "$(integration/servers/start.sh DIR)"
#   ...
#   integration/servers/stop.sh DIR
#
# DIR must be new or empty; data, logs, pid files and keys are in it. All listen
# on 127.0.0.1 alone, on free ports. For each of MINIO, SEAWEEDFS and WEAK:
#   LAKEWARD_TEST_MINIO          the endpoint, http://127.0.0.1:PORT
#   LAKEWARD_TEST_MINIO_KEY, _SECRET, _BUCKET
#   LAKEWARD_TEST_MINIO_PID_FILE the file with its process id, always of the last start
#   LAKEWARD_TEST_MINIO_START    a shell command line that starts it again after a kill:
#                                same port and data, in the background; it returns at
#                                once, or with the word --wait when the server answers
# and LAKEWARD_TEST_READERS, a Python which has duckdb and pyarrow.
# Steer the weak store through $LAKEWARD_TEST_WEAK/_control (see weak_s3.py).
#
# For each of HDFS_OLD (Hadoop 2) and HDFS_NEW (3):
#   LAKEWARD_TEST_HDFS_OLD        hdfs://127.0.0.1:PORT; _WEB is its http:// address
#   LAKEWARD_TEST_HDFS_OLD_CONF   a directory for HADOOP_CONF_DIR; _USER the superuser
#   LAKEWARD_TEST_HDFS_OLD_CLIENT the official client: dfs -ls /, dfsadmin, fsck, haadmin
#   LAKEWARD_TEST_HDFS_OLD_NAMENODE_PID_FILE, _NAMENODE_START, _DATANODE_PID_FILE, _DATANODE_START
#     as above; a NameNode is ready when it answers, be it in safe mode, a DataNode
#     when it has registered
# and HDFS_HA (3), of two NameNodes, the first active:
#   LAKEWARD_TEST_HDFS_HA         hdfs://lakeward, which its _CONF explains
#   ..._NAME_NODES                both, hdfs://127.0.0.1:PORT,hdfs://127.0.0.1:PORT
#   ..._FAILOVER                  a program: nn1 or nn2 becomes active, by default the one that is not
#   ..._NAMENODE2_WEB, _NAMENODE2_PID_FILE, _NAMENODE2_START, _JOURNALNODE_PID_FILE, _JOURNALNODE_START
#     one that is started again is standby
# and HDFS_KERBEROS (3), where RPC and blocks are under privacy; all names are localhost:
#   ..._KRB5_CONF                 for KRB5_CONFIG
#   ..._PRINCIPAL, _KEYTAB        lakeward, one of the supergroup, tickets of 10 hours
#   ..._SHORT_PRINCIPAL, _SHORT_KEYTAB        the same user, tickets of 30 seconds
#   ..._STRANGER_PRINCIPAL, _STRANGER_KEYTAB  one with no rights
#   ..._KDC_PID_FILE, _KDC_START  as above
#   ..._KADMIN                    kadmin.local, e.g. modprinc -maxlife "2 minutes" lakeward/short
# and for each of HIVE (2) and HIVE_NEW (4):
#   LAKEWARD_TEST_HIVE            thrift://127.0.0.1:PORT; _PID_FILE and _START as above
#   LAKEWARD_TEST_HIVE_CLIENT     Hive itself: -e 'SQL', rows with tabs on stdout
#   LAKEWARD_TEST_HIVE_WAREHOUSE  where tables without a location go
#   LAKEWARD_TEST_SPARK           (HIVE only) a Python with pyspark, set to the metastore
#   LAKEWARD_TEST_SPARK_SQL       Spark's command line: -e 'SQL'
# LAKEWARD_TEST_HIVE_FS=hdfs://... is the default file system of Hive and Spark; else file:///.
#
# A server whose LAKEWARD_TEST_... is set already is not started, and what is set
# for it passes through. LAKEWARD_TEST_WITHOUT=seaweedfs,weak leaves servers out;
# LAKEWARD_TEST_ONLY=hdfs_old,hive leaves out all others.
# Run fetch.sh before.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=integration/servers/common.sh
. "$here/common.sh"
# shellcheck source=integration/servers/hadoop.sh
. "$here/hadoop.sh"
# shellcheck source=integration/servers/ha.sh
. "$here/ha.sh"
# shellcheck source=integration/servers/kerberos.sh
. "$here/kerberos.sh"
# shellcheck source=integration/servers/hive.sh
. "$here/hive.sh"

(($# == 1)) || fail "usage: start.sh DIR"
mkdir -p -- "$1"
dir=$(cd -- "$1" && pwd)
[[ -z $(ls -A -- "$dir") ]] || fail "start.sh: $dir is not empty."
bucket=lakeward
# The program itself: a shim on the PATH may not work in the clean environment.
python=$(python3 -c 'import sys; print(sys.executable)')
# Secrets in this folder are of no worth, but there is no need to show them.
chmod 700 -- "$dir"
secret() { python3 -c 'import secrets; print(secrets.token_hex(12))'; }

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
    echo "# Starts $name in the background, once; start.sh made this."
    echo 'set -euo pipefail'
    printf 'cd -- %q\n' "$dir"
    printf 'pid_file=%q log=%q\n' "$dir/$name.pid" "$dir/$name.log"
    printf 'ready() {\n  %s "$(cat "$pid_file")"\n}\n' "$ready"
    cat <<'TEXT'
runs() {
  local pid stat
  pid=$(cat "$pid_file" 2>/dev/null) && stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
  stat=${stat##*) }
  # One that ended, but was not waited for (Z), is out.
  [[ ${stat%% *} != [ZX] ]]
}
if [[ ${1:-} == --ready ]]; then
  ready
  exit
fi
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

# endpoint_of NAME PORT: sets endpoint, key, secret and ready of the S3 server now written.
endpoint_of() {
  endpoint=http://127.0.0.1:$2
  key=lakeward-$1
  secret=$(secret)
  local var=LAKEWARD_TEST_${1^^}
  export_line "$var" "$endpoint"
  export_line "${var}_KEY" "$key"
  export_line "${var}_SECRET" "$secret"
  export_line "${var}_BUCKET" "$bucket"
  export_process "$var" "$1"
  ready="S3_KEY=$(quoted "$key") S3_SECRET=$(quoted "$secret") $(
    quoted python3 "$here/s3.py" ready "$endpoint" "$bucket" 60
  )"
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

# Writes the start files of all that are wanted, on ports picked now.
prepare() {
  local -a port
  mapfile -t port < <(python3 "$here/s3.py" ports 40)
  ((${#port[@]} == 40)) || fail "No free loopback ports could be found."
  exports=() first=() between=() started=() after=()
  if wanted minio; then
    [[ -x $minio ]] || fail "MinIO is not here: run integration/servers/fetch.sh minio first."
    endpoint_of minio "${port[0]}"
    # MINIO_CI_CD lets it use a folder on the root file system.
    starter minio "MINIO_ROOT_USER=$key
MINIO_ROOT_PASSWORD=$secret
MINIO_BROWSER=off
MINIO_UPDATE=off
MINIO_CI_CD=1" "$ready" \
      "$minio" server "$dir/minio" --address "127.0.0.1:${port[0]}" --quiet
    started+=(minio)
  fi
  if wanted seaweedfs; then
    [[ -x $weed ]] || fail "SeaweedFS is not here: run integration/servers/fetch.sh seaweedfs first."
    endpoint_of seaweedfs "${port[1]}"
    # Each port is given: it would silently move on from one that is taken.
    mkdir -p "$dir/seaweedfs"
    starter seaweedfs "AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$secret" "$ready" \
      "$weed" mini -dir="$dir/seaweedfs" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
      -master.telemetry=false -webdav=false -s3.port.iceberg=0 -s3.port.lance=0 \
      -s3.autoCreateBucket=false -s3.port="${port[1]}" -master.port="${port[2]}" \
      -volume.port="${port[3]}" -filer.port="${port[4]}" -admin.port="${port[5]}" \
      -debug.port="${port[6]}" -bucket="$bucket"
    started+=(seaweedfs)
  fi
  if wanted weak; then
    endpoint_of weak "${port[7]}"
    starter weak PYTHONUNBUFFERED=1 "$ready" \
      "$python" "$here/weak_s3.py" "$dir/weak" --port "${port[7]}" --key "$key"
    started+=(weak)
  fi
  java=$(java_of java) || java=
  if wanted hdfs_old; then
    have "$hadoop_old" hdfs_old
    hdfs hdfs_old "$hadoop_old" "${port[@]:8:5}" dfs.blocksize=1048576
  fi
  if wanted hdfs_new; then
    have "$hadoop_new" hdfs_new
    hdfs hdfs_new "$hadoop_new" "${port[@]:13:5}"
  fi
  if wanted hdfs_ha; then
    have "$hadoop_new" hdfs_ha
    hdfs_ha "$hadoop_new" "${port[@]:26:9}"
  fi
  if wanted hdfs_kerberos; then
    have "$hadoop_new" hdfs_kerberos
    have_kerberos
    hdfs_kerberos "$hadoop_new" "${port[@]:20:6}"
  fi
  if wanted hive; then
    have "$hive" hive
    have "$spark" spark
    hive hive "$hive" "${port[18]}" "$hive/loopback"
    spark_client
  fi
  if wanted hive_new; then
    have "$hive_new" hive_new
    hive hive_new "$hive_new" "${port[19]}"
  fi
}

given=0
leave() { ((given)) || "$here/stop.sh" "$dir"; }
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A port may be taken between its choice and its use: then all over, elsewhere.
tries=3
for ((n = 1; n <= tries; n++)); do
  mkdir -p "$dir/home"
  prepare
  well=1
  # Those that others ask while they start, and what is done with them alone.
  for name in ${first[@]+"${first[@]}"}; do "$dir/$name.start" --wait || well=0; done
  for step in ${between[@]+"${between[@]}"}; do
    ((!well)) || eval "$step" || well=0
  done
  for name in ${started[@]+"${started[@]}"}; do
    ((!well)) || "$dir/$name.start" || well=0
  done
  for name in ${started[@]+"${started[@]}"}; do
    if ((well)) && ! trouble=$("$dir/$name.start" --ready 2>&1); then
      well=0
      note "${trouble##*$'\n'}"
      ((n < tries)) || fail "$name did not start: see the last lines of its log:"$'\n'"$(tail -n 5 "$dir/$name.log")"
    fi
  done
  for step in ${after[@]+"${after[@]}"}; do
    ((!well)) || eval "$step" >&2 || well=0
  done
  ((well)) && break
  ((n < tries)) || fail "The servers did not start."
  "$here/stop.sh" "$dir"
  rm -rf -- "${dir:?}"/*
done

# What is there already passes through; what is left out is not there at all.
without=()
for name in "${servers[@]}"; do
  if left_out "$name"; then
    printf 'unset LAKEWARD_TEST_%s\n' "${name^^}"
    without+=("$name")
  elif ! wanted "$name"; then
    for var in $(compgen -e "LAKEWARD_TEST_${name^^}"); do
      export_line "$var" "${!var}"
    done
  fi
done
if [[ -n ${LAKEWARD_TEST_ONLY:-} ]]; then
  export_line LAKEWARD_TEST_WITHOUT "$(IFS=,; printf '%s' "${without[*]}")"
fi
export_line LAKEWARD_TEST_READERS "${LAKEWARD_TEST_READERS:-$cache/readers/bin/python}"
printf '%s\n' "${exports[@]}"
given=1
