"""Measure RecTools' scores with our evaluator, and write the result file of a comparison.

    python benchmarks/rectools/score.py DATASET runs/rectools/ml-1m-hstu/hstu-1 --data ml-1m

writes ``results/ml-1m-hstu/rectools-hstu-1.json``, of the shape that ``hydrarec compare`` gives its files.
"""

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from hydrarec.compare.record import of_queries
from hydrarec.data.batch import Batch
from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import stretch_batch
from hydrarec.errors import InputError
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.evaluate.queries import users_of
from hydrarec.files import read_json, write_json
from hydrarec.machine import machine
from hydrarec.models.contract import Model


@dataclass(frozen=True, kw_only=True)
class ScoredConfig:
    """``sees_request_time``: of the model that gave the scores."""

    sees_request_time: bool = False


class Scored(Model):
    """Scores that another program gave, found again by what the history holds and when it is asked."""

    name = "scored"
    config: ScoredConfig

    def __init__(self, config: ScoredConfig, scores: Tensor, histories: Tensor) -> None:
        """``scores`` (Q, I) float32; ``histories`` (Q,) int64: the digest of each, see ``digests``."""
        self.config = config
        self.n_items = scores.shape[1]
        self.scores, self.histories = scores, histories
        self.rows = {digest: row for row, digest in enumerate(histories.tolist())}

    @classmethod
    def of(cls, config: ScoredConfig, dataset: Dataset, positions: np.ndarray, scores: np.ndarray) -> Self:
        """``scores`` (Q, I) of the targets at ``positions`` (Q,)."""
        starts = np.asarray(dataset.offsets)[users_of(dataset, positions)]
        found: list[int] = []
        for first in range(0, len(positions), 1024):
            part = slice(first, first + 1024)
            found += digests(stretch_batch(dataset, starts[part], positions[part]))
        return cls(config, torch.from_numpy(scores), torch.tensor(found, dtype=torch.int64))

    @property
    def sees_request_time(self) -> bool:
        return self.config.sees_request_time

    def score(self, batch: Batch) -> Iterator[tuple[int, Tensor]]:
        yield 0, self.scores[[self.rows[digest] for digest in digests(batch)]]

    def tensors(self) -> dict[str, Tensor]:
        return {"scores": self.scores, "histories": self.histories}

    @classmethod
    def from_tensors(cls, config: ScoredConfig, n_items: int, tensors: dict[str, Tensor]) -> Self:
        return cls(config, tensors["scores"], tensors["histories"])


def digests(batch: Batch) -> list[int]:
    """A number for each whole history: its items, its times and when it is asked."""
    events = torch.stack([batch.items, batch.times, batch.request_times], 1).numpy()
    bounds = batch.offsets.tolist()
    found = []
    for first, end in pairwise(bounds):
        own = np.append(events[first:end, :2].ravel(), events[end - 1, 2])
        found.append(int.from_bytes(hashlib.blake2b(own.tobytes(), digest_size=8).digest(), "little", signed=True))
    return found


def result(dataset: Dataset, run: Path, data: str) -> dict[str, Any]:
    """The result file of a folder that ``train.py`` has finished; see ``hydrarec.compare.record``.

    ``rectools`` holds what that has no place for: versions, and the curve of its own validation.

    Raises:
        InputError: training is not finished, or saw other data.
    """
    facts = read_json(run / "run.json", remedy="run train.py until it ends")
    order, export = facts["order"], facts["order"]["export"]
    if export["fingerprint"] != dataset.fingerprint:
        raise InputError(f"{run} was made from other data than {dataset.path}; name that")
    protocol = Protocol.from_dict(export["protocol"])
    parts = split(dataset, protocol)
    scores = np.load(run / "scores.npy", mmap_mode="c")
    if scores.shape != (len(parts.test), dataset.n_items):
        raise InputError(f"{run / 'scores.npy'} is {scores.shape}, not {(len(parts.test), dataset.n_items)}")
    model = Scored.of(ScoredConfig(sees_request_time=facts["sees_request_time"]), dataset, parts.test, scores)
    measured = evaluate(model, dataset, parts.test, protocol=protocol, train_ends=parts.train_ends, seed=order["seed"])
    return {
        "table": f"{data}-{protocol.split}",
        "model": f"rectools-{order['model']}",
        "dataset": data,
        "point": [],
        "commit": f"rectools-{facts['versions']['rectools']}",
        "run": str(run),
        "protocol": protocol.split,
        "parameters": facts["parameters"],
        "item_bytes": 4 * facts["parameters"]["items"],
        "peak_memory_bytes": facts["peak_memory_bytes"],
        "epochs": facts["epochs"],
        "fingerprint": dataset.fingerprint,
        "seed": order["seed"],
        "machine": machine() | facts["machine"],
        **costs(facts, len(parts.valid) > 0),
        "cost": {
            "seconds": facts["curve"][-1]["seconds"],
            "tokens_forward": 0,
            "tokens_backward": 0,
            "flops": None,  # nobody counted them
            "trainable_parameters": sum(facts["parameters"].values()),
            "stored_parameters": sum(facts["parameters"].values()),
            "peak_memory_bytes": facts["peak_memory_bytes"],
        },
        "sees_request_time": facts["sees_request_time"],
        "protocol_fields": protocol.to_dict(),
        "recipe": {"model": {"name": order["model"], **order["settings"]}, "train": {"epochs": order["epochs"]}},
        "form": 1,
        "data": {"users": dataset.n_users, "items": dataset.n_items, "events": dataset.n_events},
        **measured.to_dict(),
        **of_queries(measured.greater, measured.ties),
        "query_users": None,
        "part": "test",
        "rectools": {name: facts[name] for name in ("versions", "curve")},
    }


def costs(facts: dict[str, Any], validates: bool) -> dict[str, Any]:
    """What training took, and validation where the protocol has one: elsewhere the curve is of training events."""
    curve, last = facts["curve"], facts["curve"][-1]
    best = curve[facts["best_epoch"] - 1]
    events = facts["events_an_epoch"]
    return {
        "best_epoch": best["epoch"],
        "seconds": last["seconds"],
        "cpu_seconds": last["cpu_seconds"],
        "seconds_to_best": best["seconds"],
        "cpu_seconds_to_best": best["cpu_seconds"],
        "events": events * last["epoch"],
        "events_to_best": events * best["epoch"],
        "events_per_second": events * last["epoch"] / max(last["seconds"] - last["validating"], 1e-9),
        "validation": {"NDCG@10": best["NDCG@10"]} if validates else None,
        "curve": [[each[name] for name in ("epoch", "NDCG@10", "seconds", "cpu_seconds")] for each in curve]
        if validates
        else [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="the folder that export.py read")
    parser.add_argument("run", type=Path, help="the folder that train.py wrote")
    parser.add_argument("--data", required=True, help="name of the data set: results are in NAME-PROTOCOL")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    found = result(Dataset.open(given.dataset), given.run, given.data)
    file = given.results / found["table"] / f"{found['model']}-{found['seed']}.json"
    write_json(file, found)
    print(
        file, {name: round(found["metrics"][name], 4) for name in ("HR@10", "NDCG@10", "HR@50", "HR@200", "NDCG@200")}
    )


if __name__ == "__main__":
    main()
