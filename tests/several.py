"""Run the command line in processes that train together. A script, not a test.

Forking after the slow imports leaves time for many of them. Reads [{"arguments": [[...], one for each process],
"environments": [{...}, ...], "kill": {"process": r, "out": run folder, "step": k}}, ...] from standard input;
environments and kill may be left out. The process r, or all of them (null), is killed by SIGKILL when a checkpoint of
step k or later lies there. Prints [[[exit code, standard output, standard error] of each process] of each job].

In an environment, OTHER_CODE is the digest of the sources that a process claims to have, and FILE_LIMIT the bytes of
the largest file that it can write.
"""

import json
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

import pandas
from killing import reached

import hydrarec.processes
import hydrarec.train.fit
from hydrarec.cli import main


def port() -> int:
    """A free one, not of those that the system gives to whoever asks for any: another would have it before its use."""
    while True:
        number = random.randrange(12_000, 32_000)
        with socket.socket() as found, suppress(OSError):
            found.bind(("", number))
            return number


def start(arguments: list[str], environment: dict[str, str], folder: Path) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY), stream)
    os.environ.update(environment)
    if "OTHER_CODE" in os.environ:
        hydrarec.processes._code = lambda: os.environ["OTHER_CODE"]
    if limit := int(os.environ.get("FILE_LIMIT", "0")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


def run(job: dict, folder: Path) -> list:
    world, number = len(job["arguments"]), port()
    children, folders = [], []
    for rank, arguments in enumerate(job["arguments"]):
        environment = {"RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "localhost", "MASTER_PORT": number}
        environment |= job.get("environments", [{}] * world)[rank]
        folders.append(folder / str(rank))
        folders[-1].mkdir(parents=True)
        children.append(start(arguments, {key: str(value) for key, value in environment.items()}, folders[-1]))
    if kill := job.get("kill"):
        while not reached(["step", kill["step"]], Path(kill["out"]), 0.0):
            time.sleep(1e-3)
        for rank, child in enumerate(children):
            if kill["process"] in (None, rank):
                os.kill(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    read = [[(each / name).read_text() for name in ("out", "err")] for each in folders]
    return [[code, *texts] for code, texts in zip(codes, read, strict=True)]


if __name__ == "__main__":
    assert all((hydrarec.train.fit, pandas))
    with tempfile.TemporaryDirectory() as temporary:
        jobs = json.load(sys.stdin)
        print(json.dumps([run(job, Path(temporary) / str(number)) for number, job in enumerate(jobs)]))
