"""What every item encoder offers: a vector for each row of the vocabulary."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn

from hydrarec.items.fallback import Fallback


class ItemEncoder(nn.Module, ABC):
    """Vectors of V items by row.

    Attributes:
        n_items: V.
        fallback: what histories read for items that training never saw; None: whatever vector these have.
        sharded: whether each process has some of the rows, and ``chunks`` gives these alone.
    """

    n_items: int
    sharded: bool = False

    def __init__(self) -> None:
        super().__init__()
        self.fallback: Fallback | None = None

    @abstractmethod
    def encode(self, rows: Tensor) -> Tensor:
        """Vectors of ``rows``: (n,) int64 -> (n, d), or (...) -> (..., d)."""

    def encode_history(self, rows: Tensor) -> Tensor:
        """The same for the items of histories, (n,) -> (n, d). Where there is a fallback, rows may go beyond V."""
        if self.fallback is None:
            return self.encode(rows)
        replaced: Tensor = self.fallback(self.encode(self.fallback.rows_of(rows)), rows)
        return replaced

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
