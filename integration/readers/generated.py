"""Tables of generated schemas and values, and what readers show of them.

    generated.py make SEED TABLES ROWS DIR     DIR/<n>/columns.toml and DIR/<n>/values.ndjson
    generated.py check DIR LAKE FORMAT         LAKE/<n>/... against DIR/<n>; FORMAT: parquet or ndjson

`check` prints for each reader and table what read.py prints: only "rows N" where all values are as they were dropped.
Parquet is read by DuckDB and pyarrow. NDJSON is read by Python's own reader, which keeps every digit, by DuckDB, and by
pyarrow; the last two only for the types that they take from JSON without rounding them.
"""

import base64
import datetime
import decimal
import json
import pathlib
import random
import struct
import sys

from read import (
    column_of,
    compare,
    decimal_form,
    float_form,
    form,
    load,
    parse_type,
    plain,
    scalar_of_python,
)

INTEGERS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
TEXTS = ["", " ", "a", "null", "\u0000", "\n\r\t", '"\\', "\u007f", "é", "e\u0301", "\u202e", "\U0001f600", "\ufffd", "漢字", "%2F", "0"]


def decimal_type(dice):
    precision = dice.choice([1, 2, 9, 10, 18, 19, 38, dice.randint(1, 38)])
    return f"decimal({precision},{dice.choice([0, precision, dice.randint(0, precision)])})"


def kind_of(dice, depth):
    scalars = [*INTEGERS, "float", "double", "boolean", "string", "binary", "date", "timestamp", "decimal", "varchar", "char"]
    nested = ["array", "map", "struct"] if depth else []
    head = dice.choice(scalars + nested * 3)
    if head == "decimal":
        return decimal_type(dice)
    if head in ("varchar", "char"):
        return f"{head}({dice.choice([1, 7, 255])})"
    if head == "array":
        return f"array<{kind_of(dice, depth - 1)}>"
    if head == "map":
        return f"map<{dice.choice(['string', 'int', 'bigint'])},{kind_of(dice, depth - 1)}>"
    if head == "struct":
        fields = (f"f{n}:{kind_of(dice, depth - 1)}" for n in range(dice.randint(1, 4)))
        return f"struct<{','.join(fields)}>"
    return head


def text_of(dice, longest):
    text = "".join(dice.choice(TEXTS) for _ in range(dice.randint(0, 6)))
    return text[:longest]


def integer(dice, bits):
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return dice.choice([0, 1, -1, least, most, least + 1, most - 1, dice.randint(least, most)])


def floating(dice, single):
    while True:
        if single:
            value = struct.unpack("f", struct.pack("I", dice.getrandbits(32)))[0]
        else:
            value = struct.unpack("d", struct.pack("Q", dice.getrandbits(64)))[0]
        if value == value and abs(value) != float("inf"):
            break
    edges = [0.0, -0.0, 1.0, 0.1, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 9007199254740993.0]
    if single:
        edges = [0.0, -0.0, 1.0, 0.5, 1.401298464324817e-45, 1.1754943508222875e-38, 3.4028234663852886e38, 16777216.0]
    return dice.choice([*edges, value, value, value])


def scalar(dice, kind):
    if kind in INTEGERS:
        return integer(dice, INTEGERS[kind])
    if kind in ("float", "double"):
        return floating(dice, kind == "float")
    if kind.startswith("decimal"):
        precision, scale = map(int, kind[8:-1].split(","))
        most = 10**precision - 1
        unscaled = dice.choice([0, 1, -1, most, -most, dice.randint(-most, most)])
        with decimal.localcontext(prec=60):
            return f"{decimal.Decimal(unscaled).scaleb(-scale):f}"
    if kind == "boolean":
        return dice.random() < 0.5
    if kind.startswith("varchar"):
        return text_of(dice, int(kind[8:-1]))
    if kind.startswith("char"):
        return text_of(dice, int(kind[5:-1])).rstrip(" ")
    if kind in ("string", "binary"):
        return text_of(dice, 100)
    days = dice.choice([1, 2, 3652059, 577736, 719163, 738000, dice.randint(1, 3652059)])
    day = datetime.date.fromordinal(days)
    if kind == "date":
        return day.isoformat()
    micros = dice.choice([0, 1, 86_399_999_999, dice.randint(0, 86_399_999_999)])
    time = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(microseconds=micros)
    return time.isoformat(timespec="microseconds") + "Z"


def value_of(dice, kind, nulls=0.2):
    if dice.random() < nulls:
        return None
    if kind[0] == "array":
        return [value_of(dice, kind[1]) for _ in range(dice.choice([0, 1, 2, 5]))]
    if kind[0] == "map":
        keys = {str(scalar(dice, kind[1][0])) for _ in range(dice.choice([0, 1, 3]))}
        return {key: value_of(dice, kind[2]) for key in sorted(keys)}
    if kind[0] == "struct":
        fields = {name: value_of(dice, below) for name, below in kind[1]}
        # A field that is not there is NULL too.
        return {name: value for name, value in fields.items() if value is not None or dice.random() < 0.5}
    return scalar(dice, kind[0])


def make(seed, tables, rows, root):
    for table in range(tables):
        dice = random.Random(f"{seed}/{table}")
        directory = root / str(table)
        directory.mkdir(parents=True)
        columns = {"id": "bigint"}
        for n in range(dice.randint(1, 8)):
            columns[f"c{n}"] = kind_of(dice, 3)
        text = "".join(f'{name} = "{kind}"\n' for name, kind in columns.items())
        (directory / "columns.toml").write_text(text)
        parsed = {name: parse_type(kind) for name, kind in columns.items() if name != "id"}
        with open(directory / "values.ndjson", "w", encoding="utf-8") as f:
            for number in range(rows):
                record = {"id": number}
                record.update((name, value_of(dice, kind)) for name, kind in parsed.items())
                f.write(json.dumps(record, ensure_ascii=dice.random() < 0.5) + "\n")


def scalar_of_ndjson(kind, value):
    """What stands in NDJSON, as ndjson_file.rs says."""
    if kind in ("float", "double"):
        return float_form(value, kind == "float")
    if kind.startswith("decimal"):
        return decimal_form(kind, value)
    if kind == "binary":
        return base64.b64decode(value, validate=True).hex()
    if kind == "timestamp":
        if isinstance(value, datetime.datetime):
            return value.replace(tzinfo=None).isoformat(" ", "microseconds")
        date, time = value.rstrip("Z").split("T")
        whole, _, digits = time.partition(".")
        return f"{date} {whole}.{digits:0<6}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def leaves(kind):
    if kind[0] in ("array", "map"):
        return [leaf for below in kind[1:] for leaf in leaves(below)]
    if kind[0] == "struct":
        return [leaf for _, below in kind[1] for leaf in leaves(below)]
    return [kind[0]]


def is_wide(leaf):
    """A decimal of more digits than a double keeps."""
    return leaf.startswith("decimal") and int(leaf[8:-1].split(",")[0]) > 15


def duckdb_type(kind):
    if kind[0] == "array":
        return duckdb_type(kind[1]) + "[]"
    if kind[0] == "map":
        return f"MAP({duckdb_type(kind[1])}, {duckdb_type(kind[2])})"
    if kind[0] == "struct":
        fields = ", ".join(f"{name} {duckdb_type(below)}" for name, below in kind[1])
        return f"STRUCT({fields})"
    if kind[0] in ("string", "varchar", "char", "binary", "timestamp") or kind[0].startswith(("varchar", "char")):
        return "VARCHAR"
    return kind[0].upper()


def arrow_type(kind):
    """`None` for what pyarrow does not take from JSON."""
    import pyarrow

    if kind[0] == "array":
        below = arrow_type(kind[1])
        return below and pyarrow.list_(below)
    if kind[0] == "struct":
        fields = [(name, arrow_type(below)) for name, below in kind[1]]
        return pyarrow.struct(fields) if all(below for _, below in fields) else None
    known = {
        "tinyint": pyarrow.int8(),
        "smallint": pyarrow.int16(),
        "int": pyarrow.int32(),
        "bigint": pyarrow.int64(),
        "float": pyarrow.float32(),
        "double": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
        "string": pyarrow.string(),
        "timestamp": pyarrow.timestamp("us", tz="UTC"),
    }
    return known.get(kind[0])


def check_ndjson(columns, records, files):
    import duckdb
    import pyarrow
    import pyarrow.json

    lines = [line for file in files for line in pathlib.Path(file).read_text("utf-8").split("\n") if line]
    landed = [json.loads(line, parse_float=decimal.Decimal) for line in lines]

    def by_python(name, kind):
        return [(record["id"], form(kind, record[name], scalar_of_ndjson)) for record in landed]

    print("reader python")
    compare(columns, records, by_python)
    parsed = {name: parse_type(kind) for name, kind in columns.items()}
    narrow = {name: columns[name] for name, kind in parsed.items() if not any(map(is_wide, leaves(kind)))}
    types = {name: duckdb_type(parsed[name]) for name in narrow}

    def by_duckdb(name, kind):
        spec = {"id": "BIGINT", name: types[name]}
        query = f'SELECT id, "{name}" FROM read_ndjson(?, columns = ?)'
        pairs = duckdb.connect().execute(query, [files, spec]).fetchall()
        return [(i, form(kind, value, scalar_of_ndjson)) for i, value in pairs]

    print("reader duckdb")
    compare(narrow, records, by_duckdb)
    known = {name: columns[name] for name, kind in parsed.items() if arrow_type(kind)}

    def by_pyarrow(name, kind):
        fields = {"id": pyarrow.int64(), name: arrow_type(parsed[name])}
        options = pyarrow.json.ParseOptions(explicit_schema=pyarrow.schema(fields), unexpected_field_behavior="ignore")
        pairs = []
        for file in files:
            table = pyarrow.json.read_json(file, parse_options=options)
            values = [plain(table[name].type, value) for value in table[name]]
            pairs += zip(table["id"].to_pylist(), values)
        return [(i, form(kind, value, scalar_of_python)) for i, value in pairs]

    print("reader pyarrow")
    compare(known, records, by_pyarrow)


def check(root, lake, format):
    for directory in sorted(root.iterdir(), key=lambda path: int(path.name)):
        columns, records = load(directory / "values.ndjson", directory / "columns.toml")
        files = [str(path) for path in sorted((lake / f"t{directory.name}").iterdir()) if path.name[0] not in "._"]
        print(f"table {directory.name}: {columns}")
        if format == "ndjson":
            check_ndjson(columns, records, files)
            continue
        for reader in ("duckdb", "pyarrow-us"):

            def read(name, kind):
                pairs = column_of(reader, name, files)
                return [(i, form(kind, value, scalar_of_python)) for i, value in pairs]

            print(f"reader {reader}")
            compare(columns, records, read)


def main():
    match sys.argv[1:]:
        case ["make", seed, tables, rows, root]:
            make(seed, int(tables), int(rows), pathlib.Path(root))
        case ["check", root, lake, format]:
            check(pathlib.Path(root), pathlib.Path(lake), format)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
