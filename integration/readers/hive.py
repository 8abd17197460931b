"""Reads tables with Hive's own command line and tells what it shows differently, as read.py does.

    hive.py VALUES COLUMNS CLIENT NAME=LOCATION...

CLIENT: a program that runs `-e STATEMENTS`. Each LOCATION becomes an external table, read column by column in one
run of the client; its differences follow a line "== NAME".
"""

import re
import subprocess
import sys

from read import compare, form, load, parse_json, parse_type, scalar_of_text


def statements(name, location, columns):
    # A struct's field may be called like a word of the language.
    fields = ", ".join(f"`{c}` " + re.sub(r"(\w+):", r"`\1`:", kind) for c, kind in columns.items())
    yield f"DROP TABLE IF EXISTS readers_{name}"
    yield f"CREATE EXTERNAL TABLE readers_{name} ({fields}) STORED AS PARQUET LOCATION '{location}'"
    for column, kind in columns.items():
        # An array is printed as JSON, so that line ends, NULL and the text NULL are told apart.
        value = f"hex(`{column}`)" if kind == "binary" else f"`{column}`"
        yield f"SELECT '{name}', '{column}', id, array({value}) FROM readers_{name}"


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
    faults = [line for line in done.stderr.split("\n") if re.match("Failed|FAILED|Exception", line)]
    if not any(found.values()):
        sys.exit(f"Hive showed nothing:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    for table in tables:
        print(f"== {table}")

        def read(column, kind, table=table):
            rows = found[table, column]
            if len(rows) != len(records):
                # Statements fail in their order, and so do the columns that are read here.
                raise RuntimeError(faults.pop(0) if faults else f"{len(rows)} rows without a word")
            return [(number, value_of(kind, value)) for number, value in rows]

        compare(columns, records, read)


if __name__ == "__main__":
    main()
