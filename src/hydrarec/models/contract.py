"""What every model offers, neural or not."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.data.split import Split
from hydrarec.data.store import Dataset


class Model(ABC):
    """A scorer of catalog items given histories.

    ``config`` is a frozen dataclass of plain values; ``tensors`` are all that was learned. Together they are the
    saved model: ``from_tensors(config, items, tensors)`` gives it back, given its item encoder, or the number of items.
    """

    name: ClassVar[str]
    config: Any
    n_items: int

    @property
    def sees_request_time(self) -> bool:
        """Whether scores depend on when they are asked (``Batch.request_times``): said wherever they are compared."""
        return False

    @abstractmethod
    def score(self, batch: Batch) -> Iterator[tuple[int, Tensor]]:
        """Score the catalog for each history of ``batch``.

        Yields:
            (first item row, scores (B, n) float32): chunks of the catalog, in order, that together cover every item.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All learned tensors by name."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, config: Any, items: Any, tensors: dict[str, Tensor]) -> Self:
        """Rebuild a model from what ``tensors`` gave."""


class CountModel(Model):
    """A model that is fitted by counting, in one call."""

    @classmethod
    @abstractmethod
    def fit(cls, config: Any, dataset: Dataset, split: Split) -> Self:
        """Count the training part of each history, ``offsets[u]:train_ends[u]``."""
