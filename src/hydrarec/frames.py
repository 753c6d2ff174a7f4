"""Data frames in and out: anything that speaks Arrow (pandas, polars, pyarrow), and plain lists."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from hydrarec.data.reading.times import instant, per_second
from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Histories:
    """Histories of U users, oldest event first.

    Attributes:
        users: (U,) their names.
        items: item ids, all histories end to end.
        offsets: (U+1,) int64; history u is ``items[offsets[u]:offsets[u+1]]``.
        times: int64 seconds since 1970 of every item, or None where they were not given.
    """

    users: pa.Array
    items: Any
    offsets: np.ndarray
    times: np.ndarray | None = None


def is_frame(value: Any) -> bool:
    return hasattr(value, "__arrow_c_stream__")


def like(given: Any, table: pa.Table) -> Any:
    """``table`` as the kind of frame that ``given`` is; an Arrow table if it is none."""
    kind = type(given).__module__.split(".")[0]
    if kind == "pandas":
        return table.to_pandas()
    if kind == "polars":
        import polars

        return polars.from_arrow(table)
    return table


def histories_of(given: Any, at: int | None = None, times: Any = None) -> Histories:
    """Histories of item ids, with the names of their users.

    Args:
        given: a frame with ``user``, ``item`` and optionally ``time``; a mapping of user to items; or a list of
            lists, whose users are numbered from 0.
        at: drop events of a frame with ``time`` at or after this, seconds since 1970.
        times: of a mapping or of lists, in the same form: seconds since 1970 or dates, oldest first.

    Raises:
        InputError: a column is missing, a user or time is none, or ``given`` is none of these.
    """
    if is_frame(given):
        if times is not None:
            raise InputError("a frame of histories has its times in the column 'time'; leave out times")
        return _from_frame(_table(given), at)
    if isinstance(given, dict):
        when = [times[name] for name in given] if isinstance(times, dict) and times.keys() == given.keys() else times
        return _from_lists(_names(given), list(given.values()), when)
    if isinstance(given, list | tuple):
        return _from_lists(pa.array(np.arange(len(given))), given, times)
    raise InputError(f"histories must be a frame, a mapping or a list of lists, not {type(given).__name__}")


def _from_lists(names: pa.Array, lists: Sequence[Any], times: Any) -> Histories:
    if any(isinstance(each, str | bytes) or not hasattr(each, "__len__") for each in lists):
        raise InputError("histories must be a list of lists of item ids, one list a user")
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    when = None if times is None else _moments(times, lists)
    return Histories(users=names, items=list(chain.from_iterable(lists)), offsets=offsets, times=when)


def _moments(times: Any, lists: Sequence[Any]) -> np.ndarray:
    """Times of lists of items, end to end, int64 seconds."""
    given = isinstance(times, list | tuple) and all(hasattr(each, "__len__") for each in times)
    if not given or list(map(len, times)) != list(map(len, lists)):
        raise InputError("times must be given as the histories are: one time for each item")
    when = [np.array([instant(time) for time in each], np.int64) for each in times]
    for user, moments in enumerate(when):
        if (np.diff(moments) < 0).any():
            raise InputError(f"times of history {user} do not rise; give the oldest event first")
    return np.concatenate([*when, np.empty(0, np.int64)])


def _names(given: Iterable[Any]) -> pa.Array:
    try:
        return pa.array(list(given))
    except (pa.ArrowException, TypeError) as error:
        raise InputError(f"the users must all be numbers or all be text: {error}") from error


def _table(frame: Any) -> pa.Table:
    try:
        table = pa.table(frame)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise InputError(f"the frame of histories cannot be read: {error}") from error
    for name in ("user", "item"):
        if name not in table.column_names:
            raise InputError(f"histories have no column {name!r}; there are {', '.join(table.column_names)}")
    return table


def _from_frame(table: pa.Table, at: int | None) -> Histories:
    user = _plain(table["user"]).dictionary_encode()  # users in the order of their first row
    if user.null_count:
        raise InputError("column 'user' of the histories has empty values; fill them in or filter such rows out")
    codes = user.indices.to_numpy(zero_copy_only=False)
    items, order = _plain(table["item"]), np.argsort(codes, kind="stable")
    when = None
    if "time" in table.column_names:
        times, unit = _times(table["time"])
        order = np.lexsort((times, codes))  # stable: equal times keep the order of the rows
        if at is not None:
            order = order[times[order] < at * unit]
        when = (times[order] // unit).astype(np.int64)
    offsets = np.searchsorted(codes[order], np.arange(len(user.dictionary) + 1))
    return Histories(users=user.dictionary, items=items.take(pa.array(order)), offsets=offsets, times=when)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    chunks = [_decoded(chunk) for chunk in column.chunks]
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.string())


def _decoded(values: pa.Array) -> pa.Array:
    """``values`` without categories, and without string views (as of polars), of which Arrow cannot take rows."""
    if pa.types.is_dictionary(values.type):
        return _decoded(values.dictionary).take(values.indices)
    return values.cast(pa.string()) if pa.types.is_string_view(values.type) else values


def _times(column: pa.ChunkedArray) -> tuple[np.ndarray, int]:
    """(n,) times and how many of their unit make a second."""
    if column.null_count:
        raise InputError("column 'time' of the histories has empty values; fill them in or filter such rows out")
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        return column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64()).to_numpy(), 10**6
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise InputError(f"column 'time' of the histories holds {kind}; make it numbers or timestamps")
    times = column.to_numpy()
    return times, per_second(np.abs(times).max(initial=0))[0]
