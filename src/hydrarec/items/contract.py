"""What every item encoder offers: a vector for each row of the vocabulary."""

from abc import ABC, abstractmethod

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

    def forward(self, rows: Tensor) -> Tensor:
        return self.encode(rows)
