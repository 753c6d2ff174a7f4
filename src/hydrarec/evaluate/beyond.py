"""What accuracy does not show: how much of the catalog is recommended, and how popular it is."""

import numpy as np
from numpy.typing import NDArray


def coverage(top: NDArray[np.int64], n_candidates: int) -> float:
    """Share of the candidates that stand in any of the lists ``top`` (Q, k); -1 is an empty place."""
    return len(np.unique(top[top >= 0])) / max(n_candidates, 1)


def popularity_percentile(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n_items,) share of the catalog with fewer events, those with as many counting half.

    Over the catalog the mean is one half, so items drawn at random have one half too.
    """
    ordered = np.sort(counts)
    below = np.searchsorted(ordered, counts, side="left")
    up_to = np.searchsorted(ordered, counts, side="right")
    return (below + up_to) / (2 * len(counts))


def popularity_bias(top: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """Mean popularity percentile of what is recommended: .5 is none, 1 is the most popular item only."""
    shown = top[top >= 0]
    return float(popularity_percentile(counts)[shown].mean()) if len(shown) else 0.5
