"""What training minimises on a data set."""

import numpy as np
import torch

from hydrarec.data.store import Dataset
from hydrarec.losses.config import Loss, make_loss
from hydrarec.train.settings import Settings


def loss_of(
    settings: Settings, counts: np.ndarray, sets: np.ndarray | None, device: str | torch.device = "cpu"
) -> Loss:
    """The loss.

    Args:
        counts: (V,) training events of each item.
        sets: as ``contrasted`` gives them.
        device: of the model.
    """
    codes = None if sets is None else torch.from_numpy(sets).to(device)
    return make_loss(settings.loss, torch.from_numpy(counts).to(device), codes)


def contrasted(settings: Settings, dataset: Dataset, counts: np.ndarray) -> np.ndarray | None:
    """(V,) sets of items that are told from each other: domains; None: there is one.

    Items that are known by their text and were never trained are a set of their own: as negatives of every event, they
    would be taught never to be recommended.
    """
    sets = dataset.item_domains
    if settings.items.kind != "table" and not counts.all():
        sets = np.zeros(dataset.n_items, np.int64) if sets is None else sets.astype(np.int64)
        sets = np.where(counts > 0, sets, sets.max() + 1)
    return sets
