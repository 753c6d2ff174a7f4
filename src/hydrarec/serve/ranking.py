"""The best items for hidden states, each with conditions of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hydrarec.items.rows import RowEncoder
from hydrarec.models.neural import NeuralModel
from hydrarec.retrieve.exact import top_k


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

    Tables that are smaller than their vectors in float32 stay as they are, and are read for every answer.
    """

    @torch.inference_mode()
    def __init__(self, model: NeuralModel) -> None:
        self._model = model
        self._kept = None if isinstance(model.items, RowEncoder) else list(model.chunks())

    @torch.inference_mode()
    def best(self, hidden: Tensor, conditions: Sequence[Conditions]) -> list[tuple[list[int], list[float]]]:
        """Rows and scores, best first, for each of hidden (U, d); fewer than k where fewer items are allowed."""
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
                min(max(each.k for each in chosen), self._model.n_items),
                n_items=self._model.n_items,
                seen=(torch.from_numpy(owners), torch.from_numpy(denied)) if len(denied) else None,
                candidates=chosen[0].allowed,
            )
            for place, each, best, score in zip(places, chosen, rows.tolist(), scores.tolist(), strict=True):
                found = sum(row >= 0 for row in best[: each.k])
                result[place] = best[:found], score[:found]
        return result

    def _scores(self, hidden: Tensor) -> Iterator[tuple[int, Tensor]]:
        queries = self._model.queries(hidden) * self._model.scale
        for first, vectors in self._model.chunks() if self._kept is None else self._kept:
            yield first, queries @ vectors.T
