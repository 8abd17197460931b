"""The races: who runs on what, and what is to be reached. `special.py` has those that are more than that."""

import statistics
import sys
from dataclasses import dataclass

from . import settings
from .contenders import (
    Alone, Benthos, Cat, Direct, DuckDb, Flume, GzipNowhere, Job, Lakeward, Polars, PyArrow, Spark, Zstd, ZstdNowhere, chosen,
)
from .measure import Failed, spread

TABLES = [DuckDb, PyArrow, Polars, Spark]


@dataclass
class Target:
    work: str
    """In the words of the table of targets."""
    against: type
    least: float


@dataclass
class Race:
    name: str
    title: str
    job: object
    """Makes the job from the inputs."""
    contenders: list
    targets: list


@dataclass
class Result:
    name: str
    title: str
    about: str
    table: list
    """Rows of cells, the first of them the header."""
    targets: list
    """[work, target, measured, whether it was met]"""
    missing: dict


ONE = settings.CORES[:1]

RACES = [
    Race(
        "ndjson", "NDJSON to Parquet, zstd-1, modern", lambda inputs: Job(inputs.events()),
        [Lakeward, Direct, Alone, *TABLES],
        [
            Target("NDJSON → Parquet (zstd-1, modern), two cores, against DuckDB", DuckDb, 1.5),
            Target("exactly-once against the direct writer, two cores", Direct, 0.95),
        ],
    ),
    Race(
        "ndjson1", "NDJSON to Parquet, zstd-1, modern, one core", lambda inputs: Job(inputs.events(), cores=ONE),
        [Lakeward, Direct, Alone, DuckDb],
        [
            Target("the same on one core", DuckDb, 1.3),
            Target("exactly-once against the direct writer, one core", Direct, 0.95),
        ],
    ),
    Race(
        "hive", "NDJSON to Parquet, snappy, hive", lambda inputs: Job(inputs.events(), codec="snappy", compat="hive"),
        [Lakeward, *TABLES], [Target('the same in `compat = "hive"`, snappy on both sides', DuckDb, 1.3)],
    ),
    Race(
        "pass", "NDJSON to NDJSON, zstd-1, in one directory", lambda inputs: Job(inputs.events(), to="ndjson"),
        [Lakeward, Zstd, Cat], [Target("NDJSON → NDJSON zstd, against `zstd -1 -T`", Zstd, 0.9)],
    ),
    Race(
        "pass_day", "NDJSON to NDJSON, zstd-1, by day of event time",
        lambda inputs: Job(inputs.events(), to="ndjson", partition="day"),
        [Lakeward, Zstd, Cat], [Target("the same partitioned by day of event time", Zstd, 0.6)],
    ),
    Race(
        "csv", "CSV to Parquet, zstd-1", lambda inputs: Job(inputs.csv(), format="csv"),
        [Lakeward, *TABLES], [Target("CSV → Parquet, against DuckDB", DuckDb, 1.3)],
    ),
    Race(
        "gzip", "gzip NDJSON to Parquet, zstd-1",
        lambda inputs: Job(inputs.compressed(inputs.events(), "gz", ["gzip", "-6", "-c"])),
        [Lakeward, GzipNowhere, DuckDb, PyArrow, Polars],
        [Target("gzip input → Parquet, against `gzip -dc` to nowhere", GzipNowhere, 0.9)],
    ),
    Race(
        "zstd", "zstd NDJSON to Parquet, zstd-1",
        lambda inputs: Job(inputs.compressed(inputs.events(), "zst", ["zstd", "-3", "-q", "-c"])),
        [Lakeward, ZstdNowhere, DuckDb], [],
    ),
    Race(
        "flume", "NDJSON to NDJSON, not compressed",
        lambda inputs: Job(inputs.events(), to="ndjson", codec="none"),
        [Lakeward, Flume, Benthos, Cat], [Target("Flume, same spool, file channel, HDFS sink on a local disk", Flume, 15)],
    ),
    Race(
        "partitions", f"NDJSON to Parquet, zstd-1, {settings.PARTITIONS} partitions",
        lambda inputs: Job(inputs.events(partitions=settings.PARTITIONS), partition="shop"),
        [Lakeward, DuckDb, PyArrow, Polars, Spark], [],
    ),
    Race(
        "wide", "NDJSON of 200 columns to Parquet, zstd-1", lambda inputs: Job(inputs.wide()),
        [Lakeward, Direct, DuckDb, PyArrow, Polars], [],
    ),
]


def run_race(race, inputs, work):
    job = race.job(inputs)
    field, missing = enter(race.contenders, work)
    measured = in_turn(field, job, missing)
    if Lakeward.name not in measured:
        raise Failed(missing[Lakeward.name])
    about = (
        f"{job.input.bytes / 1e6:.0f} MB, {job.input.records} records, {len(job.input.paths)} files"
        f"{'' if job.input.size == job.input.bytes else f' of {job.input.size / 1e6:.0f} MB compressed'};"
        f" core{'s' if len(job.cores) > 1 else ''} {', '.join(map(str, job.cores))}; memory = {job.memory}MiB"
    )
    targets = [
        [target.work, f"at least {target.least}", *against(measured, missing, target.against.name, target.least)]
        for target in race.targets
    ]
    return Result(race.name, race.title, about, table(measured, job), targets, missing)


def enter(kinds, work):
    """Those that are here, and why the others are not."""
    field, missing = [], {}
    for kind in filter(chosen, kinds):
        contender = kind(work)
        reason = contender.missing()
        if reason:
            missing[kind.name] = reason
        else:
            field.append(contender)
    return field, missing


def in_turn(field, job, missing, before=()):
    """Each contender in each of its rounds, Lakeward in all of them. By name: what it took, by round. `before`: what was measured of others."""
    measured = dict(before)
    rounds = settings.ROUNDS * max((contender.often for contender in field), default=0)
    for number in range(rounds):
        for contender in turned([contender for contender in field if runs_in(contender, number)], number):
            name = contender.name
            if name in missing or (number >= settings.SLOW_ROUNDS and is_slow(measured, name)):
                continue
            try:
                measured.setdefault(name, {})[number] = took = contender.once(job)
                print(f"  round {number + 1}: {name} {took.wall:.2f} s", file=sys.stderr)
            except Failed as failure:
                missing[name] = str(failure)
                measured.pop(name, None)
                print(f"  {name}: {failure}", file=sys.stderr)
            finally:
                contender.clear()
    return {contender.name: measured[contender.name] for contender in field if contender.name in measured}


def runs_in(contender, number):
    return contender.name == Lakeward.name or number < settings.ROUNDS * contender.often


def turned(field, number):
    """Forth and back, then the same with the next one in front: what a run leaves of memory, the one after it meets. In twice as many rounds as
    there are contenders each begins twice and ends twice."""
    first = number // 2 % len(field)
    order = field[first:] + field[:first]
    return order[::-1] if number % 2 else order


def is_slow(measured, name):
    """Against Lakeward's best so far: its first round may have met a cold cache."""
    ours = [took.wall for took in measured.get(Lakeward.name, {}).values()]
    return bool(ours) and measured[name][0].wall > settings.SLOW_TIMES * min(ours)


def ratios(measured, name):
    """Lakeward's speed in terms of the other's, in each round in which both ran."""
    ours, theirs = measured[Lakeward.name], measured[name]
    return [theirs[number].wall / ours[number].wall for number in sorted(ours.keys() & theirs.keys())]


def against(measured, missing, name, least):
    if name not in measured:
        return [f"{name} did not run: {missing.get(name, 'left out')}", None]
    found = ratios(measured, name)
    return [spread(found), statistics.median(found) >= least]


def table(measured, job):
    """Medians, and ratios with their spread."""
    rows = [["contender", "MB/s", "wall s", "CPU s", "peak MiB", "MB out", "rounds", "Lakeward's speed in terms of it"]]
    for name, by_round in measured.items():
        runs = list(by_round.values())
        middle = lambda what: statistics.median(getattr(run, what) for run in runs)
        rows.append([
            name,
            f"{job.input.bytes / 1e6 / middle('wall'):.0f}",
            f"{middle('wall'):.2f}",
            f"{middle('cpu'):.2f}",
            f"{max(run.peak for run in runs):.0f}",
            f"{middle('out') / 1e6:.0f}",
            str(len(runs)),
            "1" if name == Lakeward.name else spread(ratios(measured, name)),
        ])
    return rows
