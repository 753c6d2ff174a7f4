"""The best items of a large catalog: an index proposes, exact scores decide."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hydrarec.retrieve.approximate import Index
from hydrarec.retrieve.exact import top_k
from hydrarec.serve.catalog.ranking import Answers, Conditions, Ranking

_MORE = 2  # proposals for each item that is wanted
_LEAST, _MOST = 128, 4_096  # proposals; where more are needed every item is scored


class IndexedRanking(Ranking):
    """Answers from the proposals of an index where these suffice, and by scoring every item elsewhere.

    Items that came or changed since the index was built are scored for every answer, removed ones for none. An answer
    is short only if ``Ranking`` says that there are no more items.

    Args:
        exact: what it stands before.
        beside: (b,) int64, rows that came or changed since the index was built, ascending.
        recall: share of the best items that come, measured when the index was built.

    Attributes:
        beside: those rows, and those of items that were removed then and are back.
    """

    def __init__(self, exact: Ranking, index: Index, beside: np.ndarray, recall: float) -> None:
        super().__init__(exact.model, exact.vectors, exact.removed, exact.products)
        back = np.setdiff1d(index.left_out, exact.removed)
        self.index, self.beside, self.recall = index, np.union1d(beside, back), recall
        hidden = np.zeros(self.n_items, bool)
        hidden[exact.removed] = True
        hidden[self.beside] = True
        self._hidden = torch.from_numpy(hidden)  # of what the index proposes
        self._beside = torch.from_numpy(np.setdiff1d(self.beside, exact.removed))
        self._vectors_beside = self.vectors_of(self._beside)

    @property
    def stale(self) -> int:
        """How many items the index does not know as they are."""
        gone = np.setdiff1d(self.removed, np.union1d(self.index.left_out, self.beside))
        return len(self.beside) + len(gone)

    @torch.inference_mode()
    def changed(self, rows: np.ndarray, removed: np.ndarray) -> Ranking:
        exact = super().changed(rows, removed)
        return IndexedRanking(exact, self.index, np.union1d(self.beside, rows), self.recall)

    @torch.inference_mode()
    def best(self, hidden: Tensor, conditions: Sequence[Conditions]) -> list[Answers]:
        answers = self.found(hidden, conditions)
        # Short answers may be so because the index did not propose what there is.
        left = [place for place, each in enumerate(conditions) if len(answers[place][0]) < each.k]
        if left:
            exact = super().best(hidden[left], [conditions[place] for place in left])
            for place, answer in zip(left, exact, strict=True):
                answers[place] = answer
        return answers

    @torch.inference_mode()
    def found(self, hidden: Tensor, conditions: Sequence[Conditions]) -> list[Answers]:
        """As ``best``, by the index alone, whether or not there are more."""
        queries = self.model.queries(hidden)
        depths = np.array([self._depth(each) for each in conditions])
        answers: list[Answers] = [([], [])] * len(conditions)
        for depth in np.unique(depths[depths <= _MOST]).tolist():
            places = np.flatnonzero(depths == depth).tolist()
            proposed = self._proposed(queries[places], depth, [conditions[place] for place in places])
            for place, answer in zip(places, proposed, strict=True):
                answers[place] = answer
        return answers

    def _depth(self, conditions: Conditions) -> int:
        """How many proposals should leave enough, a power of two."""
        wanted = _MORE * (conditions.k + len(conditions.denied))
        if conditions.allowed is not None:
            wanted *= -(-self.n_items // max(1, len(conditions.allowed)))
        return 1 << (max(wanted, _LEAST) - 1).bit_length()

    def _proposed(self, queries: Tensor, depth: int, conditions: Sequence[Conditions]) -> list[Answers]:
        """The best of what the index and the items beside it have for each of ``queries`` (n, d)."""
        rows = self.index.search(queries, depth)  # (n, c)
        rows[self._hidden[rows]] = -1  # of no row the last one, which is no row again
        scores = torch.einsum("nd,ncd->nc", queries, self.vectors_of(rows.clamp(min=0)))
        if len(self._beside):
            among = queries @ self._vectors_beside.T
            best, columns = among.topk(min(depth, among.shape[1]), dim=1)
            rows, scores = torch.cat([rows, self._beside[columns]], 1), torch.cat([scores, best], 1)
        rows, order = rows.sort(dim=1)  # of equal scores the lower row comes first
        scores = (self.model.scale * scores.gather(1, order)).masked_fill(self._refused(rows, conditions), -torch.inf)
        most = min(max(each.k for each in conditions), rows.shape[1])
        columns, scores = top_k([(0, scores)], len(rows), most, n_items=rows.shape[1])
        answers = []
        for each, row, column, score in zip(conditions, rows, columns, scores, strict=True):
            count = min(each.k, int((column >= 0).sum()))
            answers.append((row[column[:count]].tolist(), score[:count].tolist()))
        return answers

    def _refused(self, rows: Tensor, conditions: Sequence[Conditions]) -> Tensor:
        """(n, c) bool, which of ``rows`` (n, c) are none, or may not be in the answer."""
        refused = rows < 0
        for place, each in enumerate(conditions):
            if len(each.denied):
                refused[place] |= _is_in(rows[place], torch.from_numpy(each.denied))
            if each.allowed is not None:
                refused[place] |= ~_is_in(rows[place], each.allowed)
        return refused


def _is_in(rows: Tensor, among: Tensor) -> Tensor:
    """(n,) bool, of ``rows`` (n,); ``among`` (m,) is ascending and has at least one."""
    return among[torch.searchsorted(among, rows).clamp(max=len(among) - 1)] == rows
