"""Whether one model is better than another on the same users: a paired permutation test (Fisher, 1935)."""

import numpy as np
from numpy.typing import NDArray

_CELLS = 4_000_000


def paired_p(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    users: NDArray[np.int64],
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p of a difference of means as large as that of ``one`` and ``other``, were the two exchangeable.

    The sign of each user's difference is flipped by chance: the queries of one user are not independent of each other,
    so they are flipped together. The identity counts as a permutation, hence p is never below 1 / (permutations + 1).

    Args:
        one, other: (Q,) a figure of every query, in the same order.
        users: (Q,) the user of each, any integers.
    """
    _, row = np.unique(users, return_inverse=True)
    differences = np.bincount(row, weights=one - other)
    differences = differences[differences != 0]  # the others contribute nothing, whatever their sign
    if not len(differences):
        return 1.0
    least = abs(differences.sum()) * (1 - 1e-9)  # rounding must not part what is equal
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // len(differences))
    as_large = 0
    for done in range(0, permutations, step):
        count = min(step, permutations - done)
        kept = generator.integers(0, 2, (count, len(differences)), dtype=np.int8)
        sums = 2 * (kept @ differences) - differences.sum()
        as_large += int((np.abs(sums) >= least).sum())
    return (1 + as_large) / (1 + permutations)
