"""Which catalogs get an index, how it is built beside the answers, and how good it is."""

import time
from collections.abc import Callable
from threading import Event
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hydrarec.errors import HydrarecError, InputError
from hydrarec.progress import say
from hydrarec.retrieve.approximate import LEAST, Index, require_faiss
from hydrarec.serve.catalog.indexed import IndexedRanking
from hydrarec.serve.catalog.ranking import Answers, Conditions, Ranking

IndexChoice = Literal["auto", "exact", "faiss"]
WORTH = 200_000  # items from which an index answers faster (docs/serving.md has the figures)
K = 100  # of which recall is measured
WANTED = 0.975  # recall that the number of probes is chosen for
FLOOR = 0.97  # below it every item is scored
_STALE = 50  # another index is due when one item in so many is not as it was
_GAIN = 0.002  # of recall, for which twice the work is done
_HALVINGS = 3  # of the step between too few probes and enough
_NONE = np.empty(0, np.int64)
_AT_ONCE = 64  # queries


class StoppedError(HydrarecError):
    """An index was not built to its end, because the server ends."""


def unless(stop: Event) -> Callable[[], None]:
    """A function to be called now and then, which raises ``StoppedError`` when ``stop`` is set."""

    def go_on() -> None:
        if stop.is_set():
            raise StoppedError("the server ends")

    return go_on


class Indexing:
    """Args:
    choice: ``auto`` takes an index for ``WORTH`` items or more, where FAISS is installed; ``faiss`` for fewer too.
    hidden: gives (n, d) hidden states to measure with, as requests have them.

    Raises:
        InputError: ``faiss`` is asked for and not installed.
    """

    def __init__(self, choice: IndexChoice, n_items: int, hidden: Callable[[], Tensor]) -> None:
        self._hidden, self._failed = hidden, False
        self._least: float = LEAST if choice == "faiss" else WORTH
        if choice == "exact":
            self._least = np.inf
        elif n_items >= self._least:
            try:
                require_faiss()
            except InputError as error:
                if choice == "faiss":
                    raise
                say(f"warning: {n_items:,} items are scored for every answer; {error}")
                self._least = np.inf

    def due(self, ranking: Ranking) -> bool:
        """Whether an index of what there is now should be built."""
        if self._failed or ranking.n_items - len(ranking.removed) < self._least:
            return False
        return not isinstance(ranking, IndexedRanking) or ranking.stale > max(LEAST, ranking.n_items // _STALE)

    @torch.inference_mode()
    def build(self, ranking: Ranking, go_on: Callable[[], None] = lambda: None) -> IndexedRanking | None:
        """An index before a ranking; None where too many of the best items do not come.

        Args:
            go_on: called every second or so, and may raise an error to end it.
        """
        began, hidden = time.monotonic(), self._hidden()
        exact = Ranking(ranking.model, ranking.vectors, ranking.removed, ranking.products)
        removed = np.zeros(exact.n_items, bool)
        removed[exact.removed] = True
        index = Index(exact.chunks, exact.n_items, removed, go_on)
        best = _answers(exact.best, hidden, go_on)

        def recall_of(probes: int) -> float:
            index.probes = probes
            return _recall(_answers(IndexedRanking(exact, index, _NONE, 0.0).found, hidden, go_on), best)

        recall, gained = 0.0, 1.0
        while index.probes < index.clusters and recall < WANTED and gained > _GAIN:
            before, recall = recall, recall_of(2 * index.probes)
            gained = recall - before
        enough, too_few = index.probes, index.probes // 2
        for _ in range(_HALVINGS if recall >= WANTED else 0):
            middle = (enough + too_few) // 2
            reached = recall_of(middle)
            if reached >= WANTED:
                enough, recall = middle, reached
            else:
                too_few = middle
        index.probes = enough
        found = f"recall@{K} {recall:.3f}, {index.probes} of {index.clusters} clusters read"
        if recall < FLOOR:
            self._failed = True
            say(f"warning: every item is scored for every answer; an index finds too little ({found})")
            return None
        say(f"index of {len(index):,} items built in {time.monotonic() - began:.0f} s: {found}")
        return IndexedRanking(exact, index, _NONE, recall)


def _answers(
    ask: Callable[[Tensor, list[Conditions]], list[Answers]], hidden: Tensor, go_on: Callable[[], None]
) -> list[Answers]:
    asked, answers = Conditions(k=K, allowed=None, denied=_NONE), list[Answers]()
    for some in hidden.split(_AT_ONCE):
        go_on()
        answers += ask(some, [asked] * len(some))
    return answers


def _recall(found: list[Answers], best: list[Answers]) -> float:
    shares = [len({*one[0]} & {*other[0]}) / len(other[0]) for one, other in zip(found, best, strict=True)]
    return float(np.mean(shares))
