"""Queries laid out as packed batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset


@dataclass(frozen=True, kw_only=True)
class Query:
    """B queries: which of all they are, what is asked, and what the model is given.

    Attributes:
        rows: (B,) places among the positions asked for.
        batch: the last events before each target, oldest first.
        targets: (B,) int64 item rows.
        seen: (query row, item row) int64 pairs of the whole history, cut to length or not.
    """

    rows: np.ndarray
    batch: Batch
    targets: Tensor
    seen: tuple[Tensor, Tensor]


def users_of(dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    """(Q,) user row of each event position."""
    owners: np.ndarray = np.searchsorted(np.asarray(dataset.offsets), positions, side="right") - 1
    return owners


def queries(
    dataset: Dataset, positions: np.ndarray, *, max_len: int, batch_events: int, batch_queries: int
) -> Iterator[Query]:
    """Batches of histories of about equal length, longest first, so that a lack of memory shows at once.

    Args:
        positions: (Q,) absolute positions of the targets.
        max_len: events of each history that the model sees, the last ones; 0 is all.
        batch_events: events in a batch; a longer history has a batch of its own.
        batch_queries: most queries in a batch.
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
            batch=_pack(dataset, firsts[rows], positions[rows]),
            targets=torch.from_numpy(np.asarray(dataset.items)[positions[rows]].astype(np.int64)),
            seen=_seen(dataset, starts[rows], positions[rows]),
        )


def _places(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions ``starts[b]:ends[b]`` end to end, and the offsets (B+1,) of each b."""
    offsets = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64)
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], np.diff(offsets))
    return places, offsets


def _pack(dataset: Dataset, starts: np.ndarray, ends: np.ndarray) -> Batch:
    places, offsets = _places(starts, ends)
    return Batch(
        items=torch.from_numpy(np.asarray(dataset.items)[places].astype(np.int64)),
        times=torch.from_numpy(np.asarray(dataset.times)[places]),
        offsets=torch.from_numpy(offsets),
        columns={name: torch.from_numpy(np.asarray(c)[places]) for name, c in dataset.columns.items()},
    )


def _seen(dataset: Dataset, starts: np.ndarray, ends: np.ndarray) -> tuple[Tensor, Tensor]:
    places, offsets = _places(starts, ends)
    rows = np.repeat(np.arange(len(starts)), np.diff(offsets))
    return torch.from_numpy(rows), torch.from_numpy(np.asarray(dataset.items)[places].astype(np.int64))
