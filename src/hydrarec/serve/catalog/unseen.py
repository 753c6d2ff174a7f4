"""The best items without those that users have events of, in a time that does not grow with their histories.

The store is asked about what would be recommended, and not the ranking about all that a user has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from hydrarec.serve.catalog.catalog import Catalog
from hydrarec.serve.catalog.ranking import Answers, Conditions, Ranking
from hydrarec.serve.stores.contract import Store

_MORE = 64  # items than are wanted, at first
_MOST = 4_096  # asked about; beyond them a history is read whole
_SHORT = 256  # events: such a history is read whole at once


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Conditions of an answer, and the user whose items are left out besides; None: nobody's."""

    conditions: Conditions
    user: str | None = None
    events: int = 0


class Unseen:
    """Args:
    ranking: of all items of ``catalog``.
    store: of the users.
    """

    def __init__(self, ranking: Ranking, catalog: Catalog, store: Store) -> None:
        self._ranking, self._catalog, self._store = ranking, catalog, store

    def best(self, hidden: Tensor, asked: Sequence[Asked]) -> list[Answers]:
        """Rows and scores, best first, for each of hidden (U, d); fewer than k where fewer items are left."""
        answers: list[Answers] = [([], [])] * len(asked)
        left, more = list(range(len(asked))), _MORE
        while left:
            deep = [self._deep(asked[place], more) for place in left]
            found = self._ranking.best(hidden[left], deep)
            short = []
            for place, conditions, answer in zip(left, deep, found, strict=True):
                k = asked[place].conditions.k
                rows, scores = self._unseen(asked[place].user, answer) if conditions.k > k else answer
                if len(rows) < k < conditions.k == len(answer[0]):  # there may be more
                    short.append(place)
                answers[place] = rows[:k], scores[:k]
            left, more = short, 4 * more
        return answers

    def _deep(self, asked: Asked, more: int) -> Conditions:
        """For so many more items that enough should be left; or for those that are left without what was seen."""
        if asked.user is None:
            return asked.conditions
        if asked.events > _SHORT and more <= _MOST:
            return replace(asked.conditions, k=asked.conditions.k + more)
        rows = self._catalog.rows(self._store.seen(asked.user))
        return replace(asked.conditions, denied=np.union1d(asked.conditions.denied, rows[rows >= 0]))

    def _unseen(self, user: str | None, answer: Answers) -> Answers:
        ids = [str(self._catalog.ids[row]) for row in answer[0]]
        seen = self._store.seen_among(user or "", ids)
        places = [place for place, name in enumerate(ids) if name not in seen]
        return [answer[0][place] for place in places], [answer[1][place] for place in places]
