"""The training part of every history, laid end to end."""

import numpy as np

from hydrarec.data.store import Dataset
from hydrarec.data.stretches import places


def training_events(dataset: Dataset, train_ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events ``offsets[u]:train_ends[u]`` of every user u.

    Returns:
        (items (T,) int64, times (T,) int64, offsets (U+1,) int64); a user without any keeps its row.
    """
    where, offsets = places(np.asarray(dataset.offsets)[:-1], train_ends)
    return np.asarray(dataset.items)[where].astype(np.int64), np.asarray(dataset.times)[where], offsets
