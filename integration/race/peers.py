"""What a user would write with DuckDB, pyarrow, Polars or Spark: `peers.py TOOL JOB`, the job as JSON.

inputs, format (ndjson, csv), output (a directory), codec (zstd, snappy), partition (a column, or null), threads. Each has its
own defaults but for the codec, what makes it faster at no loss (rows in any order, a file for each thread), and its number of
threads. What was written is synced, as Lakeward's is.
"""

import json
import os
import sys


def duckdb(job):
    import duckdb

    function = "read_csv" if job["format"] == "csv" else "read_json"
    options = "" if job["format"] == "csv" else ", format = 'newline_delimited'"
    partition = f", PARTITION_BY ({job['partition']})" if job["partition"] else ", PER_THREAD_OUTPUT true"
    level = ", COMPRESSION_LEVEL 1" if job["codec"] == "zstd" else ""
    duckdb.sql(f"SET threads = {job['threads']}; SET preserve_insertion_order = false")
    duckdb.sql(
        f"COPY (SELECT * FROM {function}({job['inputs']!r}{options}))"
        f" TO '{job['output']}' (FORMAT parquet, COMPRESSION {job['codec']}{level}{partition})"
    )


def pyarrow(job):
    """By its streaming readers: `write_dataset` of a dataset of these JSON files never ends (26.0.1)."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.dataset as dataset
    import pyarrow.json

    pyarrow.set_cpu_count(job["threads"])
    block = 4 << 20
    schema = None

    def open_one(path):
        file = pyarrow.input_stream(path, compression="detect")
        if job["format"] == "csv":
            types = dict(zip(schema.names, schema.types)) if schema else None
            convert = pyarrow.csv.ConvertOptions(column_types=types)
            return pyarrow.csv.open_csv(file, pyarrow.csv.ReadOptions(block_size=block), convert_options=convert)
        parse = pyarrow.json.ParseOptions(explicit_schema=schema)
        return pyarrow.json.open_json(file, pyarrow.json.ReadOptions(block_size=block), parse)

    schema = open_one(job["inputs"][0]).schema
    batches = (batch for path in job["inputs"] for batch in open_one(path))
    parquet = dataset.ParquetFileFormat()
    level = {"compression_level": 1} if job["codec"] == "zstd" else {}
    dataset.write_dataset(
        pyarrow.RecordBatchReader.from_batches(schema, batches),
        job["output"],
        format=parquet,
        file_options=parquet.make_write_options(compression=job["codec"], **level),
        partitioning=[job["partition"]] if job["partition"] else None,
        partitioning_flavor="hive" if job["partition"] else None,
        max_partitions=10_000,
    )


def polars(job):
    os.environ["POLARS_MAX_THREADS"] = str(job["threads"])
    import polars

    frame = polars.scan_csv(job["inputs"]) if job["format"] == "csv" else polars.scan_ndjson(job["inputs"])
    if job["partition"]:
        target = polars.PartitionBy(job["output"], key=job["partition"], include_key=False)
    else:
        target = f"{job['output']}/polars.parquet"
    level = {"compression_level": 1} if job["codec"] == "zstd" else {}
    frame.sink_parquet(target, compression=job["codec"], maintain_order=False, mkdir=True, **level)


def spark(job):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{job['threads']}]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.hadoop.parquet.compression.codec.zstd.level", "1")
    session = builder.config("spark.sql.parquet.compression.codec", job["codec"]).getOrCreate()
    if job["format"] == "csv":
        frame = session.read.csv(job["inputs"], header=True, inferSchema=True, escape='"')
    else:
        frame = session.read.json(job["inputs"])
    writer = frame.write.partitionBy(job["partition"]) if job["partition"] else frame.write
    writer.mode("append").parquet(job["output"])
    session.stop()


def sync(directory):
    for at, _, files in os.walk(directory):
        for name in files:
            handle = os.open(f"{at}/{name}", os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)


if __name__ == "__main__":
    tool, job = sys.argv[1], json.loads(sys.argv[2])
    {"duckdb": duckdb, "pyarrow": pyarrow, "polars": polars, "spark": spark}[tool](job)
    sync(job["output"])
