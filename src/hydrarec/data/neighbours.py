"""Which events that lie side by side in the packed store are of one user."""

import numpy as np


def same_user(offsets: np.ndarray) -> np.ndarray:
    """(E-1,) bool, whether event i + 1 is of the same user as event i; users may have no events.

    Args:
        offsets: (U+1,) int64, ascending from 0 to E.
    """
    n_events = int(offsets[-1])
    same = np.ones(max(0, n_events - 1), bool)
    edges = offsets[1:-1]
    same[edges[(edges > 0) & (edges < n_events)] - 1] = False
    return same
