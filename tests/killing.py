"""Run the command line again and again in forked processes, and kill them at given moments. A script, not a test.

Forking after the slow imports leaves time for many kills. Reads [{"arguments", "out", "moments"}, ...] from standard
input; a moment is ["seconds", s], ["step", k] (a checkpoint of step k or later lies there) or ["line", n] (of the log).
Each process is killed by SIGKILL at its moment; a last one runs to its end. Prints a list of exit codes for each entry,
-9 for the killed.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pandas

import hydrarec.recommender
from hydrarec.cli import main


def reached(moment: list, out: Path, began: float) -> bool:
    kind, value = moment
    if kind == "seconds":
        return time.monotonic() - began >= value
    if kind == "line":
        log = out / "log.jsonl"
        return log.exists() and log.read_bytes().count(b"\n") >= value
    # Half-written ones count: that is a moment as good as any.
    return any(int(place.name.split("-")[1]) >= value for place in (out / "checkpoints").glob("*step-*"))


def run(arguments: list[str], out: Path, moment: list | None) -> int:
    """The exit status of a process killed at ``moment``, as ``os.waitpid`` gives it."""
    sys.stdout.flush()
    began = time.monotonic()
    child = os.fork()
    if not child:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os._exit(main(arguments))
    while moment and not reached(moment, out, began):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(1e-3)
    if moment:
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    # What a training imports sooner or later, Arrow included.
    assert all((hydrarec.recommender, pandas))
    codes = []
    for job in json.load(sys.stdin):
        statuses = [run(job["arguments"], Path(job["out"]), moment) for moment in [*job["moments"], None]]
        codes.append([os.waitstatus_to_exitcode(status) for status in statuses])
    print(json.dumps(codes))
