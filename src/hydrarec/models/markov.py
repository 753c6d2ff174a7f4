"""First-order Markov chain: what follows the last item."""

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


@dataclass(frozen=True, kw_only=True)
class MarkovConfig:
    """First-order Markov chain.

    Attributes:
        smoothing: weight of the popularity, in events, against the counts that follow an item (a Dirichlet prior).
    """

    smoothing: float = 10.0

    def __post_init__(self) -> None:
        if not self.smoothing >= 0:
            raise InputError(f"smoothing must not be negative, not {self.smoothing}")


class Markov(CountModel):
    """P(next | last) = (count(last, next) + smoothing P(next)) / (count(last) + smoothing).

    The counts are kept as compressed rows: item i is followed by ``following[starts[i]:starts[i+1]]``.
    """

    name = "markov"

    def __init__(self, config: MarkovConfig, tensors: dict[str, Tensor]) -> None:
        self.config = config
        self.starts, self.following = tensors["starts"], tensors["following"]
        self.counts, self.popularity = tensors["counts"], tensors["popularity"]
        self.n_items = self.popularity.numel()

    @classmethod
    def fit(cls, config: MarkovConfig, dataset: Dataset, split: Split) -> Self:
        """Count the steps from one training event of a user to the next."""
        items, _, offsets = training_events(dataset, split.train_ends)
        n_items = dataset.n_items
        follows = np.ones(len(items), bool)
        follows[offsets[:-1][np.diff(offsets) > 0]] = False  # first events follow nothing
        after = np.flatnonzero(follows)
        steps, counts = np.unique(items[after - 1] * n_items + items[after], return_counts=True)
        popularity = np.bincount(items, minlength=n_items) / max(len(items), 1)
        tensors = {
            "starts": np.searchsorted(steps, np.arange(n_items + 1) * n_items),
            "following": steps % max(n_items, 1),
            "counts": counts.astype(np.float32),
            "popularity": popularity.astype(np.float32),
        }
        return cls(config, {name: torch.from_numpy(array) for name, array in tensors.items()})

    def score(self, batch: Batch) -> Iterator[tuple[int, Tensor]]:
        batch = batch.to("cpu")  # where the counts are
        some = (batch.lengths > 0).nonzero()[:, 0]
        last = batch.items[batch.last[some]]
        lengths = self.starts[last + 1] - self.starts[last]
        rows = torch.repeat_interleave(some, lengths)
        # Places of all the last items' rows, end to end.
        before = torch.repeat_interleave(lengths.cumsum(0) - lengths - self.starts[last], lengths)
        places = torch.arange(len(rows)) - before
        scores = (self.config.smoothing * self.popularity).repeat(batch.n_users, 1)  # (B, I)
        scores[rows, self.following[places]] += self.counts[places]
        total = torch.full((batch.n_users,), float(self.config.smoothing))
        total.index_add_(0, rows, self.counts[places])
        yield 0, scores / total.clamp(min=1e-12)[:, None]

    def tensors(self) -> dict[str, Tensor]:
        return {
            "starts": self.starts,
            "following": self.following,
            "counts": self.counts,
            "popularity": self.popularity,
        }

    @classmethod
    def from_tensors(cls, config: MarkovConfig, n_items: int, tensors: dict[str, Tensor]) -> Self:
        return cls(config, tensors)
