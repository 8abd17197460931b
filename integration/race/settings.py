"""What the caller chose, and where things are. See race.sh for the variables."""

import os
import sys

QUICK = os.environ.get("QUICK", "") not in ("", "0")


def number(name, default, quick):
    text = os.environ.get(name, "") or str(quick if QUICK else default)
    if not text.isdecimal() or int(text) == 0:
        sys.exit(f"{name}={text}: give a number from 1 on")
    return int(text)


def words(name):
    return os.environ.get(name, "").replace(",", " ").split()


BYTES = number("BYTES", 1 << 30, 50 << 20)
"""Of each kind of input."""
PARTS = number("PARTS", 8, 8)
"""Files that these bytes are in."""
ROUNDS = number("ROUNDS", 5, 1)
SLOW_ROUNDS = number("SLOW_ROUNDS", ROUNDS, 1)
"""Rounds of a contender that took more than SLOW_TIMES as long in the first as Lakeward at its best."""
SLOW_TIMES = 8
FILES = number("FILES", 100_000, 2_000)
"""Small files."""
PARTITIONS = number("PARTITIONS", 300, 300)
KNOWN = number("KNOWN", 1_000_000, 10_000)
"""Files in the journal of `start`."""
WAITING = number("WAITING", 100_000, 5_000)
SCAN = number("SCAN", 1_000_000, 20_000)
MEMORY = [int(word) for word in words("MEMORY") or ["512", "128"]]
"""Budgets in MiB of the items that measure memory."""
MEMORY_INPUT = number("MEMORY_INPUT", 10 << 30, 300 << 20)
MEMORY_GZIP = number("MEMORY_GZIP", 5 << 30, 30 << 20)
"""Of the gzip file, compressed."""
TIMEOUT = number("TIMEOUT", 1800, 60)
"""Seconds that one run may take."""
CORES = [int(word) for word in words("CORES") or ["0", "1"]]
ONLY = words("ONLY")
CONTENDERS = words("CONTENDERS")

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.environ.get("CARGO_TARGET_DIR", "target")
LAKEWARD = os.path.abspath(f"{TARGET}/release/lakeward")
GENERATE = os.path.abspath(f"{TARGET}/release/examples/generate")
DIRECT = os.path.abspath(f"{TARGET}/release/examples/direct")
SCANNER = os.path.abspath(f"{TARGET}/release/examples/scan")
RESULTS = os.path.abspath(f"{TARGET}/race")
"""What each item came to, as JSON."""
REPORT = os.environ.get("REPORT") or f"{RESULTS}/report.md"
