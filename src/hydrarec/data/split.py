"""Splits: which events train, and which are asked for in validation and test."""

import math
from dataclasses import dataclass

import numpy as np

from hydrarec.data.protocol import Protocol, TargetName
from hydrarec.data.quantile import Quantiles
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Split:
    """Positions are absolute: indices into ``dataset.items``.

    The history of a target at position p of user u is ``offsets[u]:p``. A target with an empty history is
    left out.

    Attributes:
        train_ends: (U,) int64; user u trains on ``offsets[u]:train_ends[u]``, a prefix of the history.
        valid: (Qv,) int64 validation targets, ascending; empty for ``hstu``.
        test: (Qt,) int64 test targets, ascending.
    """

    train_ends: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split(dataset: Dataset, protocol: Protocol | None = None) -> Split:
    """Split ``dataset`` under ``protocol`` (None: its own).

    ``hstu``: the last event of a user with two or more tests; everything else trains. ``loo``: of a user with
    three or more events the last tests and the one before validates; all events of a shorter history train.
    ``time``: events at or after the boundary test; of those before it, events at or after the same quantile
    validate and the others train. (If all of them share one time, they train and nothing validates.)

    Raises:
        InputError: ``time`` without times, a boundary outside the data, or no test target at all.
    """
    protocol = protocol or dataset.protocol
    offsets = np.asarray(dataset.offsets)
    if protocol.split == "time":
        result = _split_by_time(dataset, protocol)
    else:
        result = _split_last(offsets, n_held_out=2 if protocol.split == "loo" else 1)
    if not len(result.test):
        raise InputError(
            f"protocol {protocol.split} leaves no test target: no user has enough events; "
            "choose another protocol or boundary, or bring more data"
        )
    return result


def time_boundaries(dataset: Dataset, protocol: Protocol) -> tuple[int, int]:
    """(validation boundary, test boundary) of protocol ``time``, seconds since 1970.

    Raises:
        InputError: the events have no times, or nothing lies on one side of the test boundary.
    """
    if not dataset.has_times:
        raise InputError("protocol time needs event times and the data set has none; use --protocol loo")
    times = np.asarray(dataset.times)
    if not len(times):
        raise InputError("the data set has no events; nothing can be split")
    quantiles = Quantiles(times)
    first, last = quantiles.low, quantiles.high
    test = protocol.boundary
    if test is None:
        test = math.ceil(quantiles.quantile(protocol.quantile, among=len(times)))
    if not first < test <= last:
        raise InputError(
            f"the time boundary {test} must lie after the first event ({first}) and not after the last "
            f"({last}); choose another boundary or quantile, or use --protocol loo"
        )
    valid = math.ceil(quantiles.quantile(protocol.quantile, among=quantiles.below(test)))
    return (valid if valid > first else test), test


def leakage_warning(protocol: Protocol) -> str | None:
    """One line on what the protocol leaks, or None."""
    if protocol.split == "time":
        return None
    leak = f"protocol {protocol.split} leaks the future: other users' later events are in training"
    if protocol.split == "hstu":
        leak += ", and without validation any choice of model is a choice on the test set"
    return f"{leak}; --protocol time is the honest one"


def _split_last(offsets: np.ndarray, *, n_held_out: int) -> Split:
    starts, ends = offsets[:-1], offsets[1:]
    held_out = ends - starts > n_held_out  # at least one event is left as history
    tests = ends[held_out] - 1
    valid = tests - 1 if n_held_out == 2 else tests[:0]
    return Split(train_ends=np.where(held_out, ends - n_held_out, ends), valid=valid, test=tests)


def _split_by_time(dataset: Dataset, protocol: Protocol) -> Split:
    valid_boundary, test_boundary = time_boundaries(dataset, protocol)
    times, offsets = np.asarray(dataset.times), np.asarray(dataset.offsets)
    starts, ends = offsets[:-1], offsets[1:]
    test_starts = first_at_or_after(times, offsets, test_boundary)
    valid_starts = first_at_or_after(times, offsets, valid_boundary)
    return Split(
        train_ends=valid_starts,
        valid=_targets(starts, valid_starts, test_starts, protocol.target),
        test=_targets(starts, test_starts, ends, protocol.target),
    )


def first_at_or_after(times: np.ndarray, offsets: np.ndarray, boundary: int) -> np.ndarray:
    """(U,) position of each user's first event at or after ``boundary``, else the end of the history."""
    result = np.array(offsets[1:])
    for start in range(0, len(times), _CHUNK):
        after = np.flatnonzero(times[start : start + _CHUNK] >= boundary) + start
        first, last = np.searchsorted(offsets, [start, start + _CHUNK], side="right")
        users = slice(max(first - 1, 0), last)  # whose histories reach into the chunk
        result[users] -= np.diff(np.searchsorted(after, offsets[users.start : last + 1]))
    return result


def _targets(starts: np.ndarray, firsts: np.ndarray, ends: np.ndarray, target: TargetName) -> np.ndarray:
    """Targets among positions ``firsts:ends`` of each user, all (U,); never a user's very first event."""
    firsts = np.maximum(firsts, np.minimum(starts + 1, ends)) if target == "every" else firsts
    some = firsts < ends
    firsts, ends, starts = firsts[some], ends[some], starts[some]
    if target == "every":
        counts = ends - firsts
        skipped = np.repeat(firsts - (np.cumsum(counts) - counts), counts)
        every: np.ndarray = np.arange(int(counts.sum()), dtype=np.int64) + skipped
        return every
    positions: np.ndarray = firsts if target == "next" else ends - 1
    keep: np.ndarray = positions[positions > starts]
    return keep
