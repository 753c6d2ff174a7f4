"""What a row needs to be as good as another: time, on validation, and parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hydrarec.compare.rows import Row
from hydrarec.evaluate.metrics import SELECTION_METRIC


def share_of_time(own: Sequence[dict[str, Any]], rival: Sequence[dict[str, Any]]) -> float | None:
    """CPU seconds to the rival's best validation figure, as a share of those that the rival took to it itself.

    Both are means over seeds. Results are as ``record`` makes them: at least one a row, with ``curve`` and
    ``validation``.

    Returns:
        None where a seed never gets there, or the rival was there before time could be measured.
    """
    goal = np.mean([found["validation"][SELECTION_METRIC] for found in rival])
    spent = [next((cpu for _, value, _, cpu in found["curve"] if value >= goal), None) for found in own]
    if None in spent:
        return None
    taken = np.mean([found["cpu_seconds_to_best"] for found in rival])
    return float(np.mean([each for each in spent if each is not None]) / taken) if taken else None


def shares_of_time(label: str, records: dict[str, list[dict[str, Any]]]) -> dict[str, float | None]:
    """``share_of_time`` of a row by the label of every other row that was trained step by step and validated."""
    curved = {name: own for name, own in records.items() if own and all(each["curve"] for each in own)}
    if label not in curved:
        return {}
    return {name: share_of_time(curved[label], own) for name, own in curved.items() if name != label}


def smallest_as_good(row: Row, rows: Sequence[Row]) -> Row | None:
    """Of ours, the one with the fewest encoder parameters that is at least as good as ``row``, and sees no more."""
    good = [
        each
        for each in rows
        if each.ours
        and not each.removed
        and each.sees_request_time <= row.sees_request_time
        and each.metrics[SELECTION_METRIC] >= row.metrics[SELECTION_METRIC]
    ]
    return min(good, key=lambda each: each.costs["encoder"], default=None)
