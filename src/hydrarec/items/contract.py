"""What every item encoder offers: a vector for each row of the vocabulary."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn


class ItemEncoder(nn.Module, ABC):
    """Vectors of V items by row.

    Attributes:
        n_items: V.
    """

    n_items: int

    @abstractmethod
    def encode(self, rows: Tensor) -> Tensor:
        """Vectors of ``rows``: (n,) int64 -> (n, d), or (...) -> (..., d)."""

    @abstractmethod
    def catalog(self) -> Tensor:
        """Vectors of every item, (V, d)."""

    def chunks(self, size: int = 65_536) -> Iterator[tuple[int, Tensor]]:
        """(first row, vectors (n, d)) of the whole catalog in order; an encoder that can makes no more at a time."""
        vectors = self.catalog()
        for first in range(0, self.n_items, size):
            yield first, vectors[first : first + size]

    @property
    def n_learned(self) -> int:
        """How many numbers training changes."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def stored_bytes(self) -> int:
        """What a saved model takes for the items, without optimiser state."""
        return sum(value.nbytes for value in self.state_dict().values())

    def forward(self, rows: Tensor) -> Tensor:
        return self.encode(rows)
