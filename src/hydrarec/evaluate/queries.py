"""Queries laid out as packed batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import stretch_batch


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Q queries to B histories.

    Attributes:
        rows: (Q,) places among the positions asked for.
        batch: what the model is given, oldest events first.
        after: (Q,) int64, place in the batch of the event that each query comes right after.
    """

    rows: np.ndarray
    batch: Batch
    after: Tensor


def users_of(dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    """(Q,) user row of each event position."""
    owners: np.ndarray = np.searchsorted(np.asarray(dataset.offsets), positions, side="right") - 1
    return owners


def queries(
    dataset: Dataset, positions: np.ndarray, *, max_len: int, batch_events: int, batch_queries: int
) -> Iterator[Queries]:
    """A history for each query. Those of a batch are about equally long, the longest come first.

    Args:
        positions: (Q,) absolute positions of the targets.
        max_len: events of each history that the model sees, the last ones; 0 is all.
        batch_events: events in a batch; a longer history has a batch of its own.
        batch_queries: most queries in a batch.
    """
    starts = np.asarray(dataset.offsets)[users_of(dataset, positions)]
    firsts = np.maximum(starts, positions - max_len) if max_len else starts
    for rows in _batches(positions - firsts, batch_events, batch_queries):
        batch = stretch_batch(dataset, firsts[rows], positions[rows])
        yield Queries(rows=rows, batch=batch, after=batch.last)


def shared_queries(dataset: Dataset, positions: np.ndarray, *, batch_events: int) -> Iterator[Queries]:
    """A whole history for each user, up to the last target: one pass over it answers all queries to that user."""
    owners = users_of(dataset, positions)
    by_user = np.lexsort((positions, owners))
    users, begins = np.unique(owners[by_user], return_index=True)
    upto = np.append(begins, len(positions))
    firsts, ends = np.asarray(dataset.offsets)[users], positions[by_user[upto[1:] - 1]]
    for chosen in _batches(ends - firsts, batch_events, len(users)):
        rows = np.concatenate([by_user[upto[i] : upto[i + 1]] for i in chosen])
        batch = stretch_batch(dataset, firsts[chosen], ends[chosen])
        # From places among all events to places in the batch.
        shift = np.repeat(batch.offsets[:-1].numpy() - firsts[chosen], np.diff(upto)[chosen])
        yield Queries(rows=rows, batch=batch, after=torch.from_numpy(positions[rows] - 1 + shift))


def _batches(lengths: np.ndarray, batch_events: int, most: int) -> Iterator[np.ndarray]:
    """Rows of histories of about equal length, longest first, so that a lack of memory shows at once."""
    order = np.argsort(-lengths, kind="stable")
    done = 0
    while done < len(order):
        fitting = max(1, batch_events // max(1, int(lengths[order[done]])))
        rows = order[done : done + min(fitting, most)]
        done += len(rows)
        yield rows
