#!/usr/bin/env python3
"""Counts the instructions of each hot path (main.rs) and holds them against counts.txt.

    integration/paths/check.py             says which paths became dearer by more than 5 %, and fails
    integration/paths/check.py --accept    writes what it counted as the new counts
    integration/paths/check.py decode ...  of these paths alone

Counted is under callgrind, so the machine and what else it does play no part; what does is written in the first line of
counts.txt. Each path is gone once and twice: the difference leaves out the start of the program and the making of its input.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
COUNTS = HERE / "counts.txt"
TOLERANCE = 0.05


def have_valgrind():
    if shutil.which("valgrind"):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        sys.exit("check.py: valgrind is not installed; install it, or run this as root where there is apt-get")
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "valgrind"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def said(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def built():
    """The program's path."""
    command = ["cargo", "bench", "--locked", "--bench", "paths", "--no-run", "--message-format", "json"]
    run = subprocess.run(command, cwd=HERE.parent.parent, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit("check.py: the program was not built")
    for line in run.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "paths":
            return message["executable"]
    sys.exit("check.py: cargo built no program called `paths`")


def instructions(program, name, times):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "count", name, str(times)]
    # Seeds of hash tables differ from run to run all the same, by less than a hundredth.
    run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not found:
        sys.exit(f"check.py: `{' '.join(command)}` ended with {run.returncode}:\n{run.stderr}")
    return int(found[1])


def cost(program, name):
    return instructions(program, name, 2) - instructions(program, name, 1)


def committed():
    """The first line, and counts by name."""
    if not COUNTS.exists():
        return "", {}
    first, *lines = COUNTS.read_text().splitlines()
    return first, {name: int(count) for name, count in (line.split() for line in lines)}


def main():
    accept = "--accept" in sys.argv[1:]
    wanted = [name for name in sys.argv[1:] if name != "--accept"]
    have_valgrind()
    program = built()
    names = said(program, "names").split()
    if unknown := set(wanted) - set(names):
        sys.exit(f"check.py: no such path: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    tools = f"# {said('rustc', '--version')}, {said('valgrind', '--version')}, x86-64"
    first, known = committed()
    if known and first != tools and not accept:
        print(f"counted were {first[2:]}\nhere are     {tools[2:]}: counts may differ by that alone\n")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = {name: pool.submit(cost, program, name) for name in wanted or names}
        counted = {name: future.result() for name, future in counted.items()}
    dearer = []
    print(f"{'path':28} {'instructions':>14} {'committed':>14} {'change':>8}")
    for name, count in counted.items():
        before = known.get(name)
        change = count / before - 1 if before else 0.0
        word = "new" if before is None else f"{change:+.1%}"
        print(f"{name:28} {count:14} {before or 0:14} {word:>8}")
        if before is None or change > TOLERANCE:
            dearer.append(name)
    if accept:
        known.update(counted)
        lines = [f"{name} {known[name]}" for name in names if name in known]
        COUNTS.write_text("\n".join([tools, *lines]) + "\n")
        print(f"\nwritten to {COUNTS.relative_to(HERE.parent.parent)}: commit it with the reason")
    elif dearer:
        sys.exit(
            f"\ndearer by more than {TOLERANCE:.0%}, or new: {', '.join(dearer)}"
            "\nMake them cheaper, or accept it: integration/paths/check.py --accept " + " ".join(dearer)
        )


if __name__ == "__main__":
    main()
