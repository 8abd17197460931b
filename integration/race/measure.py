"""What one run took, and what several came to."""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from . import settings

LAUNCH = [sys.executable, "-I", "-S", f"{os.path.dirname(os.path.abspath(__file__))}/launch.py"]
TELLING = 400
"""Characters of a failed program's last words."""


class Failed(Exception):
    """A contender did not do its work; says why."""


@dataclass
class Measured:
    wall: float
    cpu: float
    peak: float
    """MiB: the largest of its processes, as the operating system counted."""
    out: int = 0
    """Bytes of its data files."""
    end: float = 0
    """When it ended, by the machine's clock."""


class Running:
    """A command that runs, on these cores, its words in a file."""

    all = set()

    def __init__(self, command, cores, env=None, cwd=None):
        self.command = command
        self.result = tempfile.NamedTemporaryFile(prefix="race-", suffix=".result")
        self.words = tempfile.NamedTemporaryFile("r+", prefix="race-", suffix=".log", errors="replace")
        self.output = tempfile.NamedTemporaryFile("r+", prefix="race-", suffix=".out", errors="replace")
        os.sync()  # what the last one left to be written is not this one's
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            [*LAUNCH, self.result.name, ",".join(map(str, cores)), *command],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.words, env={**os.environ, **(env or {})}, cwd=cwd,
            start_new_session=True,
        )
        Running.all.add(self)

    def runs(self):
        return self.process.poll() is None

    def stop(self):
        """Asks it to end."""
        self.process.terminate()

    def child(self):
        """The command's own process."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return int(file.read().split()[0])

    def kill(self):
        """With all that it started."""
        if self.runs():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        Running.all.discard(self)

    def said(self):
        return " ".join(open(self.words.name, errors="replace").read().split())[-TELLING:]

    def wait(self, expected=(0,)):
        """Waits for its end. Answers what it took."""
        try:
            self.process.wait(settings.TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failed(f"did not end within {settings.TIMEOUT} s") from None
        finally:
            self.kill()
        numbers = open(self.result.name).read().split()
        if not numbers:
            raise Failed(f"could not be run: {self.said()}")
        if int(numbers[0]) not in expected:
            raise Failed(f"ended with {numbers[0]}: {self.said()}")
        return Measured(*map(float, numbers[1:]), end=time.monotonic())

    def printed(self):
        return open(self.output.name, errors="replace").read()


def run(command, cores, env=None, cwd=None):
    return Running(command, cores, env, cwd).wait()


def spread(values, digits=2):
    """Median and range."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def bytes_below(directory, ending=""):
    """Of the files that readers see."""
    total = 0
    for at, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(("_", "."))]
        total += sum(
            os.path.getsize(f"{at}/{name}") for name in files if name.endswith(ending) and not name.startswith(("_", "."))
        )
    return total
