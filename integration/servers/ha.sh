# Read by start.sh: an HDFS of two NameNodes, which share their edits through a
# JournalNode; nothing but a command makes either the active one.
# shellcheck shell=bash disable=SC2154  # what start.sh and common.sh have set

name_service=lakeward

# hdfs_ha HADOOP PORTS...: writes the start files; nine PORTS.
hdfs_ha() {
  local name=hdfs_ha hadoop=$1 at=$dir/hdfs_ha rpc1=$2 web1=$3 rpc2=$4 web2=$5 journal=$6 journal_web=$7
  # shellcheck disable=SC2034  # used by those that this calls
  local -a hadoop_flags=()
  local -a data=("${@:8:3}")
  local url1=http://127.0.0.1:$web1 url2=http://127.0.0.1:$web2
  mkdir -p "$at/conf"
  # The second as `-bootstrapStandby` would make it: the image of the first.
  cp -r "$hadoop/name" "$at/nn1"
  cp -r "$hadoop/name" "$at/nn2"
  settings "$at/conf/core-site.xml" \
    "fs.defaultFS=hdfs://$name_service" \
    "hadoop.tmp.dir=$at/tmp" \
    ipc.client.connect.retry.interval=200
  local of=$name_service
  hdfs_site "$name" 127.0.0.1 "${data[@]}" \
    "dfs.nameservices=$of" \
    "dfs.ha.namenodes.$of=nn1,nn2" \
    "dfs.namenode.name.dir.$of.nn1=file://$at/nn1" \
    "dfs.namenode.name.dir.$of.nn2=file://$at/nn2" \
    "dfs.namenode.rpc-address.$of.nn1=127.0.0.1:$rpc1" \
    "dfs.namenode.rpc-address.$of.nn2=127.0.0.1:$rpc2" \
    "dfs.namenode.http-address.$of.nn1=127.0.0.1:$web1" \
    "dfs.namenode.http-address.$of.nn2=127.0.0.1:$web2" \
    "dfs.namenode.shared.edits.dir=qjournal://127.0.0.1:$journal/$of" \
    "dfs.journalnode.edits.dir=$at/edits" \
    "dfs.journalnode.rpc-address=127.0.0.1:$journal" \
    "dfs.journalnode.http-address=127.0.0.1:$journal_web" \
    "dfs.client.failover.proxy.provider.$of=org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider" \
    "dfs.ha.fencing.methods=shell(/bin/true)" \
    ha.failover-controller.cli-check.rpc-timeout.ms=5000 \
    dfs.ha.tail-edits.period=1s
  log4j_to_stderr INFO "$at/conf/log4j.properties"
  hadoop_client "$name" "$hadoop"
  failover_client "$at" "$url1" "$url2"
  hadoop_daemon "$name" journalnode "$hadoop" "$(quoted python3 "$here/hadoop.py" port "$journal" "$patience")" \
    org.apache.hadoop.hdfs.qjournal.server.JournalNode
  first+=("${name}_journalnode")
  between+=("$(quoted ha_format "$at" "$hadoop")")
  after+=("$(quoted "$at/failover" nn1)")
  local -a wait=(python3 "$here/hadoop.py" namenode)
  namenode "$name" namenode "$hadoop" "$(quoted "${wait[@]}" "$url1" "$patience")" -Ddfs.ha.namenode.id=nn1
  namenode "$name" namenode2 "$hadoop" "$(quoted "${wait[@]}" "$url2" "$patience")" -Ddfs.ha.namenode.id=nn2
  datanode "$name" "$hadoop" "http://127.0.0.1:${data[2]}" "$url1"
  export_line LAKEWARD_TEST_HDFS_HA "hdfs://$of"
  export_line LAKEWARD_TEST_HDFS_HA_NAME_NODES "127.0.0.1:$rpc1,127.0.0.1:$rpc2"
  export_line LAKEWARD_TEST_HDFS_HA_NAMENODE2_WEB "$url2"
  export_line LAKEWARD_TEST_HDFS_HA_FAILOVER "$at/failover"
  export_hdfs "$name" "$url1" "$(id -un)"
}

# ha_format AT HADOOP: what the two share, while the JournalNode runs and they do not.
ha_format() {
  "$java" -Xmx256m "${java_flags[@]}" -cp "$1/conf:$2/web:$2/jars/*" \
    org.apache.hadoop.hdfs.server.namenode.NameNode -Ddfs.ha.namenode.id=nn1 \
    -initializeSharedEdits -nonInteractive >"$1/format.log" 2>&1
}

# failover_client AT URL1 URL2: AT/failover.
failover_client() {
  {
    echo '#!/usr/bin/env bash'
    echo '# failover [nn1|nn2]: makes that one the active NameNode, by default the one that is not;'
    echo '# also when the other is dead or frozen.'
    echo 'set -euo pipefail'
    printf 'url=(%q %q)\nclient=%q\n' "$2" "$3" "$1/hdfs"
    # shellcheck disable=SC2016
    printf 'state() { %s "${url[$1]}"; }\n' "$(quoted python3 "$here/hadoop.py" state)"
    cat <<'TEXT'
case ${1:-} in
nn1) to=0 ;;
nn2) to=1 ;;
'') [[ $(state 0) == active ]] && to=1 || to=0 ;;
*)
  echo "usage: failover [nn1|nn2]" >&2
  exit 2
  ;;
esac
from=$((1 - to))
if [[ $(state $to) == active ]]; then
  :
elif [[ $(state $from) == active ]]; then
  "$client" haadmin -failover "nn$((from + 1))" "nn$((to + 1))"
else
  "$client" haadmin -transitionToActive --forceactive "nn$((to + 1))"
fi
[[ $(state $to) == active ]] || {
  echo "nn$((to + 1)) did not become active: it is $(state $to), the other is $(state $from)" >&2
  exit 1
}
echo "nn$((to + 1)) is active"
TEXT
  } >"$1/failover"
  chmod 700 "$1/failover"
}
