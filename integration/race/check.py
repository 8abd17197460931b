"""Whether an output holds every record: the ids of a contender's output, read by a program that did not write it."""

import glob

import duckdb
import pyarrow.compute
import pyarrow.parquet

from .measure import Failed


def by_duckdb(paths):
    ids = f"read_parquet({paths!r}, hive_partitioning = false, union_by_name = true)"
    if not paths[0].endswith(".parquet"):
        ids = f"read_json({paths!r}, format = 'newline_delimited', columns = {{id: 'BIGINT'}})"
    query = f"SELECT count(*), count(id), count(DISTINCT id), min(id), max(id) FROM {ids}"
    return duckdb.sql(query).fetchall()[0]


def by_pyarrow(paths):
    ids = pyarrow.chunked_array(
        [chunk for path in paths for chunk in pyarrow.parquet.ParquetFile(path).read(["id"])["id"].chunks]
    )
    compute, bounds = pyarrow.compute, pyarrow.compute.min_max(ids)
    distinct = compute.count_distinct(ids).as_py()
    return len(ids), len(ids) - ids.null_count, distinct, bounds["min"].as_py(), bounds["max"].as_py()


def files(directory, ending):
    """Those that readers see."""
    found = glob.glob(f"{directory}/**/*{ending}", recursive=True)
    below = len(directory)
    return sorted(path for path in found if not any(part[:1] in "._" for part in path[below:].split("/") if part))


def holds(directory, given, ending=".parquet", reader=by_duckdb):
    """Fails unless the output has each id of the input as often as that has."""
    records, last = given.records, given.records // given.copies - 1
    paths = files(directory, ending)
    if not paths:
        raise Failed(f"no file *{ending} in its output")
    rows, ids, distinct, least, most = reader(paths)
    if (rows, ids, distinct, least, most) != (records, records, last + 1, 0, last):
        raise Failed(
            f"its output has {rows} records, {ids} with an id, {distinct} ids from {least} to {most};"
            f" expected {records} with {last + 1} ids from 0 to {last}"
        )
