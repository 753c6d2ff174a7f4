"""The items that can be recommended at one moment: what filters allow, and what a search finds."""

from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from hydrarec.errors import InputError
from hydrarec.retrieve.domain import of_domain
from hydrarec.serve.catalog.rows import ItemRows
from hydrarec.serve.catalog.search import Search

Where = tuple[tuple[str, str], ...]
_NOBODY = np.empty(0, np.int64)


class Catalog:
    """Never changes; another one takes its place when items come or go.

    Attributes:
        items: the table of V items, the removed ones among them.
        removed: (r,) int64, their rows, ascending.

    Args:
        rows: of these items and perhaps of later ones.
    """

    def __init__(self, items: pa.Table, rows: ItemRows | None = None, removed: np.ndarray = _NOBODY) -> None:
        self.items, self.removed = items, removed
        self._rows = rows or ItemRows(items["item"].to_pylist())
        self.ids = self._rows.ids
        # Of nothing that leads back to the catalog, so that one whose place is taken leaves memory at once.
        self._filtered = lru_cache(maxsize=256)(partial(_filter, items, removed))

    def __len__(self) -> int:
        """How many can be recommended."""
        return int(self.items.num_rows) - len(self.removed)

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """(n,) int64, -1 where there is no such item. Removed ones have their rows still."""
        rows = self._rows(ids)
        return np.where(rows < self.items.num_rows, rows, -1)

    @cached_property
    def there(self) -> np.ndarray:
        """(V,) bool, which are not removed."""
        there = np.ones(self.items.num_rows, bool)
        there[self.removed] = False
        return there

    def records(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """The columns of the items of these rows, as they were told."""
        records: list[dict[str, Any]] = self.items.drop_columns("events").take(pa.array(rows)).to_pylist()
        return records

    @cached_property
    def search(self) -> Search:
        return Search(self.items, self.there)

    def allowed(
        self, *, domain: str | None = None, where: Where = (), candidates: Sequence[str] | None = None
    ) -> Tensor | None:
        """(n,) int64, the rows of the items that meet all conditions; None without a condition.

        Args:
            domain: of the item.
            where: (column, value) pairs of the item table. A value is the whole text of the column, or one of several
                that it lists with ``|`` between.
            candidates: ids; those that the model does not know are left out.

        Raises:
            InputError: there is no such domain or column, or no item meets all of them.
        """
        filtered = self._filtered(domain, where) if domain is not None or where else None
        if candidates is None:
            return filtered
        rows = np.unique(self.rows(candidates))
        rows = np.setdiff1d(rows[rows >= 0], self.removed, assume_unique=True)
        if filtered is not None:
            rows = np.intersect1d(rows, filtered.numpy())
        if not len(rows):
            raise InputError("the model knows none of the candidates, or none that the filters allow")
        return torch.from_numpy(rows)


def _filter(items: pa.Table, removed: np.ndarray, domain: str | None, where: Where) -> Tensor:
    rows = np.setdiff1d(np.arange(items.num_rows), removed, assume_unique=True)
    for column, value in where:
        if column not in items.column_names:
            raise InputError(f"items have no column {column!r}; there are {', '.join(items.column_names)}")
        rows = rows[_lists(items[column], value)[rows]]
        if not len(rows):
            raise InputError(f"no item has {value!r} in column {column!r}, beside the other filters")
    return torch.from_numpy(rows if domain is None else of_domain(items, domain, rows))


def _lists(column: pa.ChunkedArray, value: str) -> np.ndarray:
    """(V,) bool, where a column is ``value`` or lists it."""
    texts = column.cast(pa.large_string())
    same = pc.equal(texts, value)
    if "|" not in value:
        nothing, bar = (pa.scalar(text, pa.large_string()) for text in ("", "|"))
        between = pc.binary_join_element_wise(nothing, texts, nothing, bar)  # |a|b|
        same = pc.or_(same, pc.match_substring(between, f"|{value}|"))
    return np.asarray(pc.fill_null(same, False), bool)
