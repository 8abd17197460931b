"""Reads tables with Spark, by Hive's SerDe and by its own reader, and tells what it shows differently, as read.py does.

    spark.py COLUMNS NAME=LOCATION=VALUES...

The tables are some of LOOKS below; VALUES: the records that one was made of. Run by a Python that
has pyspark, set to a metastore. The differences follow lines "== NAME READER in ZONE", ZONE being the session's.
"""

import base64
import os
import sys

from pyspark.sql import SparkSession

from read import compare, form, load, parse_json, parse_type, scalar_of_text

SERDE = {"spark.sql.hive.convertMetastoreParquet": "false"}
OWN = {"spark.sql.hive.convertMetastoreParquet": "true"}
# Spark refuses dates before 1582 and times before 1900 until it is told in which calendar they are.
PROLEPTIC = {
    **OWN,
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
}
# The zone that this is run in: the one of the Java machine, in which Hive's SerDe makes a wall clock an instant.
ELSEWHERE = "America/New_York"
TIMES = ["da", "ts", "a_s"]
# Table, reader, its settings, the session's zone, the columns (None: all).
LOOKS = [
    ("hive", "with Hive's SerDe", SERDE, ELSEWHERE, None),
    ("hive", "with Hive's SerDe", SERDE, "UTC", TIMES),
    ("hive", "with its own reader", OWN, "UTC", None),
    ("hive_recent", "with its own reader", OWN, "UTC", None),
    ("hive", "with its own reader, told", PROLEPTIC, "UTC", None),
    ("hive", "with its own reader, told", PROLEPTIC, ELSEWHERE, TIMES),
    ("modern", "with Hive's SerDe", SERDE, ELSEWHERE, None),
    ("modern", "with its own reader", OWN, "UTC", None),
    ("modern_recent", "with its own reader", OWN, "UTC", None),
    ("modern", "with its own reader, told", PROLEPTIC, "UTC", None),
    ("modern", "with its own reader, told", PROLEPTIC, ELSEWHERE, TIMES),
    ("modern_distinct", "with Hive's SerDe", SERDE, ELSEWHERE, ["id", "it", "bi", "da", "st", "by", "a_int", "a_string", "s"]),
    ("modern_distinct", "with its own reader", OWN, "UTC", None),
]


def session():
    options = {
        "spark.master": "local[1]",
        "spark.sql.shuffle.partitions": "1",
        # A few rows of many columns: compiling code for them takes longer than reading them.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.adaptive.enabled": "false",
    }
    builder = SparkSession.builder.appName("readers").enableHiveSupport()
    for key, value in options.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def value_of(kind, text):
    value = parse_json(text).get("v")
    if kind == ("binary",) and value is not None:
        value = base64.b64decode(value).hex()
    return form(kind, value, scalar_of_text)


def rows_of(spark, table, columns):
    options = "map('ignoreNullFields', 'false', 'timestampFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSS')"
    values = [f"to_json(named_struct('v', `{column}`), {options})" for column in columns]
    rows = spark.sql(f"SELECT id, {', '.join(values)} FROM {table}").collect()
    return {column: [(row[0], row[at + 1]) for row in rows] for at, column in enumerate(columns)}


def fault(error):
    """Of what a reader threw, the innermost words."""
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    while java is not None and java.getCause() is not None:
        java = java.getCause()
    return RuntimeError(java.toString() if java is not None else str(error))


def look(spark, table, columns):
    """The rows of each column, or its fault; of columns that fail together, it is sought which one does."""
    try:
        return rows_of(spark, table, columns)
    except Exception as error:
        if len(columns) == 1:
            return {columns[0]: fault(error)}
    half = len(columns) // 2
    return look(spark, table, columns[:half]) | look(spark, table, columns[half:])


def main():
    assert os.environ.get("TZ") == ELSEWHERE, f"to be run with TZ={ELSEWHERE}"
    types, *tables = sys.argv[1:]
    tables = [table.split("=") for table in tables]
    records = {name: load(values, types)[1] for name, _, values in tables}
    columns, _ = load(tables[0][2], types)
    spark = session()
    spark.sparkContext.setLogLevel("OFF")
    # The metastore may be another's too.
    called = {name: f"readers_{name}_{os.getpid()}" for name in records}
    fields = ", ".join(f"`{column}` {kind}" for column, kind in columns.items())
    for name, location, _ in tables:
        spark.sql(f"CREATE EXTERNAL TABLE {called[name]} ({fields}) STORED AS PARQUET LOCATION '{location}'")
    for table, reader, options, zone, names in LOOKS:
        if table not in called:
            continue
        for key, value in options.items():
            spark.conf.set(key, value)
        spark.conf.set("spark.sql.session.timeZone", zone)
        print(f"== {table} {reader} in {zone}")
        some = {name: columns[name] for name in names or columns}
        found = look(spark, called[table], list(some))

        def read(name, kind, found=found):
            if isinstance(found[name], Exception):
                raise found[name]
            return [(number, value_of(kind, text)) for number, text in found[name]]

        compare(some, records[table], read)
        for key in options:
            spark.conf.unset(key)
    for table in called.values():
        spark.sql(f"DROP TABLE {table}")
    spark.stop()


if __name__ == "__main__":
    main()
