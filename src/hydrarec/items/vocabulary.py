"""The caller's item ids and their rows."""

from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hydrarec.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """What became of new ids.

    Attributes:
        reused: (m,) int64, rows that had another id before; ``evicted``: those ids.
        grown: rows that were appended.
    """

    reused: np.ndarray
    evicted: pa.Array
    grown: int


class Vocabulary:
    """Maps ids to rows and back. An id has one row, and keeps it until it is evicted; growth appends.

    Threads may share it: changes take turns, and whoever reads sees what was before one or after it.

    Args:
        ids: (V,) ids in row order, whole numbers or text, without null or repetition.

    Attributes:
        values: the same, as one int64 or string array.

    Raises:
        InputError: ids of another type, null or repeated.
    """

    def __init__(self, ids: pa.Array | pa.ChunkedArray) -> None:
        self.values = plain_ids(ids)
        self._changes = RLock()
        if self.values.null_count:
            raise InputError("an item id is null; every item needs one")
        if pc.count_distinct(self.values).as_py() != len(self.values):
            repeated = pc.value_counts(self.values)
            first = repeated.filter(pc.greater(repeated.field("counts"), 1))[0]["values"].as_py()
            raise InputError(f"the item id {first!r} is there twice; ids must differ")

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, ids: Any) -> np.ndarray:
        """Rows of ``ids``: (n,) int64, -1 where unknown.

        Text is looked up among number ids by how they are written ("42" is 42, "042" is not) and the other way
        round.

        Args:
            ids: a list, array, Series or Arrow array of int or str, or a list of both.

        Raises:
            InputError: anything else.
        """
        asked = plain_ids(ids)
        known = self.values
        if asked.type != known.type:
            asked, known = asked.cast(pa.string()), known.cast(pa.string())
        found = pc.fill_null(pc.index_in(asked, known, skip_nulls=True), -1)
        return np.asarray(found, dtype=np.int64)

    def ids(self, rows: np.ndarray) -> pa.Array:
        """Ids of ``rows`` (n,), null where a row is -1."""
        rows = np.asarray(rows, dtype=np.int64)
        return self.values.take(pa.array(rows, mask=rows < 0))

    def add(self, ids: Any) -> np.ndarray:
        """Append those of ``ids`` that are new, in their order; return the rows of all of them, (n,) int64.

        Raises:
            InputError: a new id is null, or text where the ids are numbers.
        """
        with self._changes:
            self.admit(ids)
            return self.rows(ids)

    def admit(self, ids: Any, free: np.ndarray | None = None) -> Admitted:
        """Give a row to each of ``ids`` that has none: those of ``free`` first, in their order, then fresh ones.

        Args:
            free: (f,) int64 rows whose ids may be evicted; that of one of ``ids`` is not. Rows are chosen by the ids
                that they have: whoever evicts is the only one to change the vocabulary.

        Raises:
            InputError: a new id is null, or text where the ids are numbers.
        """
        with self._changes:
            return self._admit(plain_ids(ids), free)

    def _admit(self, asked: pa.Array, free: np.ndarray | None) -> Admitted:
        known = self.rows(asked)
        new = pc.unique(asked.filter(pa.array(known < 0)))
        try:
            new = new.cast(self.values.type)
        except pa.ArrowInvalid as error:
            raise InputError(f"the item ids are whole numbers; a new one is not ({error})") from error
        offered = np.array([] if free is None else list(dict.fromkeys(free.tolist())), np.int64)
        reused = offered[~np.isin(offered, known)][: len(new)]
        place = np.arange(len(self))
        place[reused] = len(self) + np.arange(len(reused))
        evicted, both = self.ids(reused), pa.concat_arrays([self.values, new])
        order = np.concatenate([place, len(self) + np.arange(len(reused), len(new))])
        self.values = Vocabulary(both.take(pa.array(order))).values
        return Admitted(reused=reused, evicted=evicted, grown=len(new) - len(reused))


def plain_ids(ids: Any) -> pa.Array:
    """``ids`` as one array of int64 or string.

    Raises:
        InputError: they are neither whole numbers nor text.
    """
    array = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else _from_python(ids)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):  # an empty list, or nothing but None
        return array.cast(pa.string())
    if pa.types.is_integer(array.type):
        return array.cast(pa.string() if array.type == pa.uint64() else pa.int64())
    if any(kind(array.type) for kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return array.cast(pa.string())
    raise InputError(f"ids of type {array.type}; they must be whole numbers or text")


def _from_python(ids: Any) -> pa.Array | pa.ChunkedArray:
    try:
        return pa.array(ids)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # both kinds, or numbers beyond 64 bits
        if all(isinstance(each, int | np.integer | str) for each in ids):
            return pa.array([str(each) for each in ids], pa.string())
    raise InputError("ids must be whole numbers or text")
