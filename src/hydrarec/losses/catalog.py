"""The item vectors that a loss meets: all at hand, or given when they are asked for."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class ItemVectors(Protocol):
    """V item vectors, of which a loss reads those that it needs."""

    @property
    def n_items(self) -> int: ...

    def vectors(self, rows: Tensor) -> Tensor:
        """(n, d) vectors of these rows (n,) int64."""
        ...

    def catalog(self) -> Tensor:
        """(V, d) all of them."""
        ...


Catalog = Tensor | ItemVectors


@dataclass(frozen=True)
class Part:
    """Some of the items, by their places (m,) int64 rows of ``whole``: what a domain has of a catalog."""

    whole: ItemVectors
    rows: Tensor

    @property
    def n_items(self) -> int:
        return len(self.rows)

    def vectors(self, rows: Tensor) -> Tensor:
        return self.whole.vectors(self.rows[rows])

    def catalog(self) -> Tensor:
        return self.whole.vectors(self.rows)


def size(catalog: Catalog) -> int:
    """V."""
    return len(catalog) if isinstance(catalog, Tensor) else catalog.n_items


def whole(catalog: Catalog) -> Tensor:
    """(V, d) every vector."""
    return catalog if isinstance(catalog, Tensor) else catalog.catalog()


def few(catalog: Catalog, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors (n, d) that hold the targets (T,) and the negatives (N,), and the rows of both among them.

    Of a catalog that is asked, each row that occurs is read once.
    """
    if isinstance(catalog, Tensor):
        return catalog, targets, negatives
    distinct, places = torch.cat([targets, negatives]).unique(return_inverse=True)
    return catalog.vectors(distinct), places[: len(targets)], places[len(targets) :]
