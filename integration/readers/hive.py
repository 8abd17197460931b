"""Reads tables with Hive's own command line and tells what it shows differently, as read.py does.

    hive.py VALUES COLUMNS CLIENT NAME=LOCATION...

CLIENT: a program that runs `-e STATEMENTS`. Each LOCATION becomes an external table, read column by column in one
run of the client; its differences follow a line "== NAME".
"""

import os
import re
import subprocess
import sys

from read import compare, form, load, parse_json, parse_type, scalar_of_text


def statements(name, location, columns):
    # A struct's field may be called like a word of the language.
    fields = ", ".join(f"`{c}` " + re.sub(r"(\w+):", r"`\1`:", kind) for c, kind in columns.items())
    # The metastore may be another's too.
    table = f"readers_{name}_{os.getpid()}"
    yield f"DROP TABLE IF EXISTS {table}"
    yield f"CREATE EXTERNAL TABLE {table} ({fields}) STORED AS PARQUET LOCATION '{location}'"
    for column, kind in columns.items():
        # An array is printed as JSON, so that line ends, NULL and the text NULL are told apart.
        value = f"hex(`{column}`)" if kind == "binary" else f"`{column}`"
        # Fails, and so says on stderr what the faults that follow are of.
        yield f"USE now_{name}_{column}"
        yield f"SELECT '{name}', '{column}', id, array({value}) FROM {table}"
    yield f"DROP TABLE {table}"


def value_of(kind, text):
    if kind[0] == "map" and kind[1] == ("int",):
        text = re.sub(r"([{,])(-?\d+):", r'\1"\2":', text)
    (value,) = parse_json(text)
    if kind == ("binary",) and value is not None:
        value = value.lower()
    return form(kind, value, scalar_of_text)


def main():
    values, types, client, *tables = sys.argv[1:]
    columns, records = load(values, types)
    tables = dict(table.split("=", 1) for table in tables)
    text = "; ".join(s for t in tables.items() for s in statements(*t, columns))
    done = subprocess.run(
        [client, "--hiveconf", "hive.cli.errors.ignore=true", "-e", text + ";"],
        capture_output=True,
        encoding="utf-8",
    )
    found = {(table, column): [] for table in tables for column in columns}
    for line in done.stdout.split("\n"):
        parts = line.split("\t", 3)
        if len(parts) == 4:
            table, column, number, value = parts
            found[table, column].append((int(number), value))
    faults = {}
    said = re.split(r"now_(\w+)", done.stderr)
    for place, text in zip(said[1::2], said[2::2]):
        if fault := re.search(r"Failed with exception (.*)", text):
            faults.setdefault(place, fault[1])
    if not any(found.values()):
        sys.exit(f"Hive showed nothing:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    for table in tables:
        print(f"== {table}")

        def read(column, kind, table=table):
            rows = found[table, column]
            if len(rows) != len(records):
                raise RuntimeError(faults.get(f"{table}_{column}", f"{len(rows)} rows without a word"))
            return [(number, value_of(kind, value)) for number, value in rows]

        compare(columns, records, read)


if __name__ == "__main__":
    main()
