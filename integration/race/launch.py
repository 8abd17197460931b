"""Runs a command on some cores and tells what the operating system counted: `launch.py RESULT CORES COMMAND...`.

A program of its own, small: a process inherits the peak memory of the one that forked it. On SIGTERM the command gets one,
so that what goes on until it is stopped is measured too.
"""

import os
import signal
import sys
import time

result, cores, command = sys.argv[1], sys.argv[2], sys.argv[3:]
start = time.monotonic()
pid = os.fork()
if pid == 0:
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
_, status, usage = os.wait4(pid, 0)
wall = time.monotonic() - start
code = os.waitstatus_to_exitcode(status)
with open(result, "w") as file:
    file.write(f"{code} {wall} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1024}\n")
