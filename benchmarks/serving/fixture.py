"""What the programs share: a run with a catalog of any size, a log to replay, a server process and its cost."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from hydrarec import Protocol, Recommender, prepare
from hydrarec.data.simulation.traffic import TrafficConfig, write_traffic
from hydrarec.progress import Silent

USERS = 200  # of the training data


def make_run(
    out: Path, *, n_items: int, layers: int = 2, time: bool = False, model: str = "hydra", length: int = 0
) -> Path:
    """A run of width 64 over items 1 to ``n_items``, trained as little as possible: speed depends on shapes alone.

    Args:
        length: events that a model with positions reads.
    """
    if (out / "metrics.json").exists():
        return out
    items = np.random.default_rng(0).permutation(n_items) + 1
    events = pa.table(
        {"user": np.arange(n_items) % USERS, "item": items, "time": 1_600_000_000 + 60 * np.arange(n_items)}
    )
    settings = {
        "model.d_model": 64,
        "model.n_layers": layers,
        "model.time": time,
        "train.epochs": 1,
        "train.windows": "last",
        "train.max_len": length or 20,
        "loss.kind": "sampled",
        "loss.negatives": 64,
    }
    if model == "hydra":
        settings |= {"train.max_len": 20}
    Recommender.fit(events, out=out, model=model, settings=settings, protocol=Protocol(split="loo"))
    return out


def make_log(out: Path, *, n_items: int, events: int = 300_000, users: int = 20_000) -> Path:
    """A data set to replay."""
    if not (out / "dataset.json").exists():
        table = out.with_suffix(".parquet")
        write_traffic(TrafficConfig(n_events=events, n_users=users, n_items=n_items), table, progress=Silent())
        prepare(table, out)
    return out
