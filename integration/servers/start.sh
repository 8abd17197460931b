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
#   ..._NAME_NODES                both, 127.0.0.1:PORT,127.0.0.1:PORT
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
# shellcheck source=integration/servers/starter.sh
. "$here/starter.sh"
# shellcheck source=integration/servers/s3.sh
. "$here/s3.sh"
# shellcheck source=integration/servers/hadoop.sh
. "$here/hadoop.sh"
# shellcheck source=integration/servers/ha.sh
. "$here/ha.sh"
# shellcheck source=integration/servers/kerberos.sh
. "$here/kerberos.sh"
# shellcheck source=integration/servers/hive.sh
. "$here/hive.sh"

(($# == 1)) || fail "usage: start.sh DIR"
command -v python3 >/dev/null || fail "The servers are started with the help of python3: install Python 3.8 or newer."
mkdir -p -- "$1"
dir=$(cd -- "$1" && pwd)
[[ -z $(ls -A -- "$dir") ]] || fail "start.sh: $dir is not empty."
bucket=lakeward
# Secrets in this folder are of no worth, but there is no need to show them.
chmod 700 -- "$dir"
# Writes the start files of all that are wanted, on ports picked now.
prepare() {
  local -a port
  mapfile -t port < <(python3 "$here/s3.py" ports 40)
  ((${#port[@]} == 40)) || fail "No free loopback ports could be found."
  exports=() first=() between=() started=() after=()
  if wanted minio; then minio_server "${port[0]}" off; fi
  if wanted seaweedfs; then seaweedfs_server "${port[@]:1:6}"; fi
  if wanted weak; then weak_server "${port[7]}"; fi
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
    ((!well)) || eval "$step" || { well=0 && note "failed: $step"; }
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
    ((!well)) || eval "$step" >/dev/null || { well=0 && note "failed: $step"; }
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
