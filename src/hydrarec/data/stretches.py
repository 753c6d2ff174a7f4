"""Stretches of the packed events, laid end to end: parts of histories as batches."""

import numpy as np
import torch
from torch import Tensor

from hydrarec.data.batch import REQUEST_TIMES, Batch
from hydrarec.data.store import Dataset


def places(first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices ``first[i]:end[i]`` of B stretches end to end (T,), and the offsets (B+1,) of each; both int64."""
    offsets = np.concatenate([[0], np.cumsum(end - first)]).astype(np.int64)
    return np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], np.diff(offsets)), offsets


def stretch_batch(dataset: Dataset, first: np.ndarray, end: np.ndarray) -> Batch:
    """The events ``first[i]:end[i]`` as B histories, with all columns of the data set.

    Each is asked when the event after it happens: none of them may be the very last event of the data set.
    """
    where, offsets = places(first, end)
    times = np.asarray(dataset.times)
    return Batch(
        items=torch.from_numpy(np.asarray(dataset.items)[where].astype(np.int64)),
        times=torch.from_numpy(times[where]),
        offsets=torch.from_numpy(offsets),
        columns={
            **{name: torch.from_numpy(np.asarray(column)[where]) for name, column in dataset.columns.items()},
            REQUEST_TIMES: torch.from_numpy(times[where + 1]),
        },
    )


def stretch_pairs(items: np.ndarray, first: np.ndarray, end: np.ndarray) -> tuple[Tensor, Tensor]:
    """(number of the stretch, item row), both (T,) int64, of every event in ``items[first[i]:end[i]]``."""
    where, offsets = places(first, end)
    owners = np.repeat(np.arange(len(first)), np.diff(offsets))
    return torch.from_numpy(owners), torch.from_numpy(items[where].astype(np.int64))
