"""Who races: how each is asked to do a job, and how its output is looked at."""

import glob
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

from . import check, settings
from .inputs import Input
from .measure import Failed, Running, bytes_below, run


@dataclass
class Job:
    """The same for all contenders of an item."""

    input: Input
    format: str = "ndjson"
    to: str = "parquet"
    codec: str = "zstd"
    compat: str = "modern"
    partition: str | None = None
    """A column, or `day`: the day of `created_at`."""
    cores: list = field(default_factory=lambda: settings.CORES)
    memory: int = 512
    """MiB: Lakeward's budget."""
    roll_records: int = 0
    retire: str = "rename"

    def ending(self):
        return ".parquet" if self.to == "parquet" else ".ndjson*"


CONFIG = """
[agent]
state_dir = "var"
lanes = {lanes}
memory = "{memory}MiB"
[lake]
type = "fs"
root = "lake"
[[pipeline]]
name = "race"
[pipeline.source]
path = "spool"
ready_after = "0s"
retire = "{retire}"
format = "{format}"
[pipeline.schema]
mode = "{mode}"
[pipeline.sink]
path = "{path}"
format = "{to}"
compression = "{codec}"
{compat}
[pipeline.sink.roll]
records = {roll}
"""


def path_of(partition):
    if partition is None:
        return "all"
    return "all/dt={created_at:%Y-%m-%d}" if partition == "day" else f"all/{partition}={{{partition}}}"


class Contender:
    """Does jobs in a directory of its own, which `clear` empties."""

    often = 1
    """Rounds in terms of ROUNDS."""

    def __init__(self, work):
        self.work = f"{work}/{type(self).name.replace(' ', '-')}"

    def missing(self):
        """Why it is not here, if it is not."""

    def clear(self):
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)

    def output(self):
        return f"{self.work}/out"

    def once(self, job):
        """Does the job from nothing, looks at what came of it."""
        self.clear()
        self.prepare(job)
        measured = self.timed(job)
        measured.out = bytes_below(self.output())
        self.check(job)
        return measured

    def prepare(self, job):
        os.makedirs(self.output())

    def timed(self, job):
        command, env = self.command(job)
        return run(command, job.cores, env, self.work)

    def check(self, job):
        check.holds(self.output(), job.input, job.ending())


class Lakeward(Contender):
    name = "lakeward"

    def version(self):
        text = subprocess.check_output([settings.LAKEWARD, "--version"], text=True).split()[-1]
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        return f"Lakeward {text} {commit}".strip()

    def output(self):
        return f"{self.work}/lake/all"

    def prepare(self, job):
        spool = f"{self.work}/spool"
        os.makedirs(spool)
        for path in job.input.paths:
            os.link(path, f"{spool}/{os.path.basename(path)}")
        self.configure(job)

    def configure(self, job):
        raw = job.to == "ndjson"
        text = CONFIG.format(
            lanes=len(job.cores),
            memory=job.memory,
            retire=job.retire,
            format=job.format,
            mode="none" if raw else "infer",
            path=path_of(job.partition),
            to=job.to,
            codec="zstd(1)" if job.codec == "zstd" else job.codec,
            compat="" if raw else f'compat = "{job.compat}"',
            roll=job.roll_records,
        )
        with open(f"{self.work}/lakeward.toml", "w") as file:
            file.write(text)

    def arguments(self, *arguments):
        return [settings.LAKEWARD, "--config", f"{self.work}/lakeward.toml", *arguments]

    def command(self, _):
        return self.arguments("-q", "run", "--once"), {}


class Direct(Lakeward):
    """Its own decoder, encoder and threads, with nothing of what makes it exactly once."""

    name = "direct"
    arguments = []
    # What differs by a few per cent takes more rounds to be told from chance.
    often = 3

    def missing(self):
        return None if os.path.exists(settings.DIRECT) else f"there is no {settings.DIRECT}"

    def version(self):
        return "direct writer of the same sources"

    def output(self):
        return f"{self.work}/out"

    def command(self, job):
        own = f"{self.work}/lakeward.toml"
        return [settings.DIRECT, *self.arguments, own, self.output(), *job.input.paths], {}

    def timed(self, job):
        measured = super().timed(job)
        # Staged data files: Parquet under names that no reader takes for one.
        paths = [f"{self.output()}/{name}" for name in os.listdir(self.output())]
        for number, path in enumerate(sorted(paths)):
            os.rename(path, f"{self.output()}/{number}.parquet")
        return measured


class Alone(Direct):
    """As `direct`, and no thread reads for the others: each lane reads files of its own. Nothing is handed over."""

    name = "alone"
    arguments = ["--alone"]


class Peer(Contender):
    """A library that is called from Python."""

    def __init__(self, work):
        super().__init__(work)
        self.python = os.environ.get(f"RACE_{self.name.upper()}", "")

    def missing(self):
        return None if self.python else os.environ.get(f"RACE_{self.name.upper()}_MISSING") or "it was not obtained"

    def version(self):
        module = {"spark": "pyspark"}.get(self.name, self.name)
        code = f"import {module}; print({module}.__version__)"
        return f"{self.name} " + subprocess.check_output([self.python, "-c", code], text=True).strip()

    def command(self, job):
        asked = {
            "inputs": job.input.paths, "format": job.format, "output": self.output(), "codec": job.codec,
            "partition": job.partition, "threads": len(job.cores),
        }
        return [self.python, f"{settings.HERE}/peers.py", self.name, json.dumps(asked)], {"PYTHONPATH": ""}


class DuckDb(Peer):
    name = "duckdb"

    def check(self, job):
        check.holds(self.output(), job.input, reader=check.by_pyarrow)


class PyArrow(Peer):
    name = "pyarrow"


class Polars(Peer):
    name = "polars"


class Spark(Peer):
    name = "spark"

    def version(self):
        java = subprocess.run([f"{os.environ.get('JAVA_HOME', '/usr')}/bin/java", "-version"], capture_output=True, text=True)
        return f"{super().version()} on {java.stderr.splitlines()[0]}"

    def command(self, job):
        command, _ = super().command(job)
        submit = f"{os.path.dirname(self.python)}/spark-submit"
        # The Java machine is then the parent and its peak is counted, whatever becomes of the Python program.
        return [submit, "--driver-memory", "4g", *command[1:]], {
            "PYTHONPATH": "", "PYSPARK_PYTHON": self.python, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": self.work,
        }


class Command(Contender):
    """A program of every Unix."""

    def missing(self):
        return None if shutil.which(self.program) else f"no program `{self.program}` here: install it"

    def version(self):
        lines = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout.splitlines()
        return lines[0].strip("* ")

    def command(self, job):
        paths = shlex.join(job.input.paths)
        return ["sh", "-ec", self.script.format(paths=paths, out=shlex.quote(self.output()), threads=len(job.cores))], {}


class Zstd(Command):
    name = "zstd -1"
    program = "zstd"
    script = "zstd -1 -T{threads} -q --output-dir-flat {out} {paths}; sync {out}/*"


class Cat(Command):
    """Copies and compresses nothing: no program that writes all bytes is quicker."""

    name = "cat"
    program = "cat"
    script = "cat {paths} > {out}/all.ndjson; sync {out}/*"


class Nowhere(Command):
    """Decompresses, and that is all."""

    script = "{program} -dc {{paths}} > /dev/null"

    def command(self, job):
        self.script = f"{self.program} -dc {{paths}} > /dev/null"
        return super().command(job)

    def check(self, job):
        """It writes nothing."""


class GzipNowhere(Nowhere):
    name = "gzip -dc"
    program = "gzip"


class ZstdNowhere(Nowhere):
    name = "zstd -dc"
    program = "zstd"


class Benthos(Contender):
    """The engine of Redpanda Connect, whose own module is not to be had under a free licence."""

    name = "benthos"

    def __init__(self, work):
        super().__init__(work)
        self.program = os.environ.get("RACE_BENTHOS", "")

    def missing(self):
        return None if self.program else os.environ.get("RACE_BENTHOS_MISSING") or "it was not obtained"

    def version(self):
        return f"Benthos {os.path.basename(self.program).removeprefix('benthos-')} (the engine of Redpanda Connect)"

    def command(self, job):
        config = {
            "http": {"enabled": False},
            "logger": {"level": "ERROR"},
            "input": {"file": {"paths": job.input.paths, "scanner": {"lines": {}}}},
            "output": {"file": {"path": f"{self.output()}/all.ndjson", "codec": "lines"}},
        }
        with open(f"{self.work}/benthos.json", "w") as file:
            json.dump(config, file)
        return [self.program, "run", f"{self.work}/benthos.json"], {"GOMAXPROCS": str(len(job.cores))}


class Flume(Contender):
    """Goes on until it is stopped: timed until all is in the sink's files but what one buffer may hold back, stopped when that is
    there too."""

    name = "flume"
    BUFFER = 64 << 10
    PATIENCE = 90
    """Seconds without a further byte."""

    def __init__(self, work):
        super().__init__(work)
        self.jars = os.environ.get("RACE_FLUME", "")

    def missing(self):
        return None if self.jars else os.environ.get("RACE_FLUME_MISSING") or "it was not obtained"

    def version(self):
        return f"Flume {os.path.basename(os.path.dirname(self.jars)).removeprefix('flume-')}"

    def prepare(self, job):
        os.makedirs(f"{self.work}/spool")
        for path in job.input.paths:
            os.link(path, f"{self.work}/spool/{os.path.basename(path)}")
        with open(f"{settings.HERE}/flume.conf") as file, open(f"{self.work}/flume.conf", "w") as to:
            to.write(file.read().replace("@WORK@", self.work))

    def timed(self, job):
        opens = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.nio", "sun.nio.ch", "java.lang")]
        java = f"{os.environ.get('JAVA_HOME', '/usr')}/bin/java"
        running = Running(
            [java, "-Xmx1g", *opens, "-cp", f"{settings.HERE}:{self.jars}/*", "org.apache.flume.node.Application",
             "-n", "a", "-f", f"{self.work}/flume.conf", "--no-reload-conf"],
            job.cores, cwd=self.work,
        )
        reached, written, since = None, 0, time.monotonic()
        while running.runs() and written < job.input.bytes and time.monotonic() - since < self.PATIENCE:
            time.sleep(0.02)
            now = sum(os.path.getsize(path) for path in glob.glob(f"{self.output()}/FlumeData.*"))
            if now != written:
                written, since = now, time.monotonic()
            if reached is None and now >= job.input.bytes - self.BUFFER:
                reached = time.monotonic() - running.start
        running.stop()
        measured = running.wait(expected=(0, 143, -signal.SIGTERM))
        if written < job.input.bytes:
            raise Failed(f"{written} of {job.input.bytes} bytes came out, then none for {self.PATIENCE} s: {running.said()}")
        measured.wall = reached
        return measured

    def check(self, job):
        for path in glob.glob(f"{self.output()}/FlumeData.*"):
            name = os.path.basename(path).removesuffix(".tmp")
            os.rename(path, f"{self.output()}/{name}.ndjson")
        super().check(job)


ALL = [Lakeward, Direct, Alone, DuckDb, PyArrow, Polars, Spark, Zstd, Cat, GzipNowhere, ZstdNowhere, Benthos, Flume]
NEVER_HAD = {
    "redpanda-connect": "its module is not to be had under a free licence; its engine, Benthos, runs instead, which has neither Parquet nor zstd"
}


def chosen(kind):
    """CONTENDERS leaves this one in. Nothing races without Lakeward."""
    return kind is Lakeward or not settings.CONTENDERS or kind.name.split()[0] in settings.CONTENDERS


if len({kind.name for kind in ALL}) != len(ALL):
    sys.exit("two contenders have one name")
