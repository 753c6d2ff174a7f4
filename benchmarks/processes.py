"""Training in two processes: how much sooner it is done than in one, and what it comes to when processes are killed.

    python benchmarks/processes.py speed
    python benchmarks/processes.py kills --kills 20

``speed`` trains Hydra as it is by default in one process and in two, in turn, one thread each: events a second on the
clock, so the machine must have nothing else to do. ``kills`` trains on a table in two shards, kills one of the two
processes by SIGKILL again and again, at steps and in processes drawn by chance, and starts the same command each time;
in the end the weights are held against those of one process that nobody disturbed. Prints one JSON object.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

_HYDRAREC = [sys.executable, "-m", "hydrarec"]
_SHARDED = ["items.storage=sharded", "loss.kind=sampled", "loss.negatives=64", "model.dropout=0"]


def made(folder: Path, events: int) -> Path:
    """A data set of simulated events."""
    sizes = {"events": events, "users": max(50, events // 200), "items": max(50, events // 60), "seed": 1}
    words = [str(word) for name, size in sizes.items() for word in (f"--{name}", size)]
    log = folder / "log.parquet"
    for command in (["simulate", *words, "--out", log], ["prepare", log, "--out", folder / "data"]):
        subprocess.run([*_HYDRAREC, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return folder / "data"


def train(data: Path, out: Path, processes: int, settings: list[str]) -> list[str]:
    """The command."""
    chosen = [word for setting in settings for word in ("--set", setting)]
    return [*_HYDRAREC, "train", str(data), "--out", str(out), "--procs", str(processes), "--json", *chosen]


def speed(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    data = made(folder, args.events)
    found: dict[int, list[float]] = {1: [], 2: []}
    for number in range(args.rounds):
        for processes, rates in found.items():
            out = folder / f"{processes}-{number}"
            command = train(data, out, processes, [f"train.epochs={args.epochs}"])
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
            rates.append(json.loads((out / "metrics.json").read_text())["events_per_second"])
    ratios = [two / one for one, two in zip(found[1], found[2], strict=True)]
    return {"events_per_second": found, "ratios": ratios, "ratio": median(ratios)}


def kills(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from hydrarec.train.run import open_run

    data, settings = made(folder, args.events), [*_SHARDED, "train.checkpoint_seconds=0", f"train.epochs={args.epochs}"]
    subprocess.run(train(data, folder / "alone", 1, settings), check=True, stdout=subprocess.DEVNULL)
    draw, killed = random.Random(args.seed), list[dict[str, int]]()
    steps = max(_step(folder / "alone"), 2)
    command = train(data, folder / "killed", 2, settings)
    while len(killed) < args.kills:
        left = range(_step(folder / "killed") + 1, steps)
        if not left:
            break
        # Near steps, so that all kills find a place before the end.
        goal = min(left[-1], left[0] + draw.randrange(max(1, 2 * len(left) // (args.kills - len(killed) + 1))))
        job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while job.poll() is None and _step(folder / "killed") < goal:
            time.sleep(0.002)
        victim = draw.randrange(2)
        if job.poll() is None and len(workers := _children(job.pid)) == 2:
            os.kill(workers[victim], signal.SIGKILL)
            killed.append({"step": _step(folder / "killed"), "process": victim})
        job.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    one, two = (open_run(folder / name).model().tensors() for name in ("alone", "killed"))
    differences = [float((one[name].double() - two[name].double()).abs().max()) for name in one]
    return {"steps": steps, "kills": killed, "largest_difference": max(differences)}


def _step(run: Path) -> int:
    """Of the newest checkpoint, 0 without one."""
    return max((int(place.name.split("-")[1]) for place in (run / "checkpoints").glob("step-*")), default=0)


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return sorted(map(int, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "kills"))
    parser.add_argument("--events", type=int, default=None, help="of the log; 300,000 for speed, 20,000 for kills")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3, help="of one process and two (speed)")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    args = parser.parse_args()
    args.events = args.events or (300_000 if args.what == "speed" else 20_000)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps((speed if args.what == "speed" else kills)(Path(folder), args), indent=2))


if __name__ == "__main__":
    main()
