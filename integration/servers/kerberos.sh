# Read by start.sh: an HDFS whose every call and block is signed and sealed by Kerberos,
# and its own KDC.
# shellcheck shell=bash disable=SC2154  # what start.sh and common.sh have set

realm=LAKEWARD.TEST
# So short that a test can outlast a ticket.
ticket_life_short="30 seconds"

# principals AT: what the KDC knows. The two of lakeward are the same user to HDFS.
principals() {
  local at=$1
  "$at/kadmin" addprinc -randkey hdfs/localhost
  "$at/kadmin" addprinc -randkey HTTP/localhost
  "$at/kadmin" addprinc -randkey lakeward
  "$at/kadmin" addprinc -randkey -maxlife "$ticket_life_short" lakeward/short
  "$at/kadmin" addprinc -randkey stranger
  "$at/kadmin" ktadd -k "$at/service.keytab" hdfs/localhost HTTP/localhost
  "$at/kadmin" ktadd -k "$at/lakeward.keytab" lakeward
  "$at/kadmin" ktadd -k "$at/short.keytab" lakeward/short
  "$at/kadmin" ktadd -k "$at/stranger.keytab" stranger
}

# kdc NAME PORT: DIR/NAME/kdc, and the start file of the KDC.
kdc() {
  local name=$1 port=$2 at=$dir/$1/kdc var=LAKEWARD_TEST_${1^^}
  local path=$PATH:/usr/sbin
  mkdir -p "$at"
  # No clock but this machine's: a ticket is out when its time is, not five minutes later.
  cat >"$at/krb5.conf" <<TEXT
[libdefaults]
  default_realm = $realm
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
  clockskew = 2
[realms]
  $realm = {
    kdc = 127.0.0.1:$port
  }
[domain_realm]
  localhost = $realm
TEXT
  cat >"$at/kdc.conf" <<TEXT
[kdcdefaults]
  kdc_listen = 127.0.0.1:$port
  kdc_tcp_listen = 127.0.0.1:$port
[realms]
  $realm = {
    database_name = $at/principal
    key_stash_file = $at/stash
    acl_file = $at/kadm5.acl
    max_life = 10h 0m 0s
    max_renewable_life = 7d 0h 0m 0s
    supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
  }
[logging]
  kdc = STDERR
TEXT
  : >"$at/kadm5.acl"
  local lets="KRB5_CONFIG=$at/krb5.conf KRB5_KDC_PROFILE=$at/kdc.conf"
  {
    echo '#!/usr/bin/env bash'
    echo "# The KDC's database: kadmin addprinc|modprinc|ktadd|getprinc ... (kadmin.local)"
    printf 'exec env %s %q -r %q "$@"\n' "$lets" "$(PATH=$path command -v kadmin.local)" "$realm"
  } >"$at/kadmin"
  chmod 700 "$at/kadmin"
  # shellcheck disable=SC2086  # several words
  if ! env $lets "$(PATH=$path command -v kdb5_util)" create -s -r "$realm" -P lakeward >"$at/log" 2>&1 ||
    ! principals "$at" >>"$at/log" 2>&1; then
    fail "The KDC's database could not be made: see the last lines of its log:"$'\n'"$(tail -n 5 "$at/log")"
  fi
  starter "${name}_kdc" "${lets// /$'\n'}" "$(quoted python3 "$here/hadoop.py" port "$port" 20)" \
    "$(PATH=$path command -v krb5kdc)" -n -r "$realm" -P "$at/krb5kdc.pid"
  first+=("${name}_kdc")
  export_process "${var}_KDC" "${name}_kdc"
  export_line "${var}_KADMIN" "$at/kadmin"
  export_line "${var}_KRB5_CONF" "$at/krb5.conf"
  export_line "${var}_PRINCIPAL" "lakeward@$realm"
  export_line "${var}_KEYTAB" "$at/lakeward.keytab"
  export_line "${var}_SHORT_PRINCIPAL" "lakeward/short@$realm"
  export_line "${var}_SHORT_KEYTAB" "$at/short.keytab"
  export_line "${var}_STRANGER_PRINCIPAL" "stranger@$realm"
  export_line "${var}_STRANGER_KEYTAB" "$at/stranger.keytab"
}

# hdfs_kerberos HADOOP PORTS...: writes the start files; five PORTS and the KDC's.
hdfs_kerberos() {
  local name=hdfs_kerberos hadoop=$1 at=$dir/hdfs_kerberos rpc=$2 web=$3 data_web=$6 kdc=$7
  local -a data=("${@:4:3}") hadoop_flags
  kdc "$name" "$kdc"
  local keytab=$at/kdc/service.keytab
  # shellcheck disable=SC2034  # used by those that this calls
  hadoop_flags=("-Djava.security.krb5.conf=$at/kdc/krb5.conf"
    --add-{exports,opens}"=java.security.jgss/sun.security."{krb5,jgss}"=ALL-UNNAMED")
  mkdir -p "$at/conf"
  cp -r "$hadoop/name" "$at/name"
  # The users of this cluster are not users of the machine.
  settings "$at/conf/core-site.xml" \
    "fs.defaultFS=hdfs://localhost:$rpc" \
    "hadoop.tmp.dir=$at/tmp" \
    ipc.client.connect.retry.interval=200 \
    hadoop.security.authentication=kerberos \
    hadoop.security.authorization=true \
    hadoop.rpc.protection=privacy \
    hadoop.http.authentication.type=kerberos \
    "hadoop.http.authentication.kerberos.principal=HTTP/localhost@$realm" \
    "hadoop.http.authentication.kerberos.keytab=$keytab" \
    'hadoop.user.group.static.mapping.overrides=hdfs=supergroup;lakeward=supergroup;stranger=strangers'
  hdfs_site "$name" localhost "${data[@]}" \
    "dfs.namenode.name.dir=file://$at/name" \
    "dfs.namenode.rpc-address=localhost:$rpc" \
    "dfs.namenode.http-address=localhost:$web" \
    "dfs.namenode.kerberos.principal=hdfs/localhost@$realm" \
    "dfs.namenode.keytab.file=$keytab" \
    "dfs.datanode.kerberos.principal=hdfs/localhost@$realm" \
    "dfs.datanode.keytab.file=$keytab" \
    "dfs.namenode.kerberos.internal.spnego.principal=HTTP/localhost@$realm" \
    dfs.block.access.token.enable=true \
    dfs.data.transfer.protection=privacy \
    ignore.secure.ports.for.testing=true
  log4j_to_stderr INFO "$at/conf/log4j.properties"
  # The client is the superuser, by a ticket of its own.
  hadoop_client "$name" "$hadoop" \
    "export $(quoted "KRB5_CONFIG=$at/kdc/krb5.conf" "KRB5CCNAME=FILE:$at/client/ticket")" \
    "kinit -k -t $(quoted "$keytab" "hdfs/localhost@$realm")"
  # Its web pages answer nobody without a ticket; it listens when it has read its image.
  namenode "$name" namenode "$hadoop" "$(quoted python3 "$here/hadoop.py" port "$rpc" "$patience")"
  datanode "$name" "$hadoop" "http://localhost:$data_web" "http://localhost:$web"
  export_line LAKEWARD_TEST_HDFS_KERBEROS "hdfs://localhost:$rpc"
  export_hdfs "$name" "http://localhost:$web" hdfs
}
