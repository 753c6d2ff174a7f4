"""Training on catalogs of any size: time of a step against that on 100,000 items, and memory of the whole command.

    python benchmarks/catalog.py
    python benchmarks/catalog.py --items 1000000 --storage mapped --skip softmax

Events come from ``hydrarec simulate``; every item of the range has a row, with events or without. Each figure is taken
in a process of its own. Prints one JSON object, and each part of it on standard error as soon as it is there.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

SMALL = 100_000
EVENTS, USERS = 400_000, 400
SETTINGS = ["loss.kind=sampled", "loss.negatives=2048", "train.epochs=1", "train.max_len=200"]


def make(folder: Path, n_items: int) -> Path:
    """A data set of ``n_items`` items."""
    import numpy as np
    import pyarrow.parquet as pq

    from hydrarec.data.store import Dataset

    log = folder / f"log-{n_items}.parquet"
    words = ["--events", str(EVENTS), "--users", str(USERS), "--items", str(n_items), "--out", str(log), "--json"]
    subprocess.run([sys.executable, "-m", "hydrarec", "simulate", *words], check=True, stdout=subprocess.DEVNULL)
    user, item, when = (pq.read_table(log)[name].to_numpy() for name in ("user", "item", "time"))
    order = np.lexsort((when, user))
    _, lengths = np.unique(user, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows, seconds = item[order] - 1, when[order]
    dataset = Dataset.from_arrays(rows, offsets, times=seconds, item_ids=np.arange(1, n_items + 1))
    return dataset.save(folder / f"dataset-{n_items}").path or folder


def step(places: dict[str, str], storage: str, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a step on each data set, in turns: median over all steps but the first of each turn."""
    import numpy as np
    import torch

    from hydrarec.data.prefix import training_events
    from hydrarec.data.split import split
    from hydrarec.data.store import Dataset
    from hydrarec.items.make import new_items
    from hydrarec.losses.config import make_loss
    from hydrarec.models.hydra import Hydra
    from hydrarec.progress import Silent
    from hydrarec.train.loop import Fit
    from hydrarec.train.settings import resolve

    settings, _ = resolve(overrides=[*SETTINGS, f"items.storage={storage}"])
    parts = {}
    for name, place in places.items():
        dataset = Dataset.open(place)
        ends = split(dataset).train_ends
        counts = np.bincount(training_events(dataset, ends)[0], minlength=dataset.n_items)
        items, _ = new_items(settings.items, dataset, 64, counts, Silent(), Path(place) / "table")
        model = Hydra.for_data(settings.model, dataset, items)
        # So few events that a turn is short, from all users.
        few = np.minimum(np.asarray(dataset.offsets)[:-1] + 1 + 120_000 // USERS, ends)
        parts[name] = (model, make_loss(settings.loss, torch.from_numpy(counts)), dataset, few)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in places}
    for _ in range(rounds):
        for name, (model, loss, dataset, ends) in parts.items():
            marks: list[tuple[float, float]] = []

            def mark(events: int, text: str, marks: list[tuple[float, float]] = marks) -> None:
                marks.append((time.perf_counter(), time.process_time()))

            training = Fit(model, settings.train, loss)
            training.report = mark
            training.run(dataset, ends)
            steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]
            taken[name] += steps[1:-1]  # the last report comes after validation
    return {
        name: {
            "steps": len(steps),
            "cpu_ms": round(1000 * median(cpu for _, cpu in steps), 1),
            "ms": round(1000 * median(wall for wall, _ in steps), 1),
        }
        for name, steps in taken.items()
    }


def whole(place: str, storage: str, folder: str) -> dict[str, object]:
    """``hydrarec train`` from the data set to the test figures: seconds and peak memory."""
    words = ["--json", "--resume", "never", *(f"--set={each}" for each in [*SETTINGS, f"items.storage={storage}"])]
    began = time.perf_counter()
    command = [sys.executable, "-m", "hydrarec", "train", place, "--out", f"{folder}/run", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(done.stdout)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_bytes": used.ru_maxrss * 1024,
        "parameters": found["parameters"],
        "item_bytes": found["item_bytes"],
        "NDCG@10": found["metrics"]["NDCG@10"],
    }


def softmax(n_items: int, events: int) -> dict[str, object]:
    """One training step of the loss over all items, table and optimiser included: memory above the table."""
    import torch

    from hydrarec.items.compact import FloatTable
    from hydrarec.losses.config import LossConfig, make_loss
    from hydrarec.models.hydra import Hydra, HydraConfig
    from hydrarec.train.optimiser import rowwise

    def resident() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def once(model: Hydra) -> None:
        hidden = torch.randn(events, 64, requires_grad=True)
        targets = torch.randint(model.n_items, (events,))
        loss(model.queries(hidden), model, targets, model.scale).backward()
        optimiser = rowwise(model)
        torch.nn.utils.clip_grad_norm_(optimiser.leaves(), 1.0)
        optimiser.step()

    loss = make_loss(LossConfig(), torch.ones(1))
    once(Hydra(HydraConfig(), FloatTable(1000, 64)))
    model = Hydra(HydraConfig(), FloatTable(n_items, 64))
    before, began, began_cpu = resident(), time.perf_counter(), time.process_time()
    once(model)
    return {
        "items": n_items,
        "events": events,
        "table_bytes": model.items.stored_bytes,
        "bytes_above": resident() - before,
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - began_cpu, 2),
    }


def apart(name: str, *arguments: object) -> dict[str, Any]:
    """What a function of this file gives in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([name, arguments])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(name, done.stdout.strip(), file=sys.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=lambda text: int(float(text)), default=10_000_000)
    parser.add_argument("--storage", default="half")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--softmax-items", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--softmax-events", type=int, default=4096)
    parser.add_argument("--skip", nargs="*", default=[], choices=["step", "train", "softmax"])
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, given = json.loads(arguments.child)
        programs: dict[str, Callable[..., Any]] = {"step": step, "train": whole, "softmax": softmax}
        print(json.dumps(programs[name](*given)))
        return
    from hydrarec.machine import machine

    found: dict[str, object] = {"storage": arguments.storage, "machine": machine(), "load": os.getloadavg()}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if "softmax" not in arguments.skip:
            found["softmax"] = apart("softmax", arguments.softmax_items, arguments.softmax_events)
        if {"step", "train"} - set(arguments.skip):
            places = {str(size): str(make(folder, size)) for size in (SMALL, arguments.items)}
        if "step" not in arguments.skip:
            steps = apart("step", places, arguments.storage, arguments.rounds)
            small, large = (steps[str(size)]["cpu_ms"] for size in (SMALL, arguments.items))
            found |= {"step": steps, "step_ratio": round(large / small, 3)}
        if "train" not in arguments.skip:
            found["train"] = apart("train", places[str(arguments.items)], arguments.storage, str(folder))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
