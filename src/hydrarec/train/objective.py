"""What training minimises on a data set."""

import numpy as np
import torch

from hydrarec.data.store import Dataset
from hydrarec.losses.config import Loss, make_loss
from hydrarec.train.settings import Settings


def loss_of(settings: Settings, dataset: Dataset, counts: np.ndarray, device: str | torch.device = "cpu") -> Loss:
    """The loss.

    Args:
        counts: (V,) training events of each item.
        device: of the model.
    """
    sets = contrasted(settings, dataset, counts)
    codes = None if sets is None else torch.from_numpy(sets).to(device)
    drawn = torch.from_numpy(_drawn(settings, dataset, counts)).to(device)
    return make_loss(settings.loss, torch.from_numpy(counts).to(device), codes, drawn=drawn)


def _drawn(settings: Settings, dataset: Dataset, counts: np.ndarray) -> np.ndarray:
    """(V,) in proportion to which items are targets: windows of small domains come more often, see ``data.mixture``."""
    codes, train = dataset.item_domains, settings.train
    if codes is None or train.windows == "carried":
        return counts
    events = np.bincount(codes, weights=counts).clip(1)
    drawn: np.ndarray = counts * ((events / events.max()) ** (train.domain_power - 1))[codes]
    return drawn


def contrasted(settings: Settings, dataset: Dataset, counts: np.ndarray) -> np.ndarray | None:
    """(V,) sets of items that are told from each other; None: there is one.

    Domains are such sets, unless ``loss.negatives_from`` is all.

    Items that are known by their text and were never trained are a set of their own: as negatives of every event, they
    would be taught never to be recommended.
    """
    sets = dataset.item_domains if settings.loss.negatives_from == "own" else None
    if settings.items.kind != "table" and not counts.all():
        sets = np.zeros(dataset.n_items, np.int64) if sets is None else sets.astype(np.int64)
        sets = np.where(counts > 0, sets, sets.max() + 1)
    return sets
