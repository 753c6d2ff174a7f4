"""Histories such as requests will have, to measure with."""

import numpy as np

from hydrarec.errors import InputError
from hydrarec.recommender import Recommender
from hydrarec.serve.stores.contract import History

_EVENTS = 200  # of a history, the last ones
_APART = 3_600  # seconds between events that are made up


def sample_histories(recommender: Recommender, n: int, seed: int = 0) -> list[History]:
    """Histories of ``n`` users of the data set, any of them as likely.

    Where the data set is gone, items that are drawn by how many events they had in training, in any order.
    """
    draw, ids = np.random.default_rng(seed), recommender.item_table["item"]
    try:
        dataset = recommender.run.open_dataset()
    except InputError:
        counts = recommender.item_table["events"].to_numpy() + 1.0
        lengths = draw.integers(1, 50, n)
        return [
            History(
                items=[str(ids[row]) for row in draw.choice(len(counts), length, p=counts / counts.sum()).tolist()],
                times=_APART * np.arange(length, dtype=np.int64),
            )
            for length in lengths.tolist()
        ]
    offsets = np.asarray(dataset.offsets)
    users = draw.choice(np.flatnonzero(np.diff(offsets)), n)
    bounds = [(max(offsets[user], offsets[user + 1] - _EVENTS), offsets[user + 1]) for user in users]
    return [
        History(
            items=[str(ids[row]) for row in np.asarray(dataset.items[first:end]).tolist()],
            times=np.asarray(dataset.times[first:end]).astype(np.int64),
        )
        for first, end in bounds
    ]
