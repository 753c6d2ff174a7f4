"""How often the windows of each domain come: large domains less than small ones, so that these are learned too."""

import numpy as np

from hydrarec.data.store import Dataset
from hydrarec.data.stretches import places
from hydrarec.data.windows import Windows

_CELLS = 2**22


class Mixture:
    """The windows of every epoch, drawn from W windows by domain.

    Domain d, whose windows have n_d training events in all, comes n_d ** (power - 1) times as often as by itself, up to
    a factor that keeps the number of windows of an epoch. So its share of the events is that of n_d ** power, and so is
    its share of the windows where all hold as many. Power 1 is the data as it is, each window once; power 0 shows all
    domains alike.

    Each domain's windows stand in a circle, in an order of ``seed``, and an epoch takes up where the one before it
    ended. So none comes again in an epoch before all of its domain have come, and over the epochs all come alike.

    Args:
        source: the windows.
        domains: (W,) whole numbers, the domain of each.
        power: from 0 to 1.
    """

    def __init__(self, source: Windows, domains: np.ndarray, power: float, seed: int) -> None:
        self._source = source
        _, domain, sizes = np.unique(domains, return_inverse=True, return_counts=True)
        events = np.bincount(domain, weights=source.inputs)
        self._counts = apportion(sizes * events ** (power - 1), len(domain))
        # Not [seed, 0]: that is the generator of the first epoch's order.
        order = np.random.default_rng([seed, 0, 1]).permutation(len(domain))
        by_domain = order[np.argsort(domain[order], kind="stable")]
        self._circles = np.split(by_domain, np.cumsum(sizes)[:-1])

    def epoch(self, number: int) -> Windows:
        """The W windows of an epoch (from 0), in the order of the source."""
        drawn = [
            circle[np.arange(number * count, (number + 1) * count) % len(circle)]
            for circle, count in zip(self._circles, self._counts, strict=True)
        ]
        return self._source.take(np.sort(np.concatenate(drawn)))

    @property
    def events(self) -> float:
        """Inputs of an epoch, on average."""
        inputs = self._source.inputs
        means = [inputs[circle].mean() for circle in self._circles]
        return float(self._counts @ np.array(means))


def window_domains(dataset: Dataset, source: Windows) -> np.ndarray:
    """(W,) int64, the domain that most targets of each window have, the first of equals; zeros without domains."""
    found = np.zeros(len(source.first), np.int64)
    codes, n_domains = dataset.item_domains, len(dataset.domains)
    if codes is None:
        return found
    items, step = np.asarray(dataset.items), max(1, _CELLS // n_domains)
    for start in range(0, len(found), step):
        part = slice(start, start + step)
        where, offsets = places(source.first[part] + 1, source.end[part])
        owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        cells = owners * n_domains + codes[items[where]]
        counts = np.bincount(cells, minlength=(len(offsets) - 1) * n_domains)
        found[part] = counts.reshape(-1, n_domains).argmax(1)
    return found


def apportion(weights: np.ndarray, total: int) -> np.ndarray:
    """(D,) int64 in proportion to ``weights`` (D,) > 0, by largest remainders, none of them 0; their sum is ``total``.

    There must be enough for everyone: ``total`` >= D.
    """
    exact = total * weights / weights.sum()
    counts: np.ndarray = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    while not counts.all():
        counts[counts.argmin()] += 1
        counts[counts.argmax()] -= 1
    return counts
