"""The race; race.sh says how to start it."""

import os
import shutil
import signal
import sys
import tempfile

from . import report, settings
from .inputs import Inputs
from .items import RACES, Result, run_race
from .measure import Failed, Running
from .special import SPECIAL

# In the order in which they run: what matters most first.
ITEMS = {race.name: lambda inputs, work, race=race: run_race(race, inputs, work) for race in RACES} | SPECIAL


def main():
    unknown = [name for name in settings.ONLY if name not in ITEMS]
    if unknown:
        sys.exit(f"ONLY={','.join(unknown)}: no such item; there are {', '.join(ITEMS)}")
    names = [name for name in ITEMS if not settings.ONLY or name in settings.ONLY]
    given = os.environ.get("RACE_DIR")
    work = os.path.abspath(given) if given else tempfile.mkdtemp(prefix="lakeward-race-")
    os.makedirs(work, exist_ok=True)
    inputs = Inputs(f"{work}/inputs")
    circumstances = {"machine": report.machine(work), "versions": report.versions(work)}
    circumstances["asked"] = asked = [circumstances["versions"][0], settings.BYTES, settings.PARTS, settings.ROUNDS]
    failed = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for name in names:
            print(f"{name} ({report.now()})", file=sys.stderr)
            load = os.getloadavg()[0]
            result = attempt(name, inputs, f"{work}/runs", failed)
            report.keep(result, {**circumstances, "date": report.now(), "load": load})
            text = report.render(report.kept(ITEMS, asked))
            report.put(text)
    finally:
        for running in list(Running.all):
            running.kill()
        shutil.rmtree(f"{work}/runs" if given else work, ignore_errors=True)
    print(report.render(report.kept(names, asked)))
    print(f"written to {settings.REPORT}", file=sys.stderr)
    return 1 if failed else 0


def attempt(name, inputs, work, failed):
    try:
        return ITEMS[name](inputs, work)
    except Failed as failure:
        failed.append(name)
        print(f"  {name} FAILED: {failure}", file=sys.stderr)
        return Result(name, name, f"FAILED: {failure}", [["what", "measured"]], [[name, "", f"failed: {failure}", False]], {})


if __name__ == "__main__":
    sys.exit(main())
