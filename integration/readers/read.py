"""Reads data files with one reader and tells where it shows something else than what was dropped.

    read.py VALUES COLUMNS READER FILE...

READER: "duckdb", "duckdb in ZONE" (the session's; dates and times only), "pyarrow" or "pyarrow-us" (INT96 read as
microseconds). hive.py and spark.py do the same for those. VALUES: the dropped records,
NDJSON; COLUMNS: their Hive types, TOML. Prints "ID COLUMN: wanted WANTED, shown SHOWN"
for each value that differs and "COLUMN: ERROR" for a column that cannot be read, in their order, then "rows N". Each
column is read alone, so that one which fails hides no other.

Values are compared as text in one form: times as the wall clock that is shown, floats by their shortest digits,
decimals with all digits of their scale, bytes in hexadecimal, maps as sorted pairs.
"""

import datetime
import decimal
import json
import re
import struct
import sys
import tomllib


def parse_type(text):
    """("array", element), ("map", key, value), ("struct", [(name, type)…]) or ("decimal(9,2)",)."""
    head, _, rest = text.partition("<")
    if not rest:
        return (text,)
    parts, depth, start = [], 0, 0
    inner = rest[:-1]
    for at, c in enumerate(inner):
        depth += (c in "<(") - (c in ">)")
        if c == "," and depth == 0:
            parts.append(inner[start:at])
            start = at + 1
    parts.append(inner[start:])
    if head == "struct":
        fields = (part.split(":", 1) for part in parts)
        return ("struct", [(name, parse_type(kind)) for name, kind in fields])
    return (head, *map(parse_type, parts))


def form(kind, value, scalar):
    """The one form of a value, its scalars made by `scalar`."""
    if value is None:
        return None
    if kind[0] == "array":
        return [form(kind[1], element, scalar) for element in value]
    if kind[0] == "map":
        pairs = value.items() if hasattr(value, "items") else value
        pairs = [[form(kind[1], k, scalar), form(kind[2], v, scalar)] for k, v in pairs]
        return sorted((tuple(pair) for pair in pairs), key=lambda pair: pair[0])
    if kind[0] == "struct":
        get = value.get if hasattr(value, "get") else lambda name: value[name]
        return {name: form(below, get(name), scalar) for name, below in kind[1]}
    return scalar(kind[0], value)


def float_form(value, single):
    value = float(value)
    if single and value == value and abs(value) != float("inf"):
        bits = struct.pack("f", value)
        # The fewest digits that a single precision number is told from others by.
        texts = (f"{value:.{digits}g}" for digits in range(1, 10))
        value = float(next(t for t in texts if struct.pack("f", float(t)) == bits))
    return repr(value)


def decimal_form(kind, value):
    scale = int(kind[:-1].split(",")[1])
    with decimal.localcontext(prec=60):
        exact = decimal.Decimal(value).quantize(decimal.Decimal(1).scaleb(-scale))
        return f"{exact if exact else abs(exact):f}"


def scalar_of_input(kind, value):
    """What was dropped, as JSON has it."""
    if kind in ("float", "double"):
        return float_form(value, kind == "float")
    if kind.startswith("decimal"):
        return decimal_form(kind, value)
    if kind == "binary":
        return value.encode().hex()
    if kind == "timestamp":
        date, time = value.rstrip("Z").split("T")
        whole, _, digits = time.partition(".")
        return f"{date} {whole}.{digits[:6]:0<6}"
    if kind == "boolean":
        return str(value).lower()
    return str(value)


def scalar_of_python(kind, value):
    """What a reader gave, as Python's objects."""
    if kind in ("float", "double"):
        return float_form(value, kind == "float")
    if isinstance(value, decimal.Decimal):
        return decimal_form(kind, value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    if kind == "timestamp":
        # As text, with the offset of a zone.
        wall = re.sub(r"[-+]\d\d(:\d\d)*( \(BC\))?$", r"\2", value)
        whole, _, digits = wall.partition(".")
        return f"{whole}.{digits:0<6}"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def scalar_of_text(kind, value):
    """What a reader gave as JSON of its own, times as it shows them; bytes are to be hexadecimal already."""
    if kind in ("float", "double"):
        return float_form(value, kind == "float")
    if kind.startswith("decimal"):
        return decimal_form(kind, value)
    if kind == "timestamp":
        whole, _, digits = value.partition(".")
        return f"{whole}.{digits:0<6}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def parse_json(text):
    """Numbers as they are written."""
    return json.loads(text, parse_float=decimal.Decimal)


def column_of(reader, name, files):
    """Pairs of id and value."""
    if reader.startswith("duckdb"):
        import duckdb

        connection = duckdb.connect()
        zone = reader.partition(" in ")[2] or "UTC"
        connection.execute(f"SET TimeZone = '{zone}'")
        # Python's times have no year 0, which a time of the year 1 is in west of Greenwich.
        value = f'"{name}"' if zone == "UTC" else f'"{name}"::varchar'
        query = f"SELECT id, {value} AS v FROM read_parquet(?) ORDER BY id"
        return connection.execute(query, [files]).fetchall()
    import pyarrow
    import pyarrow.parquet

    unit = "us" if reader == "pyarrow-us" else None
    columns = ["id"] if name == "id" else ["id", name]
    tables = [
        pyarrow.parquet.ParquetFile(file, coerce_int96_timestamp_unit=unit).read(columns)
        for file in files
    ]
    table = pyarrow.concat_tables(tables).sort_by("id")
    # Python's times have no nanoseconds; ours never have any either.
    values = [plain(table[name].type, value) for value in table[name]]
    return list(zip(table["id"].to_pylist(), values))


def plain(kind, value):
    """Of a pyarrow scalar, without pandas."""
    import pyarrow

    if not value.is_valid:
        return None
    if pyarrow.types.is_timestamp(kind):
        micros = value.value // 1000 if kind.unit == "ns" else value.value
        zone = None if kind.tz is None else datetime.timezone.utc
        return datetime.datetime(1970, 1, 1, tzinfo=zone) + datetime.timedelta(microseconds=micros)
    if pyarrow.types.is_list(kind):
        return [plain(kind.value_type, element) for element in value.values]
    if pyarrow.types.is_map(kind):
        entries = value.values
        return [
            (plain(kind.key_type, entry["key"]), plain(kind.item_type, entry["value"]))
            for entry in entries
        ]
    if pyarrow.types.is_struct(kind):
        return {field.name: plain(field.type, value[field.name]) for field in kind}
    return value.as_py()


def shown(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def compare(columns, records, read):
    rows = None
    for name, text in columns.items():
        kind = parse_type(text)
        try:
            pairs = read(name, kind)
        except Exception as error:  # whatever a reader throws is what is told
            lines = str(error).strip().splitlines() or [""]
            # Paths and the addresses of objects are new each time; the beginning says what it is.
            words = re.sub(r"file:\S+", "FILE", lines[0])
            print(f"{name}: {words[:150]}")
            continue
        found = dict(pairs)
        assert len(found) == len(pairs), f"{name}: an id twice"
        rows = max(rows or 0, len(found))
        for record in records:
            wanted = form(kind, record.get(name), scalar_of_input)
            got = found.get(record["id"], "no such row")
            if got != wanted:
                print(f"{record['id']} {name}: wanted {shown(wanted)}, shown {shown(got)}".encode("unicode_escape").decode())
    print(f"rows {rows}")


def load(values, types):
    """The columns' types, and the dropped records."""
    with open(types, "rb") as f:
        columns = tomllib.load(f)
    with open(values, encoding="utf-8") as f:
        return columns, [json.loads(line) for line in f]


def main():
    values, types, reader, *files = sys.argv[1:]
    columns, records = load(values, types)

    if " in " in reader:
        columns = {name: kind for name, kind in columns.items() if kind in ("date", "timestamp")}

    def read(name, kind):
        pairs = column_of(reader, name, files)
        return [(i, form(kind, value, scalar_of_python)) for i, value in pairs]

    compare(columns, records, read)


if __name__ == "__main__":
    main()
