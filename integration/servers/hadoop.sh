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

# hadoop_client NAME HADOOP: DIR/NAME/hdfs, the official client of that version.
hadoop_client() {
  local at=$dir/$1
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
    printf 'exec env LC_ALL=C.UTF-8 %q -Xmx256m' "$java"
    printf ' %q' "${java_flags[@]}" -cp "$at/client:$2/web:$2/jars/*"
    # shellcheck disable=SC2016
    echo ' "$main" "$@"'
  } >"$at/hdfs"
  chmod 700 "$at/hdfs"
}

# hdfs NAME HADOOP PORTS... NAME=VALUE...: writes the start files of a cluster; five
# PORTS, and what hdfs-site.xml has beside the settings of all.
hdfs() {
  local name=$1 hadoop=$2 at=$dir/$1 rpc=$3 web=$4 data=$5 ipc=$6 data_web=$7
  local var=LAKEWARD_TEST_${name^^}
  shift 7
  mkdir -p "$at/conf"
  cp -r "$hadoop/name" "$at/name"
  settings "$at/conf/core-site.xml" \
    "fs.defaultFS=hdfs://127.0.0.1:$rpc" \
    "hadoop.tmp.dir=$at/tmp" \
    ipc.client.connect.retry.interval=200
  # A DataNode that is gone counts as dead after 14 s, not 10 minutes.
  settings "$at/conf/hdfs-site.xml" \
    "dfs.namenode.name.dir=file://$at/name" \
    "dfs.namenode.rpc-address=127.0.0.1:$rpc" \
    "dfs.namenode.http-address=127.0.0.1:$web" \
    "dfs.datanode.data.dir=file://$at/data" \
    "dfs.datanode.address=127.0.0.1:$data" \
    "dfs.datanode.ipc.address=127.0.0.1:$ipc" \
    "dfs.datanode.http.address=127.0.0.1:$data_web" \
    dfs.datanode.hostname=127.0.0.1 \
    dfs.namenode.datanode.registration.ip-hostname-check=false \
    dfs.webhdfs.enabled=true \
    dfs.replication=1 \
    dfs.namenode.fs-limits.min-block-size=65536 \
    dfs.namenode.safemode.extension=0 \
    dfs.heartbeat.interval=1 \
    dfs.namenode.heartbeat.recheck-interval=2000 \
    "$@"
  log4j_to_stderr INFO "$at/conf/log4j.properties"
  hadoop_client "$name" "$hadoop"
  local class_path="$at/conf:$hadoop/web:$hadoop/jars/*"
  local name_url=http://127.0.0.1:$web data_url=http://127.0.0.1:$data_web
  starter "${name}_namenode" LC_ALL=C.UTF-8 \
    "$(quoted python3 "$here/hadoop.py" namenode "$name_url" 60)" \
    "$java" -Xmx256m "${java_flags[@]}" -cp "$class_path" org.apache.hadoop.hdfs.server.namenode.NameNode
  starter "${name}_datanode" LC_ALL=C.UTF-8 \
    "$(quoted python3 "$here/hadoop.py" datanode "$data_url" "$name_url" 60)" \
    "$java" -Xmx256m "${java_flags[@]}" -cp "$class_path" org.apache.hadoop.hdfs.server.datanode.DataNode
  export_line "$var" "hdfs://127.0.0.1:$rpc"
  export_line "${var}_WEB" "$name_url"
  export_line "${var}_CONF" "$at/client"
  export_line "${var}_USER" "$(id -un)"
  export_line "${var}_CLIENT" "$at/hdfs"
  export_process "${var}_NAMENODE" "${name}_namenode"
  export_process "${var}_DATANODE" "${name}_datanode"
  started+=("${name}_namenode" "${name}_datanode")
}
