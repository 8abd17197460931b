"""What was found, as Markdown."""

import datetime
import json
import os
import subprocess

from . import settings
from .contenders import ALL, NEVER_HAD

BEGIN, END = "<!-- race: from here on written by integration/race.sh -->", "<!-- race: to here -->"


def machine(work):
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown processor")
    with open("/proc/meminfo") as file:
        memory = int(next(file).split()[1]) / (1 << 20)
    system = os.uname()
    disk = subprocess.run(["stat", "-f", "-c", "%T", work], capture_output=True, text=True).stdout.strip()
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB of memory, {disk}, {system.sysname} {system.release}"


def versions(work):
    found = {}
    for kind in ALL:
        contender = kind(work)
        if contender.missing():
            continue
        try:
            found[kind.name] = contender.version()
        except (OSError, IndexError, subprocess.CalledProcessError) as error:
            found[kind.name] = f"{kind.name} of an unknown version ({error})"
    return list(dict.fromkeys(found.values()))


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def keep(result, circumstances):
    os.makedirs(settings.RESULTS, exist_ok=True)
    with open(f"{settings.RESULTS}/{result.name}.json", "w") as file:
        json.dump({**vars(result), **circumstances}, file, indent=1)


def kept(names, asked):
    """What is known of these items, of this run or of earlier ones that asked for the same of the same program."""
    found = []
    for name in names:
        path = f"{settings.RESULTS}/{name}.json"
        if os.path.exists(path):
            with open(path) as file:
                result = json.load(file)
            if result.get("asked") == asked:
                found.append(result)
    return found


def render(results):
    lines = []
    for circumstances in dict.fromkeys((result["date"][:10], result["machine"]) for result in results):
        lines.append(f"Measured on {circumstances[0]}: {circumstances[1]}.")
    known = dict.fromkeys(version for result in results for version in result["versions"])
    lines += ["", f"Versions: {'; '.join(known)}.", ""]
    lines += [f"Missing: {name}: {reason}." for name, reason in NEVER_HAD.items()]
    lines += ["", "| work | target | measured | met |", "| --- | --- | --- | --- |"]
    for result in results:
        for work, target, measured, met in result["targets"]:
            lines.append(f"| {work} | {target} | {measured} | {'?' if met is None else 'yes' if met else '**no**'} |")
    for result in results:
        lines += ["", f"### {result['title']} (`{result['name']}`)", "", f"{result['about']}. {result['date']}, load {result['load']:.1f} before.", ""]
        head, *rows = result["table"]
        lines += [row(head), row(["---"] * len(head)), *map(row, rows)]
        if result["missing"]:
            lines += ["", *[f"Missing: {name}: {reason}." for name, reason in result["missing"].items()]]
    return "\n".join(lines) + "\n"


def row(cells):
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def put(text):
    """Between the two marks of the report's file, if it has them; else it is the file."""
    try:
        with open(settings.REPORT) as file:
            before = file.read()
    except FileNotFoundError:
        before = ""
    if BEGIN in before and END in before:
        head, rest = before.split(BEGIN, 1)
        text = f"{head}{BEGIN}\n{text}{END}{rest.split(END, 1)[1]}"
    with open(settings.REPORT, "w") as file:
        file.write(text)
