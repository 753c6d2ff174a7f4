"""The best items for hidden states, each with conditions of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hydrarec.items.rows import RowEncoder
from hydrarec.models.neural import NeuralModel
from hydrarec.retrieve.exact import top_k

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What one answer may hold.

    Attributes:
        k: items at most.
        allowed: (n,) int64, the only rows; None: all. Answers that share one object are ranked together.
        denied: (n,) int64, rows to leave out.
    """

    k: int
    allowed: Tensor | None
    denied: np.ndarray


class Ranking:
    """Scores as ``NeuralModel.score_hidden`` has them, against a catalog that is normalised once.

    It never changes; another one takes its place when items come or go.

    Args:
        vectors: (V, d), ``model.catalog()``; None for tables that are smaller than their vectors in float32, which stay
            as they are, and are read for every answer.
        removed: (r,) int64, rows that are never among the best.
    """

    def __init__(self, model: NeuralModel, vectors: Tensor | None, removed: np.ndarray = _NONE) -> None:
        self._model, self._vectors, self._removed = model, vectors, torch.from_numpy(removed)

    @classmethod
    @torch.inference_mode()
    def of(cls, model: NeuralModel) -> Self:
        return cls(model, None if isinstance(model.items, RowEncoder) else model.catalog())

    @torch.inference_mode()
    def changed(self, rows: np.ndarray, removed: np.ndarray) -> "Ranking":
        """The same with the model's vectors of ``rows`` (n,), new ones at the end among them."""
        if self._vectors is None or not len(rows):
            return Ranking(self._model, self._vectors, removed)
        vectors = self._vectors.new_empty(self._model.n_items, self._vectors.shape[1])
        vectors[: len(self._vectors)] = self._vectors
        chosen = torch.from_numpy(rows)
        vectors[chosen] = self._model.vectors(chosen)
        return Ranking(self._model, vectors, removed)

    @torch.inference_mode()
    def best(self, hidden: Tensor, conditions: Sequence[Conditions]) -> list[tuple[list[int], list[float]]]:
        """Rows and scores, best first, for each of hidden (U, d); fewer than k where fewer items are allowed."""
        n_items = self._model.n_items if self._vectors is None else len(self._vectors)
        result: list[tuple[list[int], list[float]]] = [([], [])] * len(conditions)
        groups: dict[int, list[int]] = {}
        for place, each in enumerate(conditions):
            groups.setdefault(id(each.allowed), []).append(place)
        for places in groups.values():
            chosen = [conditions[place] for place in places]
            owners = np.repeat(np.arange(len(chosen)), [len(each.denied) for each in chosen])
            denied = np.concatenate([each.denied for each in chosen])
            rows, scores = top_k(
                self._scores(hidden[torch.tensor(places)]),
                len(chosen),
                min(max(each.k for each in chosen), n_items),
                n_items=n_items,
                seen=(torch.from_numpy(owners), torch.from_numpy(denied)) if len(denied) else None,
                candidates=chosen[0].allowed,
            )
            for place, each, best, score in zip(places, chosen, rows.tolist(), scores.tolist(), strict=True):
                found = sum(row >= 0 for row in best[: each.k])
                result[place] = best[:found], score[:found]
        return result

    def _scores(self, hidden: Tensor) -> Iterator[tuple[int, Tensor]]:
        queries = self._model.queries(hidden) * self._model.scale
        for first, vectors in self._chunks():
            here = self._removed[(self._removed >= first) & (self._removed < first + len(vectors))]
            yield first, (queries @ vectors.T).index_fill_(1, here - first, -torch.inf)

    def _chunks(self) -> Iterator[tuple[int, Tensor]]:
        if self._vectors is None:
            yield from self._model.chunks()
        else:
            size = self._model.chunk_items
            yield from zip(range(0, len(self._vectors), size), self._vectors.split(size), strict=True)
