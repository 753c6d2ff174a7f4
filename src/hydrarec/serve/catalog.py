"""The items that can be recommended: ids to rows and back without a search, and the rows that filters allow."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from hydrarec.errors import InputError
from hydrarec.retrieve.domain import of_domain

Where = tuple[tuple[str, str], ...]


class Catalog:
    """Args:
    items: the item table of a run.

    Attributes:
        ids: of each row, as the caller has them, whole numbers or text.
    """

    def __init__(self, items: pa.Table) -> None:
        self.items = items
        self.ids: list[int | str] = items["item"].to_pylist()
        self._rows = {str(item): row for row, item in enumerate(self.ids)}
        self._filtered = lru_cache(maxsize=256)(self._filter)

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        """(n,) int64, -1 where the model does not know the item. Numbers are looked up by how they are written."""
        return np.fromiter((self._rows.get(item, -1) for item in ids), np.int64)

    def allowed(
        self, *, domain: str | None = None, where: Where = (), candidates: Sequence[str] | None = None
    ) -> Tensor | None:
        """(n,) int64, the rows of the items that meet all conditions; None without a condition.

        Args:
            domain: of the item.
            where: (column, value) pairs of the item table, as text.
            candidates: ids; those that the model does not know are left out.

        Raises:
            InputError: there is no such domain or column, or no item meets all of them.
        """
        filtered = self._filtered(domain, where) if domain is not None or where else None
        if candidates is None:
            return filtered
        rows = np.unique(self.rows(candidates))
        rows = rows[rows >= 0]
        if filtered is not None:
            rows = np.intersect1d(rows, filtered.numpy())
        if not len(rows):
            raise InputError("the model knows none of the candidates, or none that the filters allow")
        return torch.from_numpy(rows)

    def _filter(self, domain: str | None, where: Where) -> Tensor:
        rows = np.arange(len(self.ids))
        for column, value in where:
            if column not in self.items.column_names:
                raise InputError(f"items have no column {column!r}; there are {', '.join(self.items.column_names)}")
            same = pc.equal(self.items[column].cast(pa.string()), value).fill_null(False)
            rows = rows[same.to_numpy()[rows]]
            if not len(rows):
                raise InputError(f"no item has {value!r} in column {column!r}, beside the other filters")
        return torch.from_numpy(rows if domain is None else of_domain(self.items, domain, rows))
