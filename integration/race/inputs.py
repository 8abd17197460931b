"""The race's inputs: made when they are first asked for, the same bytes each time, and kept as long as their directory."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass

from . import settings
from .measure import Failed


@dataclass
class Input:
    paths: list
    records: int
    bytes: int
    """Decompressed."""
    copies: int = 1
    """How often it holds each id from 0 on."""

    @property
    def size(self):
        """On disk."""
        return sum(map(os.path.getsize, self.paths))


class Inputs:
    def __init__(self, directory):
        self.directory = directory

    def need(self, size):
        """Fails where the disk has not that much, and some to spare."""
        os.makedirs(self.directory, exist_ok=True)
        free = shutil.disk_usage(self.directory).free
        if free < size + (2 << 30):
            raise Failed(f"needs {size / 1e9:.1f} GB of disk and 2 more, {free / 1e9:.1f} are free in {self.directory}")

    def events(self, size=None, parts=None, partitions=500):
        return self.made("events", size or settings.BYTES, parts or settings.PARTS, partitions)

    def wide(self, size=None, parts=None, partitions=20):
        return self.made("wide", size or settings.BYTES, parts or settings.PARTS, partitions)

    def csv(self):
        return self.made("csv", settings.BYTES, settings.PARTS, 500)

    def made(self, kind, size, parts, partitions):
        arguments = ["--bytes", str(size), "--parts", str(parts), "--partitions", str(partitions)]
        return self.kept(f"{kind}-{size}-{parts}-{partitions}", size, lambda at: generate(kind, at, *arguments))

    def small(self):
        files = settings.FILES
        return self.kept(f"small-{files}", files << 12, lambda at: generate("small", at, "--files", str(files)))

    def compressed(self, plain, name, command):
        """Each file of `plain` by this command, which leaves NAME beside it."""

        def make(at):
            for path in plain.paths:
                target = f"{at}/{os.path.basename(path)}.{name}"
                with open(target, "wb") as file:
                    subprocess.run([*command, path], stdout=file, check=True)
            return plain.records

        folder = os.path.basename(os.path.dirname(plain.paths[0]))
        found = self.kept(f"{folder}-{name}", plain.bytes // 3, make)
        return Input(found.paths, found.records, plain.bytes)

    def gzip_file(self):
        """One gzip file of the size asked for: members of a part each, as joined files are."""
        size = settings.MEMORY_GZIP
        part = self.compressed(self.events(min(size, 1 << 28), 1), "gz", ["gzip", "-6", "-c"])
        members = max(size // part.size, 1)

        def make(at):
            with open(f"{at}/joined.ndjson.gz", "wb") as file:
                for _ in range(members):
                    with open(part.paths[0], "rb") as member:
                        shutil.copyfileobj(member, file, 1 << 20)
            return part.records * members

        found = self.kept(f"joined-{size}", size, make)
        return Input(found.paths, found.records, part.bytes * members, members)

    def kept(self, name, size, make):
        at = f"{self.directory}/{name}"
        known = f"{at}.json"
        if not os.path.exists(known):
            shutil.rmtree(at, ignore_errors=True)
            self.need(size)
            os.makedirs(at)
            records = make(at)
            with open(known, "w") as file:
                json.dump({"records": records}, file)
        paths = sorted(entry.path for entry in os.scandir(at))
        records = json.load(open(known))["records"]
        return Input(paths, records, sum(map(os.path.getsize, paths)))

    def forget(self, found):
        """Of large inputs that no other item needs."""
        at = os.path.dirname(found.paths[0])
        shutil.rmtree(at)
        os.remove(f"{at}.json")


def generate(kind, at, *arguments):
    return int(subprocess.check_output([settings.GENERATE, kind, at, *arguments]))
