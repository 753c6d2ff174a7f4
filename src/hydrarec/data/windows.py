"""Training windows: stretches of histories, and the packed batches made of them. Nothing is copied per prefix."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import places, stretch_batch

WindowChoice = Literal["last", "all"]


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


def windows(dataset: Dataset, train_ends: np.ndarray, max_len: int, choice: WindowChoice) -> Windows:
    """Cut the training part of each history into windows of at most ``max_len`` inputs, the last one full.

    Args:
        train_ends: (U,) int64, where the training part of each history ends.
        max_len: inputs of a window; 0 takes whole histories.
        choice: only the ``last`` window of a history, or ``all``.
    """
    starts = dataset.offsets[:-1]
    pairs = np.maximum(train_ends - starts - 1, 0)  # (input, target) pairs of each history
    length = max_len or max(int(pairs.max(initial=0)), 1)
    counts = -(-pairs // length)
    if choice == "last":
        counts = np.minimum(counts, 1)
    user = np.repeat(np.arange(len(starts)), counts)
    back = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)  # 0 is the last window
    end = train_ends[user] - back * length
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
        order = np.random.default_rng([seed, epoch]).permutation(len(source.first))
        self._dataset = dataset
        self._windows = Windows(first=source.first[order], end=source.end[order])
        self._runs = fill(self._windows.inputs, batch_events)

    def __len__(self) -> int:
        return len(self._runs)

    def start_at(self, index: int) -> Iterator[Batch]:
        for run in self._runs[index:]:
            chosen = Windows(first=self._windows.first[run], end=self._windows.end[run])
            yield window_batch(self._dataset, chosen)
