"""Queries laid out as packed batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import stretch_batch, stretch_pairs


@dataclass(frozen=True, kw_only=True)
class Query:
    """B queries: which of all they are, what is asked, and what the model is given.

    Attributes:
        rows: (B,) places among the positions asked for.
        batch: the last events before each target, oldest first.
        targets: (B,) int64 item rows.
        seen: (query row, item row) int64 pairs of the whole history, cut to length or not, if asked for.
    """

    rows: np.ndarray
    batch: Batch
    targets: Tensor
    seen: tuple[Tensor, Tensor] | None


def users_of(dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    """(Q,) user row of each event position."""
    owners: np.ndarray = np.searchsorted(np.asarray(dataset.offsets), positions, side="right") - 1
    return owners


def queries(
    dataset: Dataset, positions: np.ndarray, *, max_len: int, batch_events: int, batch_queries: int, with_seen: bool
) -> Iterator[Query]:
    """Batches of histories of about equal length, longest first, so that a lack of memory shows at once.

    Args:
        positions: (Q,) absolute positions of the targets.
        max_len: events of each history that the model sees, the last ones; 0 is all.
        batch_events: events in a batch; a longer history has a batch of its own.
        batch_queries: most queries in a batch.
        with_seen: whether to list the items seen.
    """
    starts = np.asarray(dataset.offsets)[users_of(dataset, positions)]
    firsts = np.maximum(starts, positions - max_len) if max_len else starts
    lengths = positions - firsts
    order = np.argsort(-lengths, kind="stable")
    done = 0
    while done < len(order):
        most = max(1, batch_events // max(1, int(lengths[order[done]])))
        rows = order[done : done + min(most, batch_queries)]
        done += len(rows)
        yield Query(
            rows=rows,
            batch=stretch_batch(dataset, firsts[rows], positions[rows]),
            targets=torch.from_numpy(np.asarray(dataset.items)[positions[rows]].astype(np.int64)),
            seen=stretch_pairs(np.asarray(dataset.items), starts[rows], positions[rows]) if with_seen else None,
        )
