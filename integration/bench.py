"""Measures the release program: speed against a direct writer and DuckDB on one core, small files, peak memory.

Every contender of a comparison runs on the same input and the same single core, in turn, ROUNDS times; quoted are medians
of wall and CPU seconds and of the ratios within a round. Every output is counted. Prints a Markdown table.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import duckdb

TARGET = sys.argv[1]
BYTES = int(os.environ.get("BYTES", 1 << 30))
FILES = int(os.environ.get("FILES", 100_000))
SCAN = int(os.environ.get("SCAN", 1_000_000))
ROUNDS = int(os.environ.get("ROUNDS", 3))
LAKEWARD = f"{TARGET}/release/lakeward"
GENERATE = f"{TARGET}/release/examples/generate"
DIRECT = f"{TARGET}/release/examples/direct"
SCANNER = f"{TARGET}/release/examples/scan"

CONFIG = """
[agent]
state_dir = "var"
lanes = {lanes}
memory = "{memory}"
[lake]
type = "fs"
root = "lake"
[[pipeline]]
name = "bench"
[pipeline.source]
path = "spool"
ready_after = "0s"
[pipeline.sink]
path = "{path}"
compat = "modern"
compression = "zstd"
"""


def timed(command, core=None):
    """Runs a command; answers (wall seconds, CPU seconds, peak MiB, stdout)."""
    read, write = os.pipe()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        if core is not None:
            os.sched_setaffinity(0, {core})
        os.dup2(write, 1)
        os.close(read)
        os.execv(command[0], command)
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"{command[0]} ended with {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def lakeward_dir(work, path, lanes=1, memory="512MiB"):
    for name in ("var", "lake", "spool"):
        shutil.rmtree(f"{work}/{name}", ignore_errors=True)
    os.makedirs(f"{work}/spool")
    with open(f"{work}/lakeward.toml", "w") as file:
        file.write(CONFIG.format(path=path, lanes=lanes, memory=memory))
    return [LAKEWARD, "--config", f"{work}/lakeward.toml", "-q", "run", "--once"]


def count(pattern):
    return duckdb.sql(f"SELECT count(*) FROM read_parquet('{pattern}', hive_partitioning = false)").fetchall()[0][0]


def expect(what, found, records):
    if found != records:
        sys.exit(f"{what}: {found} records in the output, {records} in the input")


def run_lakeward(work, source, records, path="all", core=None, lanes=1, memory="512MiB"):
    command = lakeward_dir(work, path, lanes, memory)
    os.link(source, f"{work}/spool/input.ndjson")
    measured = timed(command, core)
    expect("lakeward", count(f"{work}/lake/all/**/*.parquet"), records)
    return measured


def run_direct(work, source, records, core):
    shutil.rmtree(f"{work}/direct", ignore_errors=True)
    lakeward_dir(work, "all")
    measured = timed([DIRECT, f"{work}/lakeward.toml", source, f"{work}/direct"], core)
    expect("direct", int(measured[3]), records)
    return measured


def run_duckdb(work, source, records, core):
    out = f"{work}/duckdb.parquet"
    if os.path.exists(out):
        os.remove(out)
    sql = (
        f"SET threads = 1; COPY (SELECT * FROM read_json('{source}', format = 'newline_delimited'))"
        f" TO '{out}' (FORMAT parquet, CODEC zstd, COMPRESSION_LEVEL 1)"
    )
    code = f"import duckdb, os; duckdb.sql({sql!r}); f = os.open({out!r}, os.O_RDONLY); os.fsync(f)"
    measured = timed([sys.executable, "-c", code], core)
    expect("DuckDB", count(out), records)
    return measured


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def fill(directory, files):
    """Makes a directory of that many small files."""
    handle = os.open(directory, os.O_RDONLY)
    for number in range(files):
        name = f"{number:07}.ndjson"
        file = os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=handle)
        os.write(file, b'{"id":1}\n')
        os.close(file)
    os.close(handle)


def main():
    work = tempfile.mkdtemp(prefix="lakeward-bench-", dir=os.environ.get("BENCH_DIR"))
    try:
        records = int(subprocess.check_output([GENERATE, "events", f"{work}/data", "--bytes", str(BYTES)]))
        source = f"{work}/data/events.ndjson"
        megabytes = os.path.getsize(source) / 1e6
        runs = {"lakeward": [], "direct": [], "duckdb": []}
        for number in range(ROUNDS):
            runs["lakeward"].append(run_lakeward(work, source, records, core=0))
            runs["direct"].append(run_direct(work, source, records, 0))
            runs["duckdb"].append(run_duckdb(work, source, records, 0))
            print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
        print(f"\n{megabytes:.0f} MB of NDJSON, {records} records, to zstd Parquet on a local disk, one core, {ROUNDS} rounds\n")
        print("| contender | MB/s (wall) | CPU seconds | peak MiB |\n| --- | --- | --- | --- |")
        for name, measured in runs.items():
            print(
                f"| {name} | {megabytes / statistics.median(m[0] for m in measured):.0f}"
                f" | {statistics.median(m[1] for m in measured):.1f} | {max(m[2] for m in measured):.0f} |"
            )
        print("\n| ratio within a round | wall | CPU |\n| --- | --- | --- |")
        for name in ("direct", "duckdb"):
            wall = [other[0] / ours[0] for ours, other in zip(runs["lakeward"], runs[name])]
            cpu = [other[1] / ours[1] for ours, other in zip(runs["lakeward"], runs[name])]
            print(f"| speed of lakeward / speed of {name} | {spread(wall)} | {spread(cpu)} |")

        print("\n| alone, two cores | measured |\n| --- | --- |")
        for path, label in (("all", "unpartitioned"), ("all/shop={shop}", "500 open partitions")):
            wall, _, peak, _ = run_lakeward(work, source, records, path, lanes=2)
            print(f"| peak memory, {label}, memory = 512MiB | {peak:.0f} MiB ({megabytes / wall:.0f} MB/s) |")
        os.remove(source)
        command = lakeward_dir(work, "all", lanes=2)
        small = int(subprocess.check_output([GENERATE, "small", f"{work}/spool", "--files", str(FILES)]))
        wall, _, peak, _ = timed(command)
        expect("lakeward", count(f"{work}/lake/all/*.parquet"), small)
        print(f"| {FILES} files of 1 KB, all committed and retired | {FILES / wall:.0f} files/s ({peak:.0f} MiB) |")
        lakeward_dir(work, "all")
        fill(f"{work}/spool", SCAN)
        wall, _, peak, found = timed([SCANNER, f"{work}/lakeward.toml"])
        expect("scan", int(found), SCAN)
        print(f"| one scan of a spool of {SCAN} files | {wall:.1f} s ({peak:.0f} MiB) |")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
