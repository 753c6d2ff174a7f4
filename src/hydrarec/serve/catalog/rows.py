"""Item ids to the rows of a model and back, without a search."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

from hydrarec.items.fallback import BEYOND, rows_beyond


class ItemRows:
    """Rows never change and ids never leave, so that one of these serves every thread while it grows.

    Attributes:
        ids: of each row, as the caller has them, whole numbers or text.
    """

    def __init__(self, ids: Iterable[int | str]) -> None:
        self.ids: list[int | str] = []
        self._rows: dict[str, int] = {}
        self._by_keys: dict[int, int] = {}
        self.add(ids)

    def __call__(self, ids: Sequence[str]) -> np.ndarray:
        """(n,) int64, -1 where the model does not know the item. Numbers are looked up by how they are written."""
        return np.fromiter((self._rows.get(item, -1) for item in ids), np.int64, len(ids))

    def with_unknown(self, ids: Sequence[str]) -> np.ndarray:
        """The same, but for items that the model does not know the rows that its fallback reads."""
        rows = self(ids)
        unknown = np.flatnonzero(rows < 0)
        rows[unknown] = rows_beyond(ids[int(place)] for place in unknown)
        return rows

    def keys(self, rows: Iterable[int]) -> np.ndarray:
        """(n,) int64 for rows: 64 bits of a hash of the id. Rows of others may be others tomorrow, keys stay.

        Rows of ``with_unknown`` are their own keys.
        """
        return np.fromiter((row if row >= BEYOND else _key(self.ids[row]) for row in rows), np.int64)

    def by_keys(self, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n,) int64, the rows that have ``keys`` (n,) now, if they had ``rows`` (n,) before; -1 for none."""
        return np.fromiter(map(self._by_key, keys.tolist(), rows.tolist()), np.int64, len(keys))

    def _by_key(self, key: int, row: int) -> int:
        if row >= BEYOND:
            return row
        if row < len(self.ids) and _key(self.ids[row]) == key:
            return row
        for each in range(len(self._by_keys), len(self.ids)):  # only where rows are others
            self._by_keys[_key(self.ids[each])] = each
        return self._by_keys.get(key, -1)

    def add(self, ids: Iterable[int | str]) -> None:
        """Append new ids. The model has their rows already."""
        first = len(self.ids)
        self.ids += ids
        self._rows.update((str(item), first + place) for place, item in enumerate(self.ids[first:]))


def _key(item: int | str) -> int:
    return int.from_bytes(
        blake2b(str(item).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True
    )
