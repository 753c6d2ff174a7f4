"""Server processes and loads on them."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def server(*command: str | Path) -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    """A server that says where it is served: its URL, the process, and seconds from its start to being ready."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = []
    for line in process.stdout or ():
        said.append(line)
        if found := re.search(r"is served at (http://\S+)", line):
            break
    else:
        raise SystemExit(f"the server did not start: {''.join(said)}")
    try:
        yield found[1], process, time.perf_counter() - began
    finally:
        process.terminate()
        process.communicate()


def load(data: Path, url: str, *words: str | float) -> dict[str, Any]:
    """What `hydrarec load` reports."""
    command = [sys.executable, "-m", "hydrarec", "load", data, "--url", url, "--json", *words]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise SystemExit("the load failed")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def memory_mb(process: subprocess.Popen[str]) -> float:
    """Resident memory."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1e3  # type: ignore[index]


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """User and system time."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
