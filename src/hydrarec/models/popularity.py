"""Popularity: every history gets the same list."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.data.prefix import training_events
from hydrarec.data.split import Split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.models.contract import CountModel

_DAY = 86400
_EARLIEST = np.iinfo(np.int64).min  # of no events, whose weights nobody reads


@dataclass(frozen=True, kw_only=True)
class PopularityConfig:
    """All-time popularity.

    Attributes:
        half_life_days: an event this many days before the last training event counts half; 0 counts all alike.
    """

    half_life_days: float = 0.0

    def __post_init__(self) -> None:
        if not self.half_life_days >= 0:
            raise InputError(f"half_life_days must not be negative, not {self.half_life_days}")


@dataclass(frozen=True, kw_only=True)
class RecentConfig(PopularityConfig):
    """Recent popularity."""

    half_life_days: float = 30.0


class Popularity(CountModel):
    """An item's score is its number of training events, old ones counting less if a half-life is given."""

    name = "popularity"

    def __init__(self, config: PopularityConfig, counts: Tensor) -> None:
        self.config = config
        self.n_items = counts.numel()
        self.counts = counts

    @classmethod
    def fit(cls, config: PopularityConfig, dataset: Dataset, split: Split) -> Self:
        """Count the training events.

        Raises:
            InputError: a half-life is asked for, but the events have no time. (The place in a history does not
                stand in for it: histories of different users share no clock.)
        """
        items, times, _ = training_events(dataset, split.train_ends)
        weights = np.ones(len(items))
        if config.half_life_days > 0:
            if not dataset.has_times:
                raise InputError("recent popularity needs event times and the data set has none; use popularity")
            weights = np.exp2((times - times.max(initial=_EARLIEST)) / (_DAY * config.half_life_days))
        counts = np.bincount(items, weights, minlength=dataset.n_items)
        return cls(config, torch.from_numpy(counts.astype(np.float32)))

    def score(self, batch: Batch) -> Iterator[tuple[int, Tensor]]:
        yield 0, self.counts.expand(batch.n_users, -1)

    def tensors(self) -> dict[str, Tensor]:
        return {"counts": self.counts}

    @classmethod
    def from_tensors(cls, config: PopularityConfig, n_items: int, tensors: dict[str, Tensor]) -> Self:
        return cls(config, tensors["counts"])


class Recent(Popularity):
    """Popularity that forgets."""

    name = "recent"
