"""Data frames in and out: anything that speaks Arrow (pandas, polars, pyarrow), and plain lists."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from hydrarec.errors import InputError


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


def histories_of(given: Any) -> tuple[pa.Array, list[Any]]:
    """Histories as lists of item ids, with the names of their users.

    Args:
        given: a frame with ``user``, ``item`` and optionally ``time``; a mapping of user to items; or a list of
            lists, whose users are numbered from 0.

    Raises:
        InputError: a column is missing, or ``given`` is none of these.
    """
    if is_frame(given):
        return _from_frame(pa.table(given))
    if isinstance(given, dict):
        return pa.array(list(given)), list(given.values())
    if isinstance(given, list | tuple):
        if any(isinstance(history, str | bytes) or not hasattr(history, "__len__") for history in given):
            raise InputError("histories must be a list of lists of item ids, one list a user")
        return pa.array(np.arange(len(given))), list(given)
    raise InputError(f"histories must be a frame, a mapping or a list of lists, not {type(given).__name__}")


def _from_frame(table: pa.Table) -> tuple[pa.Array, list[Any]]:
    for name in ("user", "item"):
        if name not in table.column_names:
            raise InputError(f"histories have no column {name!r}; there are {', '.join(table.column_names)}")
    user = table["user"].combine_chunks().dictionary_encode()  # users in the order of their first row
    codes = user.indices.to_numpy(zero_copy_only=False)
    keys = (codes,)
    if "time" in table.column_names:
        keys = (table["time"].to_numpy(), codes)  # type: ignore[assignment]
    order = np.lexsort(keys)  # stable: equal times keep the order of the rows
    items = table["item"].combine_chunks().take(pa.array(order))
    bounds = np.searchsorted(codes[order], np.arange(1, len(user.dictionary)))
    edges = [0, *bounds.tolist(), len(order)] if len(order) else [0]
    lists = [items.slice(first, end - first).to_pylist() for first, end in pairwise(edges)]
    return user.dictionary, lists
