"""Whom a recommendation is asked for: histories as item rows, of known users or as the caller gives them."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch

from hydrarec.data.split import first_at_or_after
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import stretch_pairs
from hydrarec.errors import InputError
from hydrarec.frames import histories_of
from hydrarec.items.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Asked:
    """U users and their histories.

    Attributes:
        users: (U,) the caller's names.
        items: item rows; user u has seen ``items[first[u]:end[u]]``.
        first: (U,) int64.
        end: (U,) int64.
    """

    users: pa.Array
    items: np.ndarray
    first: np.ndarray
    end: np.ndarray

    def latest(self, most: int) -> Self:
        """The last ``most`` events of each history; 0 is all."""
        return replace(self, first=np.maximum(self.first, self.end - most)) if most else self

    def histories(self, chosen: np.ndarray | slice = slice(None)) -> list[np.ndarray]:
        """Item rows of the chosen users, a history each."""
        return [self.items[a:b] for a, b in zip(self.first[chosen], self.end[chosen], strict=True)]

    def pairs(self, chosen: np.ndarray, device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """(place among the chosen, item row), both (n,) int64, of all events of the chosen users."""
        numbers, items = stretch_pairs(self.items, self.first[chosen], self.end[chosen])
        return numbers.to(device), items.to(device)


def of_users(dataset: Dataset, users: Any, at: int | None = None) -> Asked:
    """Users of the data set, ``"all"`` or by id, with their events before ``at`` (seconds since 1970).

    Of all users, those without such an event are left out with a warning.

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
        users=ids.take(pa.array(rows[some])), items=np.asarray(dataset.items), first=first[some], end=end[some]
    )


def of_histories(vocabulary: Vocabulary, given: Any, *, at: int | None = None, strict: bool = False) -> Asked:
    """Histories of item ids, as ``hydrarec.frames.histories_of`` reads them, without unknown items.

    Unknown items are named in a warning.

    Raises:
        InputError: ``given`` cannot be read, or with ``strict``, an item is unknown.
    """
    histories = histories_of(given, at)
    rows = vocabulary.rows(histories.items)
    known = rows >= 0
    if not known.all():
        unknown = list(dict.fromkeys(str(histories.items[int(place)]) for place in np.flatnonzero(~known)))
        named = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else "")
        if strict:
            raise InputError(f"unknown item ids: {named}")
        warnings.warn(f"unknown item ids skipped: {named}", stacklevel=3)
    bounds = np.concatenate([[0], np.cumsum(known)])[histories.offsets]
    return Asked(users=histories.users, items=rows[known], first=bounds[:-1], end=bounds[1:])
