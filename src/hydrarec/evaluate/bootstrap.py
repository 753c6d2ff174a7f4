"""Confidence intervals by resampling users (Efron, "Bootstrap Methods", 1979: the percentile interval)."""

import numpy as np
from numpy.typing import NDArray

_CELLS = 2_000_000


def intervals(
    values: dict[str, NDArray[np.float64]],
    users: NDArray[np.int64],
    *,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """The interval of each metric's mean.

    Users are drawn, not queries: the queries of one user are not independent of each other.

    Args:
        values: (Q,) by metric, one value a query.
        users: (Q,) the user of each query, any integers.
        level: chance that the interval covers.
        samples: how often the users are drawn.
        seed: of the draws.
    """
    if not values or len(users) == 0:
        return {}
    _, row = np.unique(users, return_inverse=True)
    n_users = int(row.max()) + 1
    columns = [np.bincount(row, weights=value, minlength=n_users) for value in values.values()]
    sums = np.stack([*columns, np.bincount(row, minlength=n_users)], axis=1)  # (U, M + 1), last: queries
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS // n_users)
    drawn = [_draw(sums, min(step, samples - done), generator) for done in range(0, samples, step)]
    means = np.concatenate(drawn)
    low, high = np.quantile(means[:, :-1] / means[:, -1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(values, low, high, strict=True)}


def _draw(sums: NDArray[np.float64], samples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """(samples, M + 1) sums over as many users as there are, drawn with replacement."""
    n_users = len(sums)
    chosen = generator.integers(n_users, size=(samples, n_users))
    chosen += np.arange(samples)[:, None] * n_users
    times = np.bincount(chosen.ravel(), minlength=samples * n_users).reshape(samples, n_users)
    return times @ sums
