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


def share(sizes: np.ndarray, rank: int, world: int) -> slice:
    """What one of ``world`` processes takes of a sequence (n,): a run that weighs about as much as the others'."""
    total = np.cumsum(sizes)
    ends = total[-1] * np.arange(1, world) / world if len(sizes) else np.zeros(world - 1)
    cuts = [0, *np.searchsorted(total - sizes / 2, ends).tolist(), len(sizes)]
    return slice(cuts[rank], cuts[rank + 1])


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a process has of a batch.

    Attributes:
        everyone: (B,) int64, the windows of the batch.
        own: which of them are its own; none, where there are fewer than processes.
        events: of the whole batch; ``weight``: its own share of them.
    """

    everyone: np.ndarray
    own: slice
    events: int
    weight: float

    @property
    def chosen(self) -> np.ndarray:
        """(b,) its windows; the first of all, with weight 0, where it has none: every process goes through a step."""
        return self.everyone[self.own] if self.own.stop > self.own.start else self.everyone[:1]


class EpochBatches:
    """The batches of one epoch, in an order that ``seed`` and ``epoch`` alone decide, from any batch on.

    They are the same for any number of processes, which share each of them.
    """

    def __init__(
        self,
        dataset: Dataset,
        source: Windows,
        batch_events: int,
        seed: int,
        epoch: int,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._dataset, self._windows, self._rank, self._world = dataset, source, rank, world
        order = np.random.default_rng([seed, epoch]).permutation(len(source.first))
        self._plan = [order[run] for run in fill(source.inputs[order], batch_events)]

    def __len__(self) -> int:
        return len(self._plan)

    def start_at(self, index: int) -> Iterator[Batch]:
        """What this process has of each batch."""
        for number in range(index, len(self)):
            yield window_batch(self._dataset, self._windows.take(self.part(number).chosen))

    def part(self, index: int) -> Part:
        """Which windows these are."""
        everyone = self._plan[index]
        sizes = self._windows.inputs[everyone]
        own, events = share(sizes, self._rank, self._world), int(sizes.sum())
        return Part(everyone=everyone, own=own, events=events, weight=int(sizes[own].sum()) / events)

    def targets(self, index: int) -> np.ndarray:
        """(T,) int64, the targets of the whole batch, in its order."""
        chosen = self._windows.take(self._plan[index])
        following, _ = places(chosen.first + 1, chosen.end)
        targets: np.ndarray = np.asarray(self._dataset.items)[following].astype(np.int64)
        return targets
