"""Facts about a data set, for its ``statistics``."""

from typing import Any

import numpy as np


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
        same = times[1:] == times[:-1]
        starts = offsets[1:-1]
        tied = int(np.count_nonzero(same)) - int(np.count_nonzero(same[starts - 1]))
        # The share of events at the very second of the same user's event before: their order is the source's.
        facts |= {"tied_times": tied / n_events, "first_time": int(times.min()), "last_time": int(times.max())}
    return facts
