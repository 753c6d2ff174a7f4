"""The baseline without training: what is called most like the items of the history."""

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor

from hydrarec.data.batch import Batch
from hydrarec.data.store import Dataset
from hydrarec.items.text.config import TextConfig
from hydrarec.items.text.source import TextSource
from hydrarec.models.contract import Model
from hydrarec.nn.norm import unit
from hydrarec.progress import Progress


class NearestTitle(Model):
    """An item's score is the cosine of its title's vector with the mean of those of the history, all of length 1.

    Args:
        vectors: (V, h), zeros for items without a title.
    """

    name = "nearest-title"
    config = None

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = unit(vectors)
        self.n_items = len(vectors)

    @classmethod
    def of(cls, dataset: Dataset, config: TextConfig, progress: Progress) -> Self:
        source = TextSource(config)
        texts, there = source.sentences(dataset.item_table)
        rows = source.texts.add(texts, progress)[there]
        found = torch.from_numpy(source.vectors.vectors(rows, progress))
        vectors = torch.zeros(dataset.n_items, found.shape[1])
        vectors[torch.from_numpy(there)] = found
        return cls(vectors)

    def score(self, batch: Batch) -> Iterator[tuple[int, Tensor]]:
        owners = torch.repeat_interleave(torch.arange(batch.n_users), batch.lengths)
        sums = torch.zeros(batch.n_users, self.vectors.shape[1]).index_add_(0, owners, self.vectors[batch.items])
        yield 0, unit(sums) @ self.vectors.T  # a sum points where the mean does

    def tensors(self) -> dict[str, Tensor]:
        return {"vectors": self.vectors}

    @classmethod
    def from_tensors(cls, config: Any, items: Any, tensors: dict[str, Tensor]) -> Self:
        return cls(tensors["vectors"])
