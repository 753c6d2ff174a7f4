"""What a row needs to be as good as another: time, on validation, and parameters."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hydrarec.compare.rows import Row
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.machine import describe


def share_of_time(own: Sequence[dict[str, Any]], rival: Sequence[dict[str, Any]]) -> float | None:
    """CPU seconds to the rival's best validation figure, as a share of those that the rival took to it itself.

    That figure is the mean over the rival's seeds. Seconds are held against the rival's mean on the same machine; the
    share is the mean over the own seeds of which there is such a one. Results are as ``record`` makes them: at least
    one a row, with ``curve`` and ``validation``.

    Returns:
        None where a seed never gets there; NaN where no machine ran both, or none took the rival time that can be
        measured.
    """
    goal = np.mean([found["validation"][SELECTION_METRIC] for found in rival])
    spent = [next((cpu for _, value, _, cpu in found["curve"] if value >= goal), None) for found in own]
    taken: dict[str, list[float]] = {}
    for found in rival:
        taken.setdefault(describe(found["machine"]), []).append(found["cpu_seconds_to_best"])
    shares = []
    for found, seconds in zip(own, spent, strict=True):
        if seconds is None:
            return None
        if mean := np.mean(taken.get(describe(found["machine"]), [0.0])):
            shares.append(seconds / mean)
    return float(np.mean(shares)) if shares else math.nan


def shares_of_time(label: str, records: dict[str, list[dict[str, Any]]]) -> dict[str, float | None]:
    """``share_of_time`` of a row by the label of every other row that was trained step by step and validated.

    Rows whose time cannot be compared are left out.
    """
    curved = {name: own for name, own in records.items() if own and all(each["curve"] for each in own)}
    if label not in curved:
        return {}
    shares = {name: share_of_time(curved[label], own) for name, own in curved.items() if name != label}
    return {name: share for name, share in shares.items() if share is None or not math.isnan(share)}


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
