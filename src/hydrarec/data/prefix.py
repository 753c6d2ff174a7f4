"""The training part of every history, laid end to end."""

import numpy as np

from hydrarec.data.store import Dataset


def training_events(dataset: Dataset, train_ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events ``offsets[u]:train_ends[u]`` of every user u.

    Returns:
        (items (T,) int64, times (T,) int64, offsets (U+1,) int64); a user without any keeps its row.
    """
    starts, ends = np.asarray(dataset.offsets)[:-1], np.asarray(dataset.offsets)[1:]
    lengths = np.stack([train_ends - starts, ends - train_ends], axis=1)  # (U, 2) trained on, held out
    trains = np.repeat(np.tile([True, False], len(lengths)), lengths.ravel())  # (E,)
    offsets = np.concatenate([[0], np.cumsum(lengths[:, 0])]).astype(np.int64)
    return np.asarray(dataset.items)[trains].astype(np.int64), np.asarray(dataset.times)[trains], offsets
