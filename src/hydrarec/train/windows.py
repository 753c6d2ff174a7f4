"""The windows that a run is trained on."""

import numpy as np

from hydrarec.data.mixture import Mixture, window_domains
from hydrarec.data.store import Dataset
from hydrarec.data.windows import windows
from hydrarec.errors import InputError
from hydrarec.train.config import TrainConfig


def training_windows(
    dataset: Dataset, train_ends: np.ndarray, config: TrainConfig, fresh: np.ndarray | None = None
) -> Mixture:
    """The windows of every epoch.

    Args:
        train_ends: (U,) int64, where the training part of each history ends.
        fresh: (U,) int64, how many events at that end are to be learned; None: all.

    Raises:
        InputError: no history has two training events.
    """
    source = windows(dataset, train_ends, config.max_len, config.windows, fresh)
    if not len(source.first):
        raise InputError("no user has two training events under this protocol; nothing to train on")
    # Carried windows follow one another through a history, all of them: they are one domain.
    alike = config.windows == "carried" or config.domain_power == 1
    domains = np.zeros(len(source.first), np.int64) if alike else window_domains(dataset, source)
    return Mixture(source, domains, config.domain_power, config.seed)
