"""Whom a recommendation is asked for: histories as item rows, of known users or as the caller gives them."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from hydrarec.data.batch import REQUEST_TIMES, Batch, pack
from hydrarec.data.split import first_at_or_after
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import stretch_pairs
from hydrarec.errors import InputError
from hydrarec.frames import histories_of
from hydrarec.items.fallback import rows_beyond
from hydrarec.items.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Asked:
    """U users and their histories.

    Attributes:
        users: (U,) the caller's names.
        items: item rows; user u has seen ``items[first[u]:end[u]]``.
        first: (U,) int64.
        end: (U,) int64.
        times: int64 seconds of each of ``items``, or None where nobody knows them.
        at: the request time, seconds since 1970; None only where there are no times.
    """

    users: pa.Array
    items: np.ndarray
    first: np.ndarray
    end: np.ndarray
    times: np.ndarray | None
    at: int | None

    def latest(self, most: int) -> Self:
        """The last ``most`` events of each history; 0 is all."""
        return replace(self, first=np.maximum(self.first, self.end - most)) if most else self

    def batch(self, chosen: np.ndarray | slice = slice(None)) -> Batch:
        """The histories of the chosen users, to be asked at ``at`` where times are known."""
        bounds = list(zip(self.first[chosen], self.end[chosen], strict=True))
        items = [self.items[a:b] for a, b in bounds]
        if self.times is None or self.at is None:
            return pack(items)
        batch = pack(items, [self.times[a:b] for a, b in bounds])
        asked = batch.times.roll(-1)
        asked[batch.last[batch.lengths > 0]] = self.at
        return replace(batch, columns={REQUEST_TIMES: asked})

    def pairs(self, chosen: np.ndarray, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(place among the chosen, item row), both (n,) int64, of all events of the chosen users."""
        numbers, items = stretch_pairs(self.items, self.first[chosen], self.end[chosen])
        return numbers.to(device), items.to(device)


def of_users(dataset: Dataset, users: Any, at: int | None = None) -> Asked:
    """Users of the data set, ``"all"`` or by id, with their events before ``at`` (seconds since 1970).

    Without ``at`` all events count, and the request is made when the last one of the data set was. Of all users, those
    without such an event are left out with a warning.

    Raises:
        InputError: a user is not known, or has no such event.
    """
    ids = dataset.user_table["user"].combine_chunks()
    everybody = isinstance(users, str)
    if users != "all" if everybody else not hasattr(users, "__len__"):
        raise InputError(f"users is {users!r}; give a list of user ids, or 'all'")
    rows = np.arange(len(ids)) if everybody else Vocabulary(ids).rows(users)
    if (rows < 0).any():
        unknown = list(users)[int(np.argmax(rows < 0))]
        raise InputError(f"user {unknown!r} is not in the data set; give the history itself instead")
    first, end = np.asarray(dataset.offsets)[rows], np.asarray(dataset.offsets)[rows + 1]
    if at is not None:
        if not dataset.has_times:
            raise InputError("the events of the data set have no time, so that none can be chosen by it")
        times = np.asarray(dataset.times)
        if everybody:
            end = first_at_or_after(times, np.asarray(dataset.offsets), at)
        else:  # without reading all events
            end = np.array([a + np.searchsorted(times[a:b], at) for a, b in zip(first, end, strict=True)], np.int64)
    some = first < end
    if not some.all():
        lack = "event" if at is None else f"event before {at}"
        if not everybody:
            raise InputError(f"user {ids[int(rows[np.argmin(some)])].as_py()!r} has no {lack}")
        warnings.warn(f"{np.count_nonzero(~some):,} users have no {lack} and are left out", stacklevel=3)
    return Asked(
        users=ids.take(pa.array(rows[some])),
        items=np.asarray(dataset.items),
        first=first[some],
        end=end[some],
        times=np.asarray(dataset.times) if dataset.has_times else None,
        at=_latest(dataset) if at is None else at,
    )


def of_histories(
    vocabulary: Vocabulary,
    given: Any,
    *,
    times: Any = None,
    at: int | None = None,
    strict: bool = False,
    unknown_too: bool = False,
) -> Asked:
    """Histories of item ids, as ``hydrarec.frames.histories_of`` reads them.

    Unknown items are left out, and named in a warning; with ``unknown_too`` they get rows of a fallback. ``times`` are
    those of a mapping or of lists, of the same shape; without ``at`` the request is made when the last event given was.

    Raises:
        InputError: ``given`` cannot be read, or with ``strict``, an item is unknown.
    """
    histories = histories_of(given, at, times)
    rows = vocabulary.rows(histories.items)
    known = rows >= 0
    if unknown_too and not strict:
        rows[~known] = rows_beyond(histories.items[int(place)] for place in np.flatnonzero(~known))
        known = np.ones_like(known)
    if not known.all():
        unknown = list(dict.fromkeys(str(histories.items[int(place)]) for place in np.flatnonzero(~known)))
        named = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else "")
        if strict:
            raise InputError(f"unknown item ids: {named}")
        warnings.warn(f"unknown item ids skipped: {named}", stacklevel=3)
    bounds = np.concatenate([[0], np.cumsum(known)])[histories.offsets]
    times = None if histories.times is None else histories.times[known]
    if at is None and times is not None and len(times):
        at = int(times.max())
    return Asked(users=histories.users, items=rows[known], first=bounds[:-1], end=bounds[1:], times=times, at=at)


def _latest(dataset: Dataset) -> int | None:
    """When the last event of the data set was."""
    if not dataset.has_times:
        return None
    known = dataset.statistics.get("last_time")
    return int(np.max(dataset.times)) if known is None else int(known)
