"""What is more than a race over the same bytes: small files and a kill, a start with a long history, peak memory, a scan."""

import glob
import os
import shutil
import signal
import statistics
import sys
import time

import duckdb

from . import check, settings
from .contenders import Flume, Job, Lakeward
from .inputs import Input
from .items import Result, enter, in_turn
from .measure import Failed, Running, run, spread

BATCHES = 10
"""Of the small files and of a start: what is committed is committed in the midst of the work."""


def small(inputs, work):
    found = inputs.small()
    job = Job(found, roll_records=max(found.records // BATCHES, 1))
    flume_job = Job(found, to="ndjson")
    field, missing = enter([Lakeward, Flume], work)
    measured = in_turn(field[:1], job, missing)
    if missing.get(Lakeward.name):
        raise Failed(missing[Lakeward.name])
    measured |= in_turn(field[1:], flume_job, missing, measured)
    rates = {name: [settings.FILES / took.wall for took in runs.values()] for name, runs in measured.items()}
    ours = rates[Lakeward.name]
    killed = kill_in_the_middle(field[0], job, statistics.median(settings.FILES / rate for rate in ours))
    table = [["contender", "files/s", "wall s", "CPU s", "peak MiB", "rounds"]]
    for name, runs in measured.items():
        middle = lambda what: statistics.median(getattr(took, what) for took in runs.values())
        peak = max(took.peak for took in runs.values())
        table.append([name, spread(rates[name], 0), f"{middle('wall'):.2f}", f"{middle('cpu'):.2f}", f"{peak:.0f}", str(len(runs))])
    targets = [
        ["100,000 files of 1 KB, all committed before exit, retired", "at least 10000 files/s", spread(ours, 0), statistics.median(ours) >= 10_000],
        ["killed in the middle and run again: nothing retired that had not landed, each record once", "always", killed, True],
    ]
    if Flume.name in rates:
        found_ratio = statistics.median(ours) / statistics.median(rates[Flume.name])
        targets.append(["Flume beside it", "", f"{found_ratio:.0f} times its speed", None])
    about = f"{settings.FILES} files, {found.records} records, {found.bytes / 1e6:.0f} MB, {BATCHES} batches"
    return Result("small", "Small files", about, table, targets, missing)


def kill_in_the_middle(lakeward, job, usual):
    """Kills it with some files retired and some not, says what then was there; runs it again and looks at every id."""
    wait = usual / 2
    for _ in range(10):
        lakeward.clear()
        lakeward.prepare(job)
        running = Running(*lakeward.command(job)[:1], job.cores, cwd=lakeward.work)
        time.sleep(wait)
        if running.runs():
            os.kill(running.child(), signal.SIGKILL)
        try:
            running.wait(expected=(0, -signal.SIGKILL))
        except Failed as failure:
            raise Failed(f"to be killed, it {failure}") from None
        retired = glob.glob(f"{lakeward.work}/spool/*.COMPLETED")
        if 0 < len(retired) < len(job.input.paths):
            break
        wait *= 1.25 if not retired else 0.7
    else:
        raise Failed(f"no kill met it between its first and its last retired file, the last one after {wait:.2f} s")
    landed = check.files(lakeward.output(), ".parquet")
    lost = missing_from(landed, retired)
    if lost:
        raise Failed(f"killed after {wait:.2f} s: {lost} records of retired files are not in the lake")
    run(lakeward.command(job)[0], job.cores, cwd=lakeward.work)
    lakeward.check(job)
    run(lakeward.arguments("-q", "audit"), job.cores, cwd=lakeward.work)
    lakeward.clear()
    return f"yes: {len(retired)} of {len(job.input.paths)} files were retired at the kill"


def missing_from(landed, retired):
    ids = f"SELECT id FROM read_json({retired!r}, format = 'newline_delimited', columns = {{id: 'BIGINT'}})"
    there = f"SELECT id FROM read_parquet({landed!r}, hive_partitioning = false)" if landed else "SELECT 0 WHERE false"
    return duckdb.sql(f"SELECT count(*) FROM ({ids}) WHERE id NOT IN ({there})").fetchall()[0][0]


class Known(Lakeward):
    """Whose journal has a history, made by landing it."""

    name = "known"
    WAVE = 100_000

    def spool(self, first, files, name):
        """Files of one record, ids from `first` on."""
        handle = os.open(f"{self.work}/spool", os.O_RDONLY)
        for number in range(first, first + files):
            file = os.open(f"{name}-{number:08}.ndjson", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=handle)
            os.write(file, b'{"id":%d}\n' % number)
            os.close(file)
        os.close(handle)

    def learn(self, job):
        self.clear()
        os.makedirs(f"{self.work}/spool")
        self.configure(job)
        for first in range(0, settings.KNOWN, self.WAVE):
            self.spool(first, min(self.WAVE, settings.KNOWN - first), "known")
            run(self.command(job)[0], job.cores, cwd=self.work)
            print(f"  {first + self.WAVE} files are known", file=sys.stderr)
        os.makedirs(f"{self.work}/kept")
        for part in ("var", "lake"):
            shutil.copytree(f"{self.work}/{part}", f"{self.work}/kept/{part}", symlinks=True)

    def recall(self):
        for part in ("var", "lake"):
            shutil.rmtree(f"{self.work}/{part}")
            shutil.copytree(f"{self.work}/kept/{part}", f"{self.work}/{part}", symlinks=True)


def start(inputs, work):
    lakeward = Known(work)
    inputs.need((settings.KNOWN + settings.WAITING) * 2048)
    every = settings.KNOWN + settings.WAITING
    job = Job(Input([], every, 0), roll_records=max(settings.WAITING // BATCHES, 1), retire="delete")
    lakeward.learn(job)
    firsts, wholes, peaks = [], [], []
    for number in range(settings.ROUNDS):
        lakeward.recall()
        lakeward.spool(settings.KNOWN, settings.WAITING, "waiting")
        running = Running(lakeward.arguments("run", "--once"), job.cores, cwd=lakeward.work)
        firsts.append(first_commit(running))
        measured = running.wait()
        wholes.append(measured.wall)
        peaks.append(measured.peak)
        lakeward.check(job)
        print(f"  round {number + 1}: {firsts[-1]:.2f} s to the first commit", file=sys.stderr)
    journal = os.path.getsize(f"{lakeward.work}/kept/var/journal.db") / 1e6
    lakeward.clear()
    table = [
        ["what", "measured"],
        ["to the first commit, s", spread(firsts)],
        [f"until all {settings.WAITING} are committed, s", spread(wholes)],
        ["peak MiB", f"{max(peaks):.0f}"],
        ["the journal, MB", f"{journal:.0f}"],
    ]
    met = statistics.median(firsts) < 3
    targets = [["start with a journal of 1,000,000 known files and 100,000 waiting, to the first commit", "under 3 s", f"{spread(firsts)} s", met]]
    about = f"{settings.KNOWN} files were landed and deleted before, {settings.WAITING} wait; a batch is {job.roll_records} records"
    return Result("start", "Start with a long history", about, table, targets, {})


def first_commit(running):
    """Seconds until it says that a batch is committed."""
    with open(running.words.name, errors="replace") as words:
        while True:
            goes_on = running.runs()
            if " committed" in words.read():
                return time.monotonic() - running.start
            if not goes_on:
                running.wait()
                raise Failed(f"said of no batch that it is committed: {running.said()}")
            time.sleep(0.002)


def memory(inputs, work):
    cases = [
        (f"{settings.MEMORY_INPUT / 1e9:.1f} GB of input", lambda: Job(inputs.events(settings.MEMORY_INPUT))),
        ("1,000 open partitions of 15 columns", lambda: Job(inputs.events(partitions=1000), partition="shop")),
        ("200 columns in 20 partitions", lambda: Job(inputs.wide(), partition="part")),
        (f"a gzip file of {settings.MEMORY_GZIP / 1e9:.1f} GB", lambda: Job(inputs.gzip_file())),
    ]
    lakeward = Lakeward(work)
    table, targets, missing = [["case", "memory", "peak MiB", "MB/s"]], [], {}
    for what, make in cases:
        try:
            job = make()
        except Failed as failure:
            missing[what] = str(failure)
            targets.append([f"peak memory, {what}", "under `memory` + 64 MiB", f"not run: {failure}", None])
            continue
        for budget in settings.MEMORY:
            targets.append(one_budget(lakeward, job, what, budget, table))
        if job.input.size > settings.BYTES:
            inputs.forget(job.input)
    about = "Each alone, all cores; the peak is the largest of one run, as the operating system counted it"
    return Result("memory", "Peak memory", about, table, targets, missing)


def one_budget(lakeward, job, what, budget, table):
    work, target = f"peak memory, {what}, memory = {budget}MiB", f"under {budget + 64} MiB"
    job.memory = budget
    lakeward.clear()
    try:
        lakeward.prepare(job)
        measured = lakeward.timed(job)
        lakeward.check(job)
    except Failed as failure:
        return [work, target, f"failed: {failure}", False]
    finally:
        lakeward.clear()
    print(f"  {what}, {budget} MiB: {measured.peak:.0f} MiB", file=sys.stderr)
    table.append([what, f"{budget} MiB", f"{measured.peak:.0f}", f"{job.input.bytes / 1e6 / measured.wall:.0f}"])
    return [work, target, f"{measured.peak:.0f} MiB", measured.peak < budget + 64]


def scan(inputs, work):
    inputs.need(settings.SCAN * 4096)
    lakeward = Known(work)
    walls, peaks = [], []
    lakeward.clear()
    os.makedirs(f"{lakeward.work}/spool")
    lakeward.configure(Job(Input([], settings.SCAN, 0)))
    lakeward.spool(0, settings.SCAN, "waiting")
    for _ in range(settings.ROUNDS):
        running = Running([settings.SCANNER, f"{lakeward.work}/lakeward.toml"], settings.CORES[:1], cwd=lakeward.work)
        measured = running.wait()
        if int(running.printed()) != settings.SCAN:
            raise Failed(f"a scan found {running.printed().strip()} of {settings.SCAN} files")
        walls.append(measured.wall)
        peaks.append(measured.peak)
    lakeward.clear()
    table = [["what", "measured"], ["one scan, s", spread(walls)], ["peak MiB", f"{max(peaks):.0f}"]]
    return Result("scan", f"One scan of a spool of {settings.SCAN} files", "Nothing is read or landed", table, [], {})


SPECIAL = {"small": small, "start": start, "memory": memory, "scan": scan}
