# Read by fetch.sh, start.sh and standing.sh: the pins, the places, small helpers.
# shellcheck shell=bash disable=SC2034  # used by those that read this

# MinIO has no semantic versions. This is RELEASE.2025-09-07T16-13-09Z, which
# mended conditional multipart writes: nothing older will do for our tests.
minio_version=v0.0.0-20250907161309-07c3a429bfed
weed_version=4.48
duckdb_version=2.0.1
pyarrow_version=26.0.1
# The oldest NameNode that a user may still have.
hadoop_old_version=2.7.3
hadoop_new_version=3.5.0
hive_version=2.3.9
# The newest of which both the metastore and the command line can be had, and its Hadoop.
hive_new_version=4.0.1
hive_new_hadoop_version=3.3.6
spark_version=3.5.8
# Contenders of the race. Of Redpanda Connect only the engine can be had under a free licence.
polars_version=2.1.0
flume_version=1.11.0
flume_hadoop_version=3.3.6
flume_log4j_version=2.18.0
benthos_version=v4.60.0

cache=${XDG_CACHE_HOME:-${HOME:?HOME or XDG_CACHE_HOME must be set}/.cache}/lakeward
minio=$cache/bin/minio-$minio_version
weed=$cache/bin/weed-$weed_version
readers_dir=$cache/readers-duckdb-$duckdb_version-pyarrow-$pyarrow_version

hadoop_old=$cache/hadoop-$hadoop_old_version
hadoop_new=$cache/hadoop-$hadoop_new_version
hive=$cache/hive-$hive_version
hive_new=$cache/hive-$hive_new_version
spark=$cache/spark-$spark_version
polars=$cache/polars-$polars_version
flume=$cache/flume-$flume_version
benthos=$cache/bin/benthos-$benthos_version

# All that there are, in the order in which they are started.
servers=(minio seaweedfs weak hdfs_old hdfs_new hdfs_ha hdfs_kerberos hive hive_new)

java_needed="Hadoop and Hive need Java 17: install openjdk-17-jdk-headless, or set JAVA_HOME."

# The commands of a KDC and its clients, and the packages they come in.
kerberos_commands=(krb5kdc:krb5-kdc kdb5_util:krb5-kdc kadmin.local:krb5-admin-server kinit:krb5-user)

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

note() { printf '%s\n' "$*" >&2; }

# listed NAME LIST: the LIST, with commas, has it.
listed() {
  local list=",$2,"
  [[ ${list// /} == *",$1,"* ]]
}

# left_out NAME: LAKEWARD_TEST_WITHOUT has it, or LAKEWARD_TEST_ONLY is set and has it not.
left_out() {
  listed "$1" "${LAKEWARD_TEST_WITHOUT:-}" ||
    { [[ -n ${LAKEWARD_TEST_ONLY:-} ]] && ! listed "$1" "$LAKEWARD_TEST_ONLY"; }
}

# wanted NAME: we are to start it: not left out, and no endpoint given for it.
wanted() {
  local var="LAKEWARD_TEST_${1^^}"
  ! left_out "$1" && [[ -z ${!var:-} ]]
}

# packages_missing COMMAND:PACKAGE...: the PACKAGEs, one a line, of the COMMANDs that are not here.
packages_missing() {
  local pair
  for pair; do
    command -v "${pair%%:*}" >/dev/null || [[ -x /usr/sbin/${pair%%:*} ]] || printf '%s\n' "${pair##*:}"
  done | sort -u
}

# java_of COMMAND: the path of that COMMAND of a Java which all of the servers run
# on. Newer ones lack the security manager that Hadoop asks for.
java_of() {
  local home version
  for home in "${JAVA_HOME:-}" /usr/lib/jvm/*17* /usr/lib/jvm/*11* ''; do
    if [[ -n $home ]]; then
      [[ -x $home/bin/$1 ]] || continue
      version=$("$home/bin/java" -version 2>&1) || continue
      home=$home/bin/$1
    else
      home=$(command -v "$1") || return 1
      version=$(java -version 2>&1) || return 1
    fi
    [[ $version =~ version\ \"(11|17)[.\"] ]] || continue
    printf '%s\n' "$home"
    return 0
  done
  return 1
}
