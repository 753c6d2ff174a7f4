"""Facts about a data set, for its ``statistics``."""

from typing import TYPE_CHECKING, Any

import numpy as np

from hydrarec.data.neighbours import same_user

if TYPE_CHECKING:
    from hydrarec.data.store import Dataset

_CELLS = 2**22


def describe_events(times: np.ndarray | None, offsets: np.ndarray, n_items: int) -> dict[str, Any]:
    """Plain facts about the packed events.

    Args:
        times: (E,) int64 seconds, or None where there are none.
        offsets: (U+1,) int64.
    """
    lengths = np.diff(offsets)
    n_events, n_users = int(offsets[-1]), len(lengths)
    facts: dict[str, Any] = {
        "users": n_users,
        "items": n_items,
        "events": n_events,
        "density": n_events / (n_users * n_items),
        "history_length": {
            "median": float(np.median(lengths)),
            "mean": float(lengths.mean()),
            "max": int(lengths.max()),
        },
    }
    if times is not None:
        tied = int(np.count_nonzero((times[1:] == times[:-1]) & same_user(offsets)))
        # The share of events at the very second of the same user's event before: their order is the source's.
        facts |= {"tied_times": tied / n_events, "first_time": int(times.min()), "last_time": int(times.max())}
    return facts


def describe_domains(dataset: "Dataset") -> dict[str, dict[str, int]]:
    """Events, users with any of them, and items of each domain; empty without domains."""
    codes, n_domains = dataset.item_domains, len(dataset.domains)
    if codes is None:
        return {}
    n_items = np.bincount(codes, minlength=n_domains)
    n_events, n_users = np.zeros(n_domains, np.int64), np.zeros(n_domains, np.int64)
    step = max(1, _CELLS // n_domains)
    for first in range(0, dataset.n_users, step):
        offsets = dataset.offsets[first : first + step + 1]
        users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        cells = users * n_domains + codes[dataset.items[offsets[0] : offsets[-1]]]
        counts = np.bincount(cells, minlength=(len(offsets) - 1) * n_domains).reshape(-1, n_domains)
        n_events += counts.sum(0)
        n_users += (counts > 0).sum(0)
    return {
        name: {"events": int(n_events[code]), "users": int(n_users[code]), "items": int(n_items[code])}
        for code, name in enumerate(dataset.domains)
    }
