"""Item ids to the rows of a model and back, without a search."""

from collections.abc import Iterable, Sequence

import numpy as np


class ItemRows:
    """Rows never change and ids never leave, so that one of these serves every thread while it grows.

    Attributes:
        ids: of each row, as the caller has them, whole numbers or text.
    """

    def __init__(self, ids: Iterable[int | str]) -> None:
        self.ids: list[int | str] = []
        self._rows: dict[str, int] = {}
        self.add(ids)

    def __call__(self, ids: Sequence[str]) -> np.ndarray:
        """(n,) int64, -1 where the model does not know the item. Numbers are looked up by how they are written."""
        return np.fromiter((self._rows.get(item, -1) for item in ids), np.int64, len(ids))

    def add(self, ids: Iterable[int | str]) -> None:
        """Append new ids. The model has their rows already."""
        first = len(self.ids)
        self.ids += ids
        self._rows.update((str(item), first + place) for place, item in enumerate(self.ids[first:]))
