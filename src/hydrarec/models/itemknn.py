"""Item-kNN: items that the same users choose, with BM25 weights."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.data.prefix import training_events
from hydrarec.data.split import Split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.models.contract import CountModel

_CELLS = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class ItemKNNConfig:
    """Item-kNN.

    Attributes:
        neighbours: most similar items kept for each item.
        similarity: ``dot`` product or ``cosine`` of two items' BM25-weighted columns of users.
        k1: BM25: how slowly repeats of an item by one user saturate.
        b: BM25: how far a user with a long history counts less, 0 to 1.
        decay: weight of a history's event against the one after it; 1 weighs the whole history alike.
    """

    neighbours: int = 100
    similarity: Literal["dot", "cosine"] = "dot"
    k1: float = 1.2
    b: float = 0.75
    decay: float = 0.5

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise InputError(f"neighbours must be at least 1, not {self.neighbours}")
        if not self.k1 >= 0:
            raise InputError(f"k1 must not be negative, not {self.k1}")
        for name in ("b", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in [0, 1], not {getattr(self, name)}")


class ItemKNN(CountModel):
    """score(i) = sum over the history's events j of decay^(events after j) * similarity(j, i).

    Weights: Robertson et al., "Okapi at TREC-3", 1994, with a user for the document and an item for the term. An
    item is not its own neighbour.
    """

    name = "itemknn"

    def __init__(self, config: ItemKNNConfig, neighbours: Tensor, similarities: Tensor) -> None:
        self.config = config
        self.n_items = neighbours.shape[0]
        self.neighbours, self.similarities = neighbours, similarities  # both (I, n)

    @classmethod
    def fit(cls, config: ItemKNNConfig, dataset: Dataset, split: Split) -> Self:
        """Find each item's neighbours; memory is the pairs of a block of items, never all pairs."""
        items, _, offsets = training_events(dataset, split.train_ends)
        n_users, n_items = dataset.n_users, dataset.n_items
        users = np.repeat(np.arange(n_users), np.diff(offsets))
        cells, counts = np.unique(users * n_items + items, return_counts=True)
        users, items = cells // n_items, cells % n_items
        weights = bm25(users, items, counts, n_users, n_items, k1=config.k1, b=config.b)
        if config.similarity == "cosine":
            norms = np.sqrt(np.bincount(items, weights**2, minlength=n_items))
            weights = weights / np.maximum(norms, 1e-12)[items]
        vectors = compressed(items, users, weights, (n_items, n_users))
        return cls(config, *nearest(vectors, compressed(users, items, weights, (n_users, n_items)), config.neighbours))

    def score(self, batch: Batch) -> Iterator[tuple[int, Tensor]]:
        batch = batch.to("cpu")  # where the neighbours are
        age = torch.repeat_interleave(batch.offsets[1:], batch.lengths) - 1 - torch.arange(len(batch.items))
        weights = self.config.decay ** age.float()
        rows = torch.repeat_interleave(torch.arange(batch.n_users), batch.lengths)
        scores = torch.zeros(batch.n_users * self.n_items)
        for start in range(0, len(rows), step := max(1, _CELLS // max(1, self.neighbours.shape[1]))):
            part = slice(start, start + step)
            items = batch.items[part]
            cells = rows[part, None] * self.n_items + self.neighbours[items]
            scores.index_add_(0, cells.flatten(), (weights[part, None] * self.similarities[items]).flatten())
        yield 0, scores.view(batch.n_users, self.n_items)

    def tensors(self) -> dict[str, Tensor]:
        return {"neighbours": self.neighbours, "similarities": self.similarities}

    @classmethod
    def from_tensors(cls, config: ItemKNNConfig, n_items: int, tensors: dict[str, Tensor]) -> Self:
        return cls(config, tensors["neighbours"], tensors["similarities"])


def bm25(
    users: np.ndarray,
    items: np.ndarray,
    counts: np.ndarray,
    n_users: int,
    n_items: int,
    *,
    k1: float,
    b: float,
) -> np.ndarray:
    """(P,) weight of each distinct (user, item) pair that occurs ``counts`` times; 0 for an item all users have."""
    frequency = np.bincount(items, minlength=n_items)
    rarity = np.log(n_users / np.maximum(frequency, 1))
    lengths = np.bincount(users, counts, minlength=n_users)
    usual = lengths.sum() / max(np.count_nonzero(lengths), 1)
    saturation = k1 * (1 - b + b * lengths / max(usual, 1))
    weights: np.ndarray = rarity[items] * counts * (k1 + 1) / (counts + saturation[users])
    return weights


def compressed(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """A sparse matrix in compressed rows, float32."""
    order = np.lexsort((columns, rows))
    starts = np.searchsorted(rows[order], np.arange(shape[0] + 1))
    return _matrix(
        torch.from_numpy(starts),
        torch.from_numpy(columns[order]),
        torch.from_numpy(values[order].astype(np.float32)),
        shape,
    )


def nearest(vectors: Tensor, transposed: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The n items (I, n) with the largest dot product to each item, and that product (I, n); 0 fills up.

    Args:
        vectors: (items, users) in compressed rows; transposed: the same as (users, items).
    """
    n_items, n_users = vectors.shape
    n = min(n, n_items)
    starts, columns, values = vectors.crow_indices(), vectors.col_indices(), vectors.values()
    neighbours = torch.zeros(n_items, n, dtype=torch.int64)
    similarities = torch.zeros(n_items, n)
    for first in range(0, n_items, step := max(1, _CELLS // n_items)):
        last = min(first + step, n_items)
        inside = slice(int(starts[first]), int(starts[last]))
        rows = starts[first : last + 1] - starts[first]
        block = _matrix(rows, columns[inside], values[inside], (last - first, n_users))
        products = torch.sparse.mm(block, transposed).to_dense()  # (last - first, I)
        products[torch.arange(last - first), torch.arange(first, last)] = 0
        similarities[first:last], neighbours[first:last] = products.topk(n, dim=1)
    return neighbours, similarities


def _matrix(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():  # torch calls this layout a beta; what is used of it is tested
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)
