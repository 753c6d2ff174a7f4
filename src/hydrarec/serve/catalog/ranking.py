"""The best items for hidden states, each with conditions of its own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hydrarec.items.rows import RowEncoder
from hydrarec.models.neural import NeuralModel
from hydrarec.retrieve.exact import top_k
from hydrarec.retrieve.products import Products

_NONE = np.empty(0, np.int64)
_CHUNK = 262_144  # items scored at once: 64 MiB for as many requests as come in one batch
_FEW = 8  # fewer rows than one in so many are scored alone, without the others

Answers = tuple[list[int], list[float]]  # rows and scores, best first


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What one answer may hold.

    Attributes:
        k: items at most.
        allowed: (n,) int64, ascending, the only rows; None: all. Answers that share one object are ranked together.
        denied: (n,) int64, ascending, rows to leave out.
    """

    k: int
    allowed: Tensor | None
    denied: np.ndarray


class Ranking:
    """Scores as ``NeuralModel.score_hidden`` has them, against a catalog that is normalised once.

    It never changes; another one takes its place when items come or go.

    Attributes:
        n_items: V.
        vectors: (V, d), ``model.catalog()``; None for tables that are smaller than their vectors in float32, which stay
            as they are, and are read for every answer.
        removed: (r,) int64, rows that are never among the best.
        products: with a chunk of ``vectors`` each, and its first row; rankings of the same vectors share them.
    """

    def __init__(
        self,
        model: NeuralModel,
        vectors: Tensor | None,
        removed: np.ndarray = _NONE,
        products: Sequence[tuple[int, Products]] = (),
    ) -> None:
        self.model, self.vectors, self.removed = model, vectors, removed
        self.n_items = model.n_items if vectors is None else len(vectors)
        if vectors is not None and not products:
            products = [(first, Products(chunk)) for first, chunk in self.chunks()]
        self.products = products

    @classmethod
    @torch.inference_mode()
    def of(cls, model: NeuralModel) -> Self:
        return cls(model, None if isinstance(model.items, RowEncoder) else model.catalog())

    @torch.inference_mode()
    def changed(self, rows: np.ndarray, removed: np.ndarray) -> "Ranking":
        """The same with the model's vectors of ``rows`` (n,), new ones at the end among them."""
        if self.vectors is None or not len(rows):
            return Ranking(self.model, self.vectors, removed, self.products)
        vectors = self.vectors.new_empty(self.model.n_items, self.vectors.shape[1])
        vectors[: len(self.vectors)] = self.vectors
        chosen = torch.from_numpy(rows)
        vectors[chosen] = self.model.vectors(chosen)
        return Ranking(self.model, vectors, removed)

    def vectors_of(self, rows: Tensor) -> Tensor:
        """(..., d) float32, as they meet the queries, of ``rows`` (...)."""
        return self.model.vectors(rows) if self.vectors is None else self.vectors[rows]

    def chunks(self) -> Iterator[tuple[int, Tensor]]:
        """(first row, vectors (n, d)) of the catalog in order."""
        if self.vectors is None:
            yield from self.model.chunks()
        else:
            for first in range(0, self.n_items, _CHUNK):
                yield first, self.vectors[first : first + _CHUNK]

    @torch.inference_mode()
    def best(self, hidden: Tensor, conditions: Sequence[Conditions]) -> list[Answers]:
        """Rows and scores, best first, for each of hidden (U, d); fewer than k where fewer items are allowed."""
        result: list[Answers] = [([], [])] * len(conditions)
        groups: dict[int, list[int]] = {}
        for place, each in enumerate(conditions):
            groups.setdefault(id(each.allowed), []).append(place)
        for places in groups.values():
            chosen = [conditions[place] for place in places]
            rows, scores = self._ranked(hidden[torch.tensor(places)], chosen)
            for place, each, best, score in zip(places, chosen, rows.tolist(), scores.tolist(), strict=True):
                found = sum(row >= 0 for row in best[: each.k])
                result[place] = best[:found], score[:found]
        return result

    def _ranked(self, hidden: Tensor, chosen: Sequence[Conditions]) -> tuple[Tensor, Tensor]:
        """Rows and scores (n, k), -1 and -inf where there are no more, for conditions that share what is allowed."""
        allowed, denied = chosen[0].allowed, [each.denied for each in chosen]
        if allowed is None or len(allowed) * _FEW >= self.n_items:
            return _top(self._scores(hidden), chosen, denied, self.n_items, allowed)
        scores = (self.model.queries(hidden) * self.model.scale) @ self.vectors_of(allowed).T
        scores = scores.masked_fill_(torch.isin(allowed, torch.from_numpy(self.removed)), -torch.inf)
        denied = [places_in(each, allowed.numpy()) for each in denied]
        rows, scores = _top([(0, scores)], chosen, denied, len(allowed))
        return torch.where(rows < 0, rows, allowed[rows]), scores

    def _scores(self, hidden: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(first row, scores (U, n)) of the catalog in order."""
        queries, removed = self.model.queries(hidden) * self.model.scale, torch.from_numpy(self.removed)
        if self.vectors is None:
            chunks = ((first, queries @ vectors.T) for first, vectors in self.chunks())
        else:
            chunks = ((first, products(queries)) for first, products in self.products)
        for first, scores in chunks:
            here = removed[(removed >= first) & (removed < first + scores.shape[1])]
            yield first, scores.index_fill_(1, here - first, -torch.inf)


def _top(
    chunks: Iterable[tuple[int, Tensor]],
    chosen: Sequence[Conditions],
    denied: list[np.ndarray],
    n_items: int,
    candidates: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    owners = np.repeat(np.arange(len(chosen)), list(map(len, denied)))
    seen = (torch.from_numpy(owners), torch.from_numpy(np.concatenate(denied))) if len(owners) else None
    k = min(max(each.k for each in chosen), n_items)
    return top_k(chunks, len(chosen), k, n_items=n_items, seen=seen, candidates=candidates)


def places_in(rows: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Where those of ``rows`` (n,) that are in ``among`` (m,), both ascending, are in it: (n or fewer,) int64."""
    places = np.searchsorted(among, rows)
    found: np.ndarray = places[among[np.minimum(places, len(among) - 1)] == rows]
    return found
