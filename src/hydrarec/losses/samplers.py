"""Negative items shared by all events of a batch, with what is needed to correct for how they were drawn."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Sampler(ABC):
    """Draws negatives for a batch.

    Attributes:
        negatives: how many are drawn (at most, for ``InBatch``).
        generator: source of randomness; torch's global one when None.
    """

    def __init__(self, negatives: int, generator: torch.Generator | None = None) -> None:
        self.negatives = negatives
        self.generator = generator

    @abstractmethod
    def sample(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Draw negatives for a batch with these ``targets`` (T,) int64.

        A target may be among them; the losses leave it out for its own events.

        Returns:
            item rows (N,) int64, with repeats, and (N,) float32 logarithms of how often each of them is
            expected among N draws. Subtracting these from the logits is the logQ correction.
        """


class Uniform(Sampler):
    """Every item alike, with replacement."""

    def __init__(self, n_items: int, negatives: int, generator: torch.Generator | None = None) -> None:
        super().__init__(negatives, generator)
        self.n_items = n_items

    def sample(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        size = (self.negatives,)
        rows = torch.randint(self.n_items, size, generator=self.generator, device=targets.device)
        return rows, _log_expected(torch.full(size, 1 / self.n_items, device=targets.device))


class Popularity(Sampler):
    """In proportion to count ** smoothing, with replacement; an item without events counts as one with one.

    Args:
        counts: (V,) events of each item in the training part.
    """

    def __init__(
        self,
        counts: Tensor,
        negatives: int,
        smoothing: float = 0.75,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(negatives, generator)
        self.probability = _probability(counts, smoothing)
        self.cumulative = self.probability.cumsum(0)

    def sample(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        # By the inverse of the distribution function: torch.multinomial ends at 2 ** 24 items.
        cumulative = self.cumulative.to(targets.device)
        draws = torch.rand(self.negatives, generator=self.generator, dtype=torch.float64, device=targets.device)
        rows = torch.searchsorted(cumulative, draws * cumulative[-1], right=True).clamp_(max=len(cumulative) - 1)
        return rows, _log_expected(self.probability.to(targets.device)[rows])


class InBatch(Sampler):
    """Targets of the same batch: all, or ``negatives`` of them without replacement where there are more.

    Args:
        counts: (V,) events of each item in the training part: an item is drawn in proportion to them.
    """

    def __init__(self, counts: Tensor, negatives: int, generator: torch.Generator | None = None) -> None:
        super().__init__(negatives, generator)
        self.probability = _probability(counts, 1.0)

    def sample(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        rows = targets
        if len(targets) > self.negatives:
            order = torch.randperm(len(targets), generator=self.generator, device=targets.device)
            rows = targets[order[: self.negatives]]
        return rows, _log_expected(self.probability.to(targets.device)[rows])


def _probability(counts: Tensor, smoothing: float) -> Tensor:
    weight = counts.double().clamp(min=1) ** smoothing
    return weight / weight.sum()


def _log_expected(probability: Tensor) -> Tensor:
    """Of each of N draws the expected number of its item among the N."""
    return (probability * len(probability)).log().float()
