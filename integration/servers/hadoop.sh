# Read by start.sh: HDFS clusters, each of a NameNode and a DataNode that can be
# killed one by one.
# shellcheck shell=bash disable=SC2154  # what start.sh and common.sh have set

# What Hadoop and Hive reach into, from before Java had modules.
java_opens=()
for _package in java.base/java.{io,lang,lang.reflect,math,net,nio,text,time,util} \
  java.base/java.util.{concurrent,concurrent.atomic,regex,zip} \
  java.base/sun.{nio.ch,security.util,security.x509} java.sql/java.sql; do
  java_opens+=("--add-opens=$_package=ALL-UNNAMED")
done
# Short-lived and small: what starts soon is better than what runs fast.
java_flags=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -XX:-UsePerfData
  -Djava.net.preferIPv4Stack=true "${java_opens[@]}")

# settings FILE NAME=VALUE...: a configuration file as Hadoop and Hive have them.
settings() {
  local file=$1 setting
  shift
  {
    echo '<?xml version="1.0"?>'
    echo '<configuration>'
    for setting; do
      printf '  <property><name>%s</name><value>%s</value></property>\n' "${setting%%=*}" "${setting#*=}"
    done
    echo '</configuration>'
  } >"$file"
}

# log4j_to_stderr LEVEL FILE
log4j_to_stderr() {
  cat >"$2" <<TEXT
log4j.rootLogger=$1,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
TEXT
}

# hadoop_client NAME HADOOP [LINE...]: DIR/NAME/hdfs, the official client of that
# version; the LINEs of shell come before it.
hadoop_client() {
  local at=$dir/$1 hadoop=$2
  mkdir -p "$at/client"
  cp "$at/conf/"*-site.xml "$at/client/"
  log4j_to_stderr ERROR "$at/client/log4j.properties"
  {
    echo '#!/usr/bin/env bash'
    echo "# The official client for $1: hdfs dfs|dfsadmin|fsck|haadmin|CLASS ARGUMENT..."
    echo 'set -euo pipefail'
    # shellcheck disable=SC2016
    echo 'case ${1:?dfs, dfsadmin, fsck, haadmin or a class} in'
    cat <<'TEXT'
dfs) main=org.apache.hadoop.fs.FsShell ;;
dfsadmin) main=org.apache.hadoop.hdfs.tools.DFSAdmin ;;
fsck) main=org.apache.hadoop.hdfs.tools.DFSck ;;
haadmin) main=org.apache.hadoop.hdfs.tools.DFSHAAdmin ;;
*) main=$1 ;;
esac
shift
TEXT
    shift 2
    (($# == 0)) || printf '%s\n' "$@"
    printf 'exec env LC_ALL=C.UTF-8 %q -Xmx256m' "$java"
    printf ' %q' "${java_flags[@]}" "${hadoop_flags[@]}" -cp "$at/client:$hadoop/web:$hadoop/jars/*"
    # shellcheck disable=SC2016
    echo ' "$main" "$@"'
  } >"$at/hdfs"
  chmod 700 "$at/hdfs"
}

# hdfs_site NAME HOST DATA_PORTS... NAME=VALUE...: the hdfs-site.xml; three ports of the
# DataNode, and what it has beside the settings of all.
hdfs_site() {
  local at=$dir/$1 host=$2 data=$3 ipc=$4 data_web=$5
  shift 5
  # A DataNode that is gone counts as dead after 14 s, not 10 minutes.
  settings "$at/conf/hdfs-site.xml" \
    "dfs.datanode.data.dir=file://$at/data" \
    "dfs.datanode.address=127.0.0.1:$data" \
    "dfs.datanode.ipc.address=127.0.0.1:$ipc" \
    "dfs.datanode.http.address=127.0.0.1:$data_web" \
    "dfs.datanode.hostname=$host" \
    dfs.namenode.datanode.registration.ip-hostname-check=false \
    dfs.webhdfs.enabled=true \
    dfs.replication=1 \
    dfs.namenode.fs-limits.min-block-size=65536 \
    dfs.namenode.safemode.extension=0 \
    dfs.heartbeat.interval=1 \
    dfs.namenode.heartbeat.recheck-interval=2000 \
    "$@"
}

# hadoop_daemon NAME PART HADOOP READY CLASS ARGUMENT...: writes DIR/NAME_PART.start.
hadoop_daemon() {
  local name=$1 part=$2 hadoop=$3 ready=$4
  shift 4
  starter "${name}_$part" LC_ALL=C.UTF-8 "$ready" "$java" -Xmx256m "${java_flags[@]}" "${hadoop_flags[@]}" \
    -cp "$dir/$name/conf:$hadoop/web:$hadoop/jars/*" "$@"
  local var=${name}_$part
  export_process "LAKEWARD_TEST_${var^^}" "${name}_$part"
}

# namenode NAME PART HADOOP READY ARGUMENT...
namenode() {
  local name=$1 part=$2 hadoop=$3 ready=$4
  shift 4
  hadoop_daemon "$name" "$part" "$hadoop" "$ready" org.apache.hadoop.hdfs.server.namenode.NameNode "$@"
  started+=("${name}_$part")
}

# datanode NAME HADOOP URL NAMENODE_URL
datanode() {
  hadoop_daemon "$1" datanode "$2" "$(quoted python3 "$here/hadoop.py" datanode "$3" "$4" "$patience")" \
    org.apache.hadoop.hdfs.server.datanode.DataNode
  started+=("$1_datanode")
}

# hdfs NAME HADOOP PORTS... NAME=VALUE...: writes the start files of a cluster; five
# PORTS, and what hdfs-site.xml has beside the settings of all.
hdfs() {
  local name=$1 hadoop=$2 at=$dir/$1 rpc=$3 web=$4 data_web=$7
  local -a data=("${@:5:3}") hadoop_flags=()
  local var=LAKEWARD_TEST_${name^^}
  shift 7
  mkdir -p "$at/conf"
  [[ -e $at/name ]] || cp -r "$hadoop/name" "$at/name"
  settings "$at/conf/core-site.xml" \
    "fs.defaultFS=hdfs://127.0.0.1:$rpc" \
    "hadoop.tmp.dir=$at/tmp" \
    ipc.client.connect.retry.interval=200
  hdfs_site "$name" 127.0.0.1 "${data[@]}" \
    "dfs.namenode.name.dir=file://$at/name" \
    "dfs.namenode.rpc-address=127.0.0.1:$rpc" \
    "dfs.namenode.http-address=127.0.0.1:$web" \
    "$@"
  log4j_to_stderr INFO "$at/conf/log4j.properties"
  hadoop_client "$name" "$hadoop"
  namenode "$name" namenode "$hadoop" "$(quoted python3 "$here/hadoop.py" namenode "http://127.0.0.1:$web" "$patience")"
  datanode "$name" "$hadoop" "http://127.0.0.1:$data_web" "http://127.0.0.1:$web"
  export_line "$var" "hdfs://127.0.0.1:$rpc"
  export_hdfs "$name" "http://127.0.0.1:$web" "$(id -un)"
}

# export_hdfs NAME WEB USER: what all clusters have beside an address and processes.
export_hdfs() {
  local var=LAKEWARD_TEST_${1^^}
  export_line "${var}_WEB" "$2"
  export_line "${var}_CONF" "$dir/$1/client"
  export_line "${var}_USER" "$3"
  export_line "${var}_CLIENT" "$dir/$1/hdfs"
}
