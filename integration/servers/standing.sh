#!/usr/bin/env bash
# Servers to try Lakeward with, on the ports that everybody knows: MinIO, an HDFS,
# a Hive metastore over it, with Hive and Spark. They keep their data.
#
#   standing.sh up      starts what does not run yet, and tells how to look at the data
#   standing.sh down    ends them
#
# All is in ${XDG_STATE_HOME:-~/.local/state}/lakeward/servers and listens on
# 127.0.0.1 alone. config/minio.toml and config/hdfs-hive.toml are made for them.
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
# shellcheck source=integration/servers/hive.sh
. "$here/hive.sh"

# Read by what the above define; config/minio.toml and config/hdfs-hive.toml have the same.
# shellcheck disable=SC2034
{
  bucket=lake
  secret_of_all=lakeward-servers
  hive_fs=hdfs://127.0.0.1:8020
}
declare -A ports=(
  [minio]="9000 9001"
  [hdfs_new_namenode]="8020 9870"
  [hdfs_new_datanode]="9866 9867 9864"
  [hive]=9083
)
declare -A spoken=([minio]=MinIO [hdfs_new_namenode]="HDFS's NameNode"
  [hdfs_new_datanode]="HDFS's DataNode" [hive]="the Hive metastore")

dir=${XDG_STATE_HOME:-${HOME:?HOME or XDG_STATE_HOME must be set}/.local/state}/lakeward/servers

# prepare: writes the start files anew, as the scripts now are; data stays.
prepare() {
  local -a namenode datanode
  read -ra namenode <<<"${ports[hdfs_new_namenode]}"
  read -ra datanode <<<"${ports[hdfs_new_datanode]}"
  started=()
  java=$(java_of java) || java=
  minio_server 9000 on --console-address 127.0.0.1:9001
  have "$hadoop_new" hdfs_new
  hdfs hdfs_new "$hadoop_new" "${namenode[@]}" "${datanode[@]}"
  have "$hive" hive
  have "$spark" spark
  hive hive "$hive" "${ports[hive]}" "$hive/loopback"
  spark_client
  mkdir -p "$dir/home" "$dir/bin"
  ln -sfT "$dir/hdfs_new/hdfs" "$dir/bin/hdfs"
  ln -sfT "$dir/hive/hive" "$dir/bin/hive"
  ln -sfT "$dir/spark/sql" "$dir/bin/spark-sql"
  # Not a link: a Python looks for its modules beside its own name.
  printf '#!/bin/sh\nexec %q "$@"\n' "$cache/readers/bin/python" >"$dir/bin/python.new"
  chmod 755 "$dir/bin/python.new"
  mv -f "$dir/bin/python.new" "$dir/bin/python"
}

# free NAME: nobody else has its ports.
free() {
  local taken
  # shellcheck disable=SC2086  # several
  taken=$(python3 "$here/s3.py" taken ${ports[$1]})
  [[ -z $taken ]] ||
    fail "Port ${taken//$'\n'/, } of 127.0.0.1, which ${spoken[$1]} would listen on, is taken: end the program that has it (ss -ltnp tells which)."
}

up() {
  local name
  local -a fresh=()
  "$here/fetch.sh" minio hdfs_new hive duckdb
  prepare
  for name in "${started[@]}"; do
    "$dir/$name.start" --runs || fresh+=("$name")
  done
  for name in ${fresh[@]+"${fresh[@]}"}; do free "$name"; done
  for name in ${fresh[@]+"${fresh[@]}"}; do "$dir/$name.start"; done
  for name in "${started[@]}"; do
    "$dir/$name.start" --ready >&2 ||
      fail "$name did not start: see the last lines of its log:"$'\n'"$(tail -n 5 "$dir/$name.log")"
  done
  tell
}

tell() {
  local show=${dir/#$HOME/\~}
  cat <<TEXT
MinIO           http://127.0.0.1:9000, bucket lake, key lakeward-minio, secret $secret_of_all; its pages: http://127.0.0.1:9001
HDFS            hdfs://127.0.0.1:8020; WebHDFS: http://127.0.0.1:9870
Hive metastore  thrift://127.0.0.1:9083
Data and logs   $show

Land something (each configuration has a spool of its own under target/):
  cargo build --release --bin lakeward --example generate
  target/release/examples/generate demo target/minio/spool
  target/release/lakeward --config config/minio.toml run --once
  target/release/examples/generate demo target/hdfs-hive/spool
  target/release/lakeward --config config/hdfs-hive.toml run --once

Look at it:
  $show/bin/hive -e 'SELECT dt, count(*) FROM events GROUP BY dt'
  $show/bin/spark-sql -e 'SELECT dt, count(*) FROM events GROUP BY dt'
  $show/bin/hdfs dfs -ls -R /lake/events
  AWS_ACCESS_KEY_ID=lakeward-minio AWS_SECRET_ACCESS_KEY=$secret_of_all AWS_REGION=us-east-1 \\
    aws --endpoint-url http://127.0.0.1:9000 s3 ls --recursive s3://lake/
DuckDB on what is in MinIO:
  $show/bin/python -c '
import duckdb, pyarrow.dataset, pyarrow.fs
minio = pyarrow.fs.S3FileSystem(access_key="lakeward-minio", secret_key="$secret_of_all", endpoint_override="http://127.0.0.1:9000")
events = pyarrow.dataset.dataset("lake/events", filesystem=minio, partitioning="hive")
duckdb.sql("SELECT dt, count(*) FROM events GROUP BY dt ORDER BY dt").show()'
and on what is in HDFS:
  rm -rf /tmp/events && $show/bin/hdfs dfs -get /lake/events /tmp/events
  $show/bin/python -c 'import duckdb; duckdb.sql("SELECT dt, count(*) FROM \\"/tmp/events/*/*.parquet\\" GROUP BY dt ORDER BY dt").show()'

make servers-stop ends them; the data stays.
TEXT
}

[[ ${1:-} != down || -d $dir ]] || exit 0
mkdir -p -- "$dir"
chmod 700 -- "$dir"
dir=$(cd -- "$dir" && pwd)
exec 9>"$dir/lock"
flock 9
case ${1:-} in
up) up 9>&- ;;
down) "$here/stop.sh" "$dir" ;;
*) fail "usage: standing.sh up|down" ;;
esac
