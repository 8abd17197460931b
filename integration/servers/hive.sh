# Read by start.sh: a Hive metastore over Derby, and two that read its tables: Hive
# itself, which runs its jobs in its own process, and Spark.
# shellcheck shell=bash disable=SC2154  # what start.sh and common.sh have set

# Where a table without a location of its own would go, and a path without a scheme.
hive_fs=${LAKEWARD_TEST_HIVE_FS:-file:///}

# log4j2_to_stderr LEVEL FILE
log4j2_to_stderr() {
  cat >"$2" <<TEXT
status = ERROR
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{2}: %m%n
rootLogger.level = $1
rootLogger.appenderRef.console.ref = console
TEXT
}

# hive_client NAME HIVE: DIR/NAME/hive, the command line of that version.
hive_client() {
  local at=$dir/$1 conf=$dir/$1/client
  mkdir -p "$conf" "$at/scratch"
  settings "$conf/hive-site.xml" "${metastore[@]}" \
    "fs.defaultFS=$hive_fs" \
    hive.async.log.enabled=false \
    "hive.exec.scratchdir=file://$at/scratch/jobs" \
    "hive.exec.local.scratchdir=$at/scratch/local" \
    "hive.downloaded.resources.dir=$at/scratch/resources" \
    "hive.querylog.location=$at/scratch/queries" \
    "hadoop.tmp.dir=$at/scratch/hadoop" \
    mapreduce.framework.name=local \
    hive.execution.engine=mr \
    hive.fetch.task.conversion=more
  log4j2_to_stderr ERROR "$conf/hive-log4j2.properties"
  # Parquet would else write its notes to where the rows go.
  printf '%s\n' handlers=java.util.logging.ConsoleHandler java.util.logging.ConsoleHandler.level=SEVERE \
    org.apache.parquet.handlers=java.util.logging.ConsoleHandler >"$conf/logging.properties"
  {
    echo '#!/usr/bin/env bash'
    echo "# Hive's own command line over the metastore of $1: hive -e 'SQL', hive -f FILE. Rows go"
    echo '# to stdout, tabs between columns; --hiveconf NAME=VALUE sets.'
    printf 'exec env LC_ALL=C.UTF-8 %q -Xmx512m' "$java"
    printf ' %q' "${java_flags[@]}" "-Djava.util.logging.config.file=$conf/logging.properties" \
      "-Dlog4j.configurationFile=$conf/hive-log4j2.properties" \
      -cp "$conf:$2/jars/*" org.apache.hadoop.hive.cli.CliDriver -S
    # shellcheck disable=SC2016
    echo ' "$@"'
  } >"$at/hive"
  chmod 700 "$at/hive"
}

# spark_client: DIR/spark/sql and DIR/spark/python, over the metastore last made.
spark_client() {
  local at=$dir/spark conf=$dir/spark/conf home
  home=$("$spark/bin/python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
  mkdir -p "$conf"
  settings "$conf/hive-site.xml" "${metastore[@]}" "fs.defaultFS=$hive_fs" \
    "hive.exec.scratchdir=file://$at/scratch/jobs" \
    "hive.exec.local.scratchdir=$at/scratch/local"
  # Loopback alone, and little memory.
  cat >"$conf/spark-defaults.conf" <<TEXT
spark.master local[2]
spark.driver.memory 768m
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.ui.enabled false
spark.sql.catalogImplementation hive
spark.sql.warehouse.dir file://$dir/hive/warehouse
spark.sql.shuffle.partitions 2
spark.local.dir $at/scratch
spark.driver.extraJavaOptions -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dderby.system.home=$at
TEXT
  log4j2_to_stderr ERROR "$conf/log4j2.properties"
  mkdir -p "$at/scratch"
  local -a lets=(LC_ALL=C.UTF-8 "JAVA_HOME=${java%/bin/java}" "SPARK_CONF_DIR=$conf" SPARK_LOCAL_IP=127.0.0.1)
  {
    echo '#!/usr/bin/env bash'
    echo "# Spark's own command line over the metastore: sql -e 'SQL', sql -f FILE; tabs between columns."
    echo '# With --conf spark.sql.hive.convertMetastoreParquet=false it reads Parquet as Hive does.'
    printf 'exec env'
    printf ' %q' "${lets[@]}" "SPARK_HOME=$home" "$home/bin/spark-sql" -S
    # shellcheck disable=SC2016
    echo ' "$@"'
  } >"$at/sql"
  {
    echo '#!/usr/bin/env bash'
    echo '# A Python with pyspark, set to the metastore: SparkSession.builder.enableHiveSupport().getOrCreate()'
    printf 'exec env'
    printf ' %q' "${lets[@]}" "$spark/bin/python"
    # shellcheck disable=SC2016
    echo ' "$@"'
  } >"$at/python"
  chmod 700 "$at/sql" "$at/python"
  export_line LAKEWARD_TEST_SPARK "$at/python"
  export_line LAKEWARD_TEST_SPARK_SQL "$at/sql"
}

# hive NAME HIVE PORT [LOOPBACK]: writes the start file of a metastore, and its
# client; LOOPBACK comes first on its class path.
hive() {
  local name=$1 hive=$2 port=$3 loopback=${4:+$4:} at=$dir/$1
  local var=LAKEWARD_TEST_${name^^}
  metastore=(
    "hive.metastore.uris=thrift://127.0.0.1:$port"
    "hive.metastore.warehouse.dir=file://$at/warehouse"
  )
  mkdir -p "$at/conf" "$at/warehouse"
  # Without the address of the metastore: it would call itself.
  settings "$at/conf/hive-site.xml" "${metastore[@]:1}" \
    "fs.defaultFS=$hive_fs" \
    hive.async.log.enabled=false \
    "javax.jdo.option.ConnectionURL=jdbc:derby:;databaseName=$at/derby;create=true" \
    javax.jdo.option.ConnectionDriverName=org.apache.derby.jdbc.EmbeddedDriver \
    datanucleus.schema.autoCreateAll=true \
    hive.metastore.schema.verification=false \
    hive.metastore.port="$port" \
    hive.metastore.thrift.bind.host=127.0.0.1
  log4j2_to_stderr INFO "$at/conf/hive-log4j2.properties"
  hive_client "$name" "$hive"
  starter "$name" LC_ALL=C.UTF-8 "$(quoted python3 "$here/hadoop.py" port "$port" "$patience")" \
    "$java" -Xmx384m "${java_flags[@]}" "-Dderby.stream.error.file=$at/derby.log" \
    "-Dlog4j.configurationFile=$at/conf/hive-log4j2.properties" \
    -cp "$loopback$at/conf:$hive/jars/*" org.apache.hadoop.hive.metastore.HiveMetaStore -p "$port"
  export_line "$var" "thrift://127.0.0.1:$port"
  export_line "${var}_CLIENT" "$at/hive"
  export_line "${var}_WAREHOUSE" "file://$at/warehouse"
  export_process "$var" "$name"
  started+=("$name")
}
