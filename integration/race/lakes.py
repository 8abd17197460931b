"""`make bench`: landing on MinIO and HDFS beside the local disk, and what a plain upload of the same data files takes.

In each of ROUNDS rounds the same input is landed in a new local lake, a new one on MinIO and a new one on HDFS, by the
configuration that is below and all cores, in eight batches, so that one is encoded while the last one is landed. What landed is
counted by other programs. Then the data files of the local lake are uploaded by an S3 client (pyarrow's, which is AWS's own) and by
`hdfs dfs -put`. Servers are those of servers/start.sh, on the same machine. Prints a Markdown table.
"""

import glob
import os
import shutil
import statistics
import sys
import tempfile
import time

import duckdb
import pyarrow.dataset
import pyarrow.fs

from .inputs import generate
from .measure import run, spread
from .settings import BYTES, LAKEWARD, ROUNDS

BATCHES = 8
CONFIG = """
[agent]
state_dir = "var"
[lake]
{lake}
[[pipeline]]
name = "bench"
[pipeline.source]
path = "spool"
ready_after = "0s"
[pipeline.sink]
path = "all"
compat = "modern"
compression = "zstd"
[pipeline.sink.roll]
bytes = {roll}
"""


def count(pattern):
    return duckdb.sql(f"SELECT count(*) FROM read_parquet('{pattern}', hive_partitioning = false)").fetchall()[0][0]


def everywhere(command):
    return run(command, sorted(os.sched_getaffinity(0)))


class Local:
    name = "local disk"

    def __init__(self, work):
        self.root = f"{work}/lake"

    def toml(self, _round):
        shutil.rmtree(self.root, ignore_errors=True)
        return f'type = "fs"\nroot = "{self.root}"'

    def files(self):
        return sorted(glob.glob(f"{self.root}/all/**/*.parquet", recursive=True))

    def count(self, _round):
        return count(f"{self.root}/all/**/*.parquet")


class Minio:
    name = "MinIO"
    client = "pyarrow's S3 client"

    def __init__(self, _work):
        variable = lambda suffix: os.environ[f"LAKEWARD_TEST_MINIO{suffix}"]
        self.endpoint, self.bucket = variable(""), variable("_BUCKET")
        self.key, self.secret = variable("_KEY"), variable("_SECRET")
        self.fs = pyarrow.fs.S3FileSystem(
            access_key=self.key, secret_key=self.secret, endpoint_override=self.endpoint, region="us-east-1"
        )

    def toml(self, number):
        return (
            f'type = "s3"\nbucket = "{self.bucket}"\nroot = "bench-{number}"\nendpoint = "{self.endpoint}"\n'
            f'region = "us-east-1"\naccess_key_id = "{self.key}"\nsecret_access_key = "{self.secret}"'
        )

    def count(self, number):
        files = pyarrow.dataset.dataset(f"{self.bucket}/bench-{number}/all", filesystem=self.fs, format="parquet")
        return files.count_rows()

    def upload(self, files, number):
        start = time.monotonic()
        pyarrow.fs.copy_files(
            os.path.dirname(files[0]), f"{self.bucket}/put-{number}", destination_filesystem=self.fs, chunk_size=8 << 20
        )
        return time.monotonic() - start

    def remove(self, number):
        for root in (f"bench-{number}", f"put-{number}"):
            self.fs.delete_dir(f"{self.bucket}/{root}")


class Hdfs:
    name = "HDFS"
    client = "`hdfs dfs -put`"

    def __init__(self, work):
        variable = lambda suffix: os.environ[f"LAKEWARD_TEST_HDFS_NEW{suffix}"]
        self.work, self.url, self.user = work, variable(""), variable("_USER")
        self.hdfs = variable("_CLIENT")

    def dfs(self, *arguments):
        return everywhere([self.hdfs, "dfs", *arguments]).wall

    def toml(self, number):
        return f'type = "hdfs"\nname_node = "{self.url}"\nroot = "/bench-{number}"\nuser = "{self.user}"'

    def count(self, number):
        got = f"{self.work}/got"
        shutil.rmtree(got, ignore_errors=True)
        self.dfs("-get", f"/bench-{number}/all", got)
        found = count(f"{got}/**/*.parquet")
        shutil.rmtree(got)
        return found

    def upload(self, files, number):
        self.dfs("-mkdir", "-p", f"/put-{number}")
        return self.dfs("-put", *files, f"/put-{number}")

    def remove(self, number):
        self.dfs("-rm", "-r", "-skipTrash", f"/bench-{number}", f"/put-{number}")


def land(work, source, records, lake, number):
    for name in ("var", "spool"):
        shutil.rmtree(f"{work}/{name}", ignore_errors=True)
    os.makedirs(f"{work}/spool")
    os.link(source, f"{work}/spool/input.ndjson")
    roll = max(BYTES // BATCHES, 1 << 20)
    with open(f"{work}/lakeward.toml", "w") as file:
        file.write(CONFIG.format(lake=lake.toml(number), roll=roll))
    measured = everywhere([LAKEWARD, "--config", f"{work}/lakeward.toml", "-q", "run", "--once"])
    found = lake.count(number)
    if found != records:
        sys.exit(f"lakeward on {lake.name}: {found} records in the output, {records} in the input")
    return measured


def table(megabytes, runs, remote, uploads):
    print("| lake | MB/s of input | CPU seconds | peak MiB | speed against the local disk |\n| --- | --- | --- | --- | --- |")
    local = [took.wall for took in runs["local disk"]]
    for name, measured in runs.items():
        ratio = spread([here / took.wall for here, took in zip(local, measured)]) if name != "local disk" else "1"
        print(
            f"| {name} | {megabytes / statistics.median(took.wall for took in measured):.0f}"
            f" | {statistics.median(took.cpu for took in measured):.1f} | {max(took.peak for took in measured):.0f} | {ratio} |"
        )
    print("\n| the local lake's data files, uploaded | seconds | Lakeward's speed against landing locally and then uploading |\n| --- | --- | --- |")
    for lake in remote:
        ups = uploads[lake.name]
        both = [(here + up) / took.wall for here, up, took in zip(local, ups, runs[lake.name])]
        print(f"| by {lake.client} to {lake.name} | {spread(ups)} | {spread(both)} |")


def main():
    kinds = {"MINIO": Minio, "HDFS_NEW": Hdfs}
    present = [kind for name, kind in kinds.items() if os.environ.get(f"LAKEWARD_TEST_{name}")]
    for kind in kinds.values():
        if kind not in present:
            print(f"\n{kind.name} was left out: landing there is not measured.")
    if not present:
        return
    work = tempfile.mkdtemp(prefix="lakeward-bench-", dir=os.environ.get("BENCH_DIR"))
    try:
        records = generate("events", f"{work}/data", "--bytes", str(BYTES))
        source = f"{work}/data/events.ndjson"
        local, remote = Local(work), [kind(work) for kind in present]
        runs = {lake.name: [] for lake in (local, *remote)}
        uploads = {lake.name: [] for lake in remote}
        for number in range(ROUNDS):
            for lake in (local, *remote):
                runs[lake.name].append(land(work, source, records, lake, number))
            for lake in remote:
                uploads[lake.name].append(lake.upload(local.files(), number))
                lake.remove(number)
            print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
        megabytes, files = os.path.getsize(source) / 1e6, local.files()
        landed = sum(map(os.path.getsize, files)) / 1e6
        print(
            f"\n{megabytes:.0f} MB of NDJSON, {records} records, to {len(files)} data files of zstd Parquet, {landed:.0f} MB,"
            f" {os.cpu_count()} cores for Lakeward and the server, {ROUNDS} rounds\n"
        )
        table(megabytes, runs, remote, uploads)
        for lake in remote:
            if isinstance(lake, Hdfs):
                print(f"\nThe client of HDFS takes {lake.dfs('-test', '-d', '/'):.1f} s of that to start.")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
