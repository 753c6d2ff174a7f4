"""The demo: a simulated shop, the baselines, Hydra, and the best that anyone could reach."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hydrarec.data.protocol import Protocol
from hydrarec.data.simulation.simulate import Simulation, simulate
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.evaluate.metrics import accuracy
from hydrarec.files import write_json
from hydrarec.progress import Progress
from hydrarec.recommender import Recommender
from hydrarec.train.settings import resolve
from hydrarec.train.train import train

MODELS = ("popularity", "markov", "itemknn", "hydra")
SHOWN = ("HR@10", "NDCG@10")
_MARK = "demo.json"  # only a folder with this file is ever replaced
# Many small steps at a high rate: what two cores can learn in two minutes.
_HYDRA = (
    "model.dropout=0.05",
    "train.epochs=12",
    "train.patience=0",
    "train.batch_events=1024",
    "train.lr=6e-3",
    "train.max_len=100",
)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo found.

    Attributes:
        run: Hydra's run folder.
        table: metrics of each model on the test split.
        oracle: the same of the process that made the events: no model can do better on average.
        seconds: all of it, simulation included.
    """

    run: Path
    dataset: Dataset
    protocol: Protocol
    table: dict[str, dict[str, float]]
    oracle: dict[str, float]
    seconds: float


def run_demo(out: Path, *, seed: int = 1, progress: Progress, log: Callable[[str], None] = lambda line: None) -> Demo:
    """Simulate a shop into ``out/shop``, train every model into ``out/MODEL``, and measure all of them.

    Raises:
        InputError: ``out`` exists and is not an earlier demo.
    """
    began = time.monotonic()
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise InputError(f"{out} exists and is no earlier demo; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / _MARK, {"seed": seed})

    protocol = Protocol.named("time", cutoffs=(1, 5, 10, 50))
    log("simulating a shop")
    shop = simulate(seed=seed)
    dataset = shop.dataset(protocol)
    dataset.save(out / "shop")
    dataset = Dataset.open(out / "shop")
    log(f"{dataset.n_users:,} users, {dataset.n_items:,} items, {dataset.n_events:,} events")

    table = {}
    for name in MODELS:
        log(f"training {name}")
        settings, _ = resolve(model=name, overrides=_HYDRA if name == "hydra" else (), seed=seed)
        run = train(dataset, out / name, settings, protocol, progress=progress)
        table[name] = {metric: run.metrics["test"]["metrics"][metric] for metric in SHOWN}
    oracle = best_possible(shop, split(dataset, protocol).test, protocol)
    return Demo(
        run=out / "hydra",
        dataset=dataset,
        protocol=protocol,
        table=table,
        oracle=oracle,
        seconds=time.monotonic() - began,
    )


def best_possible(shop: Simulation, positions: np.ndarray, protocol: Protocol) -> dict[str, float]:
    """Metrics of ranking by the true probabilities at these event positions."""
    values = accuracy(shop.greater[positions], shop.ties[positions], protocol.cutoffs)
    return {name: float(values[name].mean()) for name in SHOWN}


def examples(demo: Demo, count: int = 5, events: int = 6, k: int = 5, seed: int = 0) -> list[dict[str, Any]]:
    """A few users' last events and what Hydra recommends next, by title."""
    recommender = Recommender.load(demo.run)
    ids = demo.dataset.user_table["user"].to_pylist()
    rows = np.random.default_rng(seed).choice(len(ids), count, replace=False)
    users = [ids[row] for row in rows]
    answer = recommender.recommend(users=users, k=k).to_pylist()
    titles = demo.dataset.item_table["title"].to_pylist()
    found = []
    for row, user in zip(rows, users, strict=True):
        end = demo.dataset.offsets[row + 1]
        last = demo.dataset.items[max(end - events, demo.dataset.offsets[row]) : end]
        found.append(
            {
                "user": user,
                "history": [titles[item] for item in last],
                "recommended": recommender.titles([each["item"] for each in answer if each["user"] == user]),
            }
        )
    return found
