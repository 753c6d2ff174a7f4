"""Negative items shared by all events of a batch, with what is needed to correct for how they were drawn."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Sampler(ABC):
    """Draws negatives for a batch.

    Attributes:
        negatives: how many are drawn (at most, where they come from the batch).
        generator: source of randomness; torch's global one when None.
    """

    def __init__(self, negatives: int, generator: torch.Generator | None = None) -> None:
        self.negatives = negatives
        self.generator = generator

    @abstractmethod
    def draw(self, targets: Tensor) -> Tensor:
        """(N,) int64 item rows, with repeats, for a batch with these ``targets`` (T,) int64."""

    @abstractmethod
    def expected(self, rows: Tensor, n: int) -> Tensor:
        """How often each of ``rows`` (k,) int64 is expected among ``n`` draws: (k,) float64."""

    def sample(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Draw negatives for a batch with these ``targets`` (T,) int64.

        A target may be among them; the losses leave it out for its own events.

        Returns:
            item rows (N,) int64, with repeats, and (N,) float32 logarithms of how often each of them is
            expected among N draws. Subtracting these from the logits is the logQ correction.
        """
        rows = self.draw(targets)
        return rows, self.expected(rows, len(rows)).log().float()


class Uniform(Sampler):
    """Every item alike, with replacement."""

    def __init__(self, n_items: int, negatives: int, generator: torch.Generator | None = None) -> None:
        super().__init__(negatives, generator)
        self.n_items = n_items

    def draw(self, targets: Tensor) -> Tensor:
        return torch.randint(self.n_items, (self.negatives,), generator=self.generator, device=targets.device)

    def expected(self, rows: Tensor, n: int) -> Tensor:
        return torch.full(rows.shape, n / self.n_items, dtype=torch.float64, device=rows.device)


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

    def draw(self, targets: Tensor) -> Tensor:
        # By the inverse of the distribution function: torch.multinomial ends at 2 ** 24 items.
        cumulative = self.cumulative.to(targets.device)
        draws = torch.rand(self.negatives, generator=self.generator, dtype=torch.float64, device=targets.device)
        return torch.searchsorted(cumulative, draws * cumulative[-1], right=True).clamp_(max=len(cumulative) - 1)

    def expected(self, rows: Tensor, n: int) -> Tensor:
        return n * self.probability.to(rows.device)[rows]


class InBatch(Sampler):
    """Targets of the same batch: all, or ``negatives`` of them without replacement where there are more.

    Args:
        counts: (V,) targets of each item, or in proportion to them: so an item is drawn.
    """

    def __init__(self, counts: Tensor, negatives: int, generator: torch.Generator | None = None) -> None:
        super().__init__(negatives, generator)
        self.probability = _probability(counts, 1.0)

    def draw(self, targets: Tensor) -> Tensor:
        if len(targets) <= self.negatives:
            return targets
        order = torch.randperm(len(targets), generator=self.generator, device=targets.device)
        return targets[order[: self.negatives]]

    def expected(self, rows: Tensor, n: int) -> Tensor:
        return n * self.probability.to(rows.device)[rows]


class Mixed(Sampler):
    """What two samplers draw, so that items that are rarely targets are negatives too (Yang et al. 2020, "Mixed
    Negative Sampling for Learning Two-tower Neural Networks in Recommendations").

    Of an item the sum is expected, whichever gave it: both could have.

    Args:
        one: may draw fewer than its ``negatives``. other: always draws as many.
    """

    def __init__(self, one: Sampler, other: Sampler) -> None:
        super().__init__(one.negatives + other.negatives)
        self.one, self.other = one, other

    def draw(self, targets: Tensor) -> Tensor:
        return torch.cat([self.one.draw(targets), self.other.draw(targets)])

    def expected(self, rows: Tensor, n: int) -> Tensor:
        of_other = min(self.other.negatives, n)
        return self.one.expected(rows, n - of_other) + self.other.expected(rows, of_other)


def _probability(counts: Tensor, smoothing: float) -> Tensor:
    weight = counts.double().clamp(min=1) ** smoothing
    return weight / weight.sum()
