"""Peak memory and seconds of training on one long history, in a process of its own for each way.

    python benchmarks/long.py
    python benchmarks/long.py --events 65536 --size 2048 --ways carried recompute

``carried``: windows of ``--size`` events, the state carried from one to the next. ``recompute``: the whole history,
activations held for ``--size`` events. ``whole``: the whole history, all activations held. Each trains for one epoch
with the softmax over the whole catalog, on one thread. Prints one JSON object a way; memory is what training adds to
the process.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import torch

from hydrarec.data.store import Dataset
from hydrarec.losses.config import LossConfig, make_loss
from hydrarec.machine import peak_memory_bytes
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.train.config import TrainConfig
from hydrarec.train.loop import Fit

WAYS = ("carried", "recompute", "whole")


def settings(way: str, size: int) -> TrainConfig:
    if way == "carried":
        return TrainConfig(epochs=1, max_len=size, windows="carried", batch_events=size)
    return TrainConfig(epochs=1, max_len=0, recompute=size if way == "recompute" else 0)


def training(config: TrainConfig, arguments: argparse.Namespace) -> Fit:
    torch.manual_seed(0)
    model = Hydra(HydraConfig(d_model=arguments.d_model, n_layers=arguments.layers), arguments.items)
    return Fit(model, config, make_loss(LossConfig(kind="softmax"), torch.zeros(arguments.items)))


def one_history(events: int, n_items: int) -> Dataset:
    """``events`` inputs, and one event more, which is the last target."""
    items = np.random.default_rng(0).integers(0, n_items, events + 1)
    return Dataset.from_arrays(items, np.array([0, events + 1]), item_ids=np.arange(n_items))


def measure(way: str, arguments: argparse.Namespace) -> dict[str, float | int | str]:
    """Run in the child: train for an epoch."""
    torch.set_num_threads(1)
    short = one_history(64, arguments.items)  # whatever is loaded or compiled once is there after this
    training(settings(way, 32), arguments).run(short, short.offsets[1:])
    dataset = one_history(arguments.events, arguments.items)
    fit = training(settings(way, arguments.size), arguments)
    before, began = peak_memory_bytes(), time.perf_counter()
    fit.run(dataset, dataset.offsets[1:])
    seconds, added = time.perf_counter() - began, peak_memory_bytes() - before
    return {
        "way": way,
        "events": arguments.events,
        "size": arguments.size,
        "d_model": arguments.d_model,
        "layers": arguments.layers,
        "items": arguments.items,
        "seconds": round(seconds, 2),
        "events_per_second": round(arguments.events / seconds),
        "added_bytes": added,
        "bytes_per_event_and_layer": round(added / arguments.events / arguments.layers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=65_536)
    parser.add_argument("--size", type=int, default=2048, help="events of a window, or of a segment")
    parser.add_argument("--d-model", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(measure(arguments.child, arguments)))
        return
    for way in arguments.ways:
        command = [sys.executable, __file__, *sys.argv[1:], "--child", way]
        print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
