"""How long real histories are: MovieLens-1M where it is there, else a distribution like it."""

import math
from pathlib import Path

import numpy as np

ML_1M = Path("../shared/datasets/ml-1m/interactions.parquet")
# Of MovieLens-1M: events of a user. The simulation has these.
_FEWEST, _MEDIAN, _MEAN, _MOST = 20, 96, 165.6, 2314


def window_lengths(count: int, most: int, source: Path = ML_1M, seed: int = 0) -> tuple[list[int], str]:
    """Lengths of the last windows, of at most ``most`` events, of ``count`` users drawn at random.

    Returns:
        The lengths, and where they are from.
    """
    generator = np.random.default_rng(seed)
    if source.exists():
        import pyarrow.parquet as pq

        users = pq.read_table(source, columns=["user_id"])["user_id"].to_numpy()
        histories, origin = np.unique(users, return_counts=True)[1], "ML-1M"
    else:
        sigma = math.sqrt(2 * math.log(_MEAN / _MEDIAN))
        histories = generator.lognormal(math.log(_MEDIAN), sigma, size=6040).clip(_FEWEST, _MOST).astype(np.int64)
        origin = "simulated"
    drawn = generator.choice(histories, size=count, replace=count > len(histories))
    return np.minimum(drawn, most).tolist(), origin


def length_buckets(lengths: list[int], buckets: int = 4) -> list[list[int]]:
    """The lengths in order, cut at their quantiles into buckets of equally many."""
    return [part.tolist() for part in np.array_split(np.sort(lengths), buckets)]


def in_batches(lengths: list[int], size: int) -> list[list[int]]:
    return [lengths[first : first + size] for first in range(0, len(lengths), size)]
