# Read by start.sh and standing.sh: the S3 servers.
# shellcheck shell=bash disable=SC2154  # what they and common.sh have set

# endpoint_of NAME PORT: sets endpoint, key, secret and ready of the S3 server now written.
endpoint_of() {
  endpoint=http://127.0.0.1:$2
  key=lakeward-$1
  secret=${secret_of_all:-$(python3 -c 'import secrets; print(secrets.token_hex(12))')}
  local var=LAKEWARD_TEST_${1^^}
  export_line "$var" "$endpoint"
  export_line "${var}_KEY" "$key"
  export_line "${var}_SECRET" "$secret"
  export_line "${var}_BUCKET" "$bucket"
  export_process "$var" "$1"
  ready="S3_KEY=$(quoted "$key") S3_SECRET=$(quoted "$secret") $(
    quoted python3 "$here/s3.py" ready "$endpoint" "$bucket" "$patience"
  )"
}

# minio_server PORT BROWSER ARGUMENT...: with its own pages (on) or without (off).
minio_server() {
  local port=$1 browser=$2
  shift 2
  [[ -x $minio ]] || fail "MinIO is not here: run integration/servers/fetch.sh minio first."
  endpoint_of minio "$port"
  # MINIO_CI_CD lets it use a folder on the root file system.
  starter minio "MINIO_ROOT_USER=$key
MINIO_ROOT_PASSWORD=$secret
MINIO_BROWSER=$browser
MINIO_UPDATE=off
MINIO_CI_CD=1" "$ready" \
    "$minio" server "$dir/minio" --address "127.0.0.1:$port" --quiet "$@"
  started+=(minio)
}

# seaweedfs_server PORTS...: six, for S3 first.
seaweedfs_server() {
  [[ -x $weed ]] || fail "SeaweedFS is not here: run integration/servers/fetch.sh seaweedfs first."
  endpoint_of seaweedfs "$1"
  # Each port is given: it would silently move on from one that is taken.
  mkdir -p "$dir/seaweedfs"
  starter seaweedfs "AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$secret" "$ready" \
    "$weed" mini -dir="$dir/seaweedfs" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.telemetry=false -webdav=false -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.autoCreateBucket=false -s3.port="$1" -master.port="$2" \
    -volume.port="$3" -filer.port="$4" -admin.port="$5" \
    -debug.port="$6" -bucket="$bucket"
  started+=(seaweedfs)
}

# weak_server PORT
weak_server() {
  local python
  # The program itself: a shim on the PATH may not work in the clean environment.
  python=$(python3 -c 'import sys; print(sys.executable)')
  endpoint_of weak "$1"
  starter weak PYTHONUNBUFFERED=1 "$ready" \
    "$python" "$here/weak_s3.py" "$dir/weak" --port "$1" --key "$key"
  started+=(weak)
}
