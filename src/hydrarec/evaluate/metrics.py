"""Accuracy of a ranking, exact under ties.

Items of equal score have no order of their own. If they are put in a random one, the target's rank is uniform
on greater+1 .. greater+ties+1, and every metric here is its expectation over that. So the figures are
deterministic, and a constant scorer gets exactly what chance gives.
"""

import numpy as np
from numpy.typing import NDArray

from hydrarec.evaluate.ranks import MISSED

SELECTION_K = 10
SELECTION_METRIC = f"NDCG@{SELECTION_K}"  # on the validation split it chooses the weights and stops the training

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def hit_rate(greater: Integers, ties: Integers, k: int) -> Floats:
    """(Q,) expected HR@k: the chance that the target is among the first k."""
    chance: Floats = np.clip(k - greater, 0, ties + 1) / (ties + 1)
    return chance


def ndcg(greater: Integers, ties: Integers, k: int) -> Floats:
    """(Q,) expected NDCG@k for a single relevant item: 1 / log2(1 + rank) within the first k, otherwise 0."""
    total = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    gain: Floats = (total[np.minimum(greater + ties + 1, k)] - total[np.minimum(greater, k)]) / (ties + 1)
    return gain


def mrr(greater: Integers, ties: Integers, k: int | None = None) -> Floats:
    """(Q,) expected reciprocal rank, within the first k if given; 0 for a target that is no candidate."""
    ranked = greater < MISSED
    first, last = np.where(ranked, greater, 0), np.where(ranked, greater + ties + 1, 0)
    deepest = int(last.max(initial=0)) if k is None else k
    total = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, deepest + 1))])
    gain: Floats = (total[np.minimum(last, deepest)] - total[np.minimum(first, deepest)]) / (ties + 1)
    return gain


def accuracy(greater: Integers, ties: Integers, cutoffs: tuple[int, ...]) -> dict[str, Floats]:
    """Every metric of every query, (Q,) by name: ``HR@k``, ``NDCG@k`` and ``MRR@k`` of each cut-off, and ``MRR``."""
    values = {f"HR@{k}": hit_rate(greater, ties, k) for k in cutoffs}
    values |= {f"NDCG@{k}": ndcg(greater, ties, k) for k in cutoffs}
    values |= {f"MRR@{k}": mrr(greater, ties, k) for k in cutoffs}
    return values | {"MRR": mrr(greater, ties)}
