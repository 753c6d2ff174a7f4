"""Training windows: stretches of histories, and the packed batches made of them. Nothing is copied per prefix."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import places, stretch_batch

WindowChoice = Literal["last", "all", "carried"]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """W stretches ``first[w]:end[w]`` of the packed events; each event predicts the one after it.

    Attributes:
        first: (W,) int64.
        end: (W,) int64, at least first + 2: one input and one target.
    """

    first: np.ndarray
    end: np.ndarray

    @property
    def inputs(self) -> np.ndarray:
        """(W,) input events of each window."""
        inputs: np.ndarray = self.end - self.first - 1
        return inputs

    def take(self, chosen: np.ndarray) -> "Windows":
        """The windows of these numbers (n,) int64, in their order."""
        return Windows(first=self.first[chosen], end=self.end[chosen])


def windows(
    dataset: Dataset, train_ends: np.ndarray, max_len: int, choice: WindowChoice, fresh: np.ndarray | None = None
) -> Windows:
    """Cut the training part of each history into windows of at most ``max_len`` inputs.

    Args:
        train_ends: (U,) int64, where the training part of each history ends.
        max_len: inputs of a window; 0 takes whole histories.
        choice: only the ``last`` window of a history, or ``all``, the last of them full; or ``carried``: all, the first
            of them full, in their order.
        fresh: (U,) int64, so many of the last events of each training part must be targets, and windows without any of
            them are left out; None: all. Not for ``carried`` ones.
    """
    starts = np.asarray(dataset.offsets)[:-1]
    pairs = np.maximum(train_ends - starts - 1, 0)  # (input, target) pairs of each history
    length = max_len or max(int(pairs.max(initial=0)), 1)
    counts = -(-(pairs if fresh is None else np.minimum(pairs, fresh)) // length)
    if choice == "last":
        counts = np.minimum(counts, 1)
    user = np.repeat(np.arange(len(starts)), counts)
    number = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)  # of each window in its history
    if choice == "carried":
        first = starts[user] + number * length
        end = np.minimum(first + length + 1, train_ends[user])
    else:  # number 0 is the last one
        end = train_ends[user] - number * length
        first = np.maximum(end - 1 - length, starts[user])
    return Windows(first=first.astype(np.int64), end=end.astype(np.int64))


def window_batch(dataset: Dataset, chosen: Windows) -> Batch:
    """The packed inputs of some windows, their targets as the column ``targets``."""
    inputs = stretch_batch(dataset, chosen.first, chosen.end - 1)
    following, _ = places(chosen.first + 1, chosen.end)
    targets = torch.from_numpy(np.asarray(dataset.items)[following].astype(np.int64))
    return replace(inputs, columns={**inputs.columns, "targets": targets})


def fill(sizes: np.ndarray, batch_events: int) -> list[slice]:
    """Cut a sequence of windows into runs of at most ``batch_events`` events (one window at least)."""
    total = np.cumsum(sizes)
    runs, start = [], 0
    while start < len(sizes):
        before = total[start - 1] if start else 0
        stop = max(int(np.searchsorted(total, before + batch_events, side="right")), start + 1)
        runs.append(slice(start, stop))
        start = stop
    return runs


class EpochBatches:
    """The batches of one epoch, in an order that ``seed`` and ``epoch`` alone decide, from any batch on."""

    def __init__(self, dataset: Dataset, source: Windows, batch_events: int, seed: int, epoch: int) -> None:
        self._dataset, self._windows = dataset, source
        order = np.random.default_rng([seed, epoch]).permutation(len(source.first))
        self._plan = [order[run] for run in fill(source.inputs[order], batch_events)]

    def __len__(self) -> int:
        return len(self._plan)

    def start_at(self, index: int) -> Iterator[Batch]:
        for chosen in self._plan[index:]:
            yield window_batch(self._dataset, self._windows.take(chosen))

    def chosen(self, index: int) -> np.ndarray:
        """(B,) int64, the windows of a batch."""
        return self._plan[index]
