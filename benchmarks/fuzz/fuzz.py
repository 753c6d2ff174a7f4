"""Send malformed requests to a real server, and count what comes back.

    python benchmarks/fuzz/fuzz.py --run RUN
    python benchmarks/fuzz/fuzz.py --requests 100000 --seed 7

Without a run it trains a small one whose items are known by id. A server of its own is started on a folder of its own;
each request has a connection of its own. Prints one JSON object: answers by status, and what must not be: ``failed``
(status 500 and above but for 503), ``hung`` (nothing for 30 s) and ``traces`` (tracebacks in the server's log).
The request of a number can be sent again: ``--seed S --first N --requests 1``. Exits with 1 where anything must not be.
"""

import argparse
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from malformed import Sent, request

PATIENCE = 30.0  # seconds until an answer that is due counts as never
PAUSE = 0.2  # seconds for an answer that may not be due; then the client says that there is no more
_STATUS = re.compile(rb"(?:\A|[\n}])HTTP/1\.1 (\d{3}) ")


def exchange(port: int, sent: Sent) -> list[int | str]:
    """The statuses of the answers; ``closed`` where the server hung up without one, ``hung`` where it did nothing."""
    came = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        with suppress(OSError):  # it has answered already, and does not want the rest
            connection.sendall(sent.data)
        connection.settimeout(PATIENCE if sent.whole else PAUSE)
        while True:
            try:
                data = connection.recv(65_536)
            except TimeoutError:
                if connection.gettimeout() == PATIENCE:
                    return ["hung"]
                connection.settimeout(PATIENCE)
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
                continue
            except OSError:
                break
            if not data:
                break
            came += data
    return [int(status) for status in _STATUS.findall(came)] or ["closed"]


def fuzz(port: int, numbers: range, seed: int, at_once: int = 16) -> dict[str, Any]:
    """Counts of answers by kind and status; the numbers of requests that made the server fail or hang."""
    counts: dict[str, Counter[str]] = {}
    failed, hung = [], []

    def one(number: int) -> tuple[int, str, list[int | str]]:
        sent = request(seed, number)
        return number, sent.kind, exchange(port, sent)

    with ThreadPoolExecutor(at_once) as pool:
        for number, kind, statuses in pool.map(one, numbers):
            counts.setdefault(kind, Counter()).update(map(str, statuses))
            failed += [number for status in statuses if isinstance(status, int) and status >= 500 and status != 503]
            hung += [number for status in statuses if status == "hung"]
    total = sum(counts.values(), Counter[str]())
    return {
        "requests": len(numbers),
        "answers": dict(sorted(total.items())),
        "by_kind": {kind: dict(sorted(each.items())) for kind, each in counts.items()},
        "failed": failed,
        "hung": hung,
    }


@contextmanager
def served(run: Path, folder: Path, *arguments: str) -> Iterator[tuple[int, int, Path]]:
    """(port, process id, log) of a server of ``run``, which is told to stop at the end and must end well."""
    log = folder / "log"
    command = [sys.executable, "-m", "hydrarec", "serve", str(run), "--port", "0", "--state", str(folder / "users")]
    with log.open("wb") as file:
        process = subprocess.Popen([*command, *arguments], stderr=file, stdout=file)
    try:
        while not (found := re.search(r"is served at http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))):
            if process.poll() is not None:
                raise RuntimeError(f"the server did not start: {log.read_text()}")
            time.sleep(0.1)
        yield int(found[1]), process.pid, log
        process.terminate()
        if code := process.wait(60):
            raise RuntimeError(f"the server ended with {code}")
    finally:
        process.kill()
        process.wait()


def small_run(folder: Path) -> Path:
    """A model of 12 items in two domains, trained for a moment."""
    import pyarrow as pa

    from hydrarec import Recommender

    users, items = 30, 12
    rows = [
        (user, (user + day) % items + 1, 1_600_000_000 + day * 86_400) for day in range(12) for user in range(users)
    ]
    table = pa.table(dict(zip(("user", "item", "time"), map(list, zip(*rows, strict=True)), strict=True)))
    domains = pa.array(["even" if item % 2 == 0 else "odd" for item in table["item"].to_pylist()])
    settings = {"model.d_model": 8, "model.n_layers": 1, "model.n_heads": 2, "model.d_state": 4, "train.epochs": 1}
    Recommender.fit(table.append_column("domain", domains), out=folder / "run", settings=settings)
    return folder / "run"


def memory(process: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a trained run")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first request")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=16, help="connections")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = arguments.run or small_run(folder)
        with served(run, folder) as (port, process, log):
            numbers = range(arguments.first, arguments.first + arguments.requests)
            began, before = time.monotonic(), memory(process)
            found = fuzz(port, numbers, arguments.seed, arguments.at_once)
            alive = exchange(
                port, Sent(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "", True)
            )
            found |= {"seconds": round(time.monotonic() - began, 1), "ready_afterwards": alive == [200]}
            found |= {"memory_bytes": [before, memory(process)]}
        said = log.read_text(errors="replace")
        found["traces"] = said.count("Traceback")
        print(json.dumps(found, indent=2))
        if found["traces"]:
            print(said[said.index("Traceback") :][:5000], file=sys.stderr)
    sys.exit(bool(found["failed"] or found["hung"] or found["traces"] or not found["ready_afterwards"]))


if __name__ == "__main__":
    main()
