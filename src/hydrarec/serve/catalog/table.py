"""Items that a client or the store tells of, in the form of the item table, and which of them a model can recommend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from hydrarec.config import nearest
from hydrarec.data.domains import DOMAIN
from hydrarec.errors import InputError
from hydrarec.items.config import ItemsConfig
from hydrarec.items.contract import ItemEncoder
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.prompt import has_text, sentences
from hydrarec.items.text.reader import TextReader
from hydrarec.progress import Silent
from hydrarec.serve.catalog.catalog import Catalog

Told = tuple[str, Mapping[str, str | None]]  # an id, and columns of the item table


@dataclass(frozen=True, kw_only=True)
class Given:
    """n items as they are to be.

    Attributes:
        table: n rows of the item table.
        rows: (n,) int64, of the known ones; -1 for new ones.
        differs: (n,) bool: new ones, and known ones of which anything is different.
        texts: (n,) of which ``is_read`` (n,) bool are to be read: new ones, and known ones with another text.
    """

    table: pa.Table
    rows: np.ndarray
    differs: np.ndarray
    texts: pa.Array
    is_read: np.ndarray


class ItemForm:
    """Args:
    config: how the run knows its items.
    items: their encoder.
    """

    def __init__(self, config: ItemsConfig, items: ItemEncoder) -> None:
        self._config, self._items = config, items

    def given(self, told: Sequence[Told], known: Catalog) -> tuple[Given, list[str]]:
        """The items, with the columns that known ones have where nothing is said of them; and why others are refused.

        Refused are a column that there is not, an id that is text where ids are numbers, a new item of a model that
        knows ids alone, one without text, one without a domain where there are any, and another domain for a known one.
        """
        rows = known.rows([item for item, _ in told])
        olds = dict(zip(rows[rows >= 0].tolist(), _records(known, rows[rows >= 0]), strict=True))
        records, refused = [], []
        for (item, fields), row in zip(told, rows.tolist(), strict=True):
            try:
                records.append((row, self._record(item, fields, olds.get(row), known)))
            except InputError as error:
                refused.append(str(error))
        rows = np.array([row for row, _ in records], np.int64)
        table = pa.Table.from_pylist([record for _, record in records], schema=known.items.schema)
        differs = np.array([row < 0 or record != olds[row] for row, record in records], bool)
        if not isinstance(self._items, TextItems):
            nothing = np.zeros(len(rows), bool)
            return Given(table=table, rows=rows, differs=differs, texts=pa.nulls(len(rows)), is_read=nothing), refused
        texts, before = self._texts(table), self._texts(known.items.take(pa.array(rows, mask=rows < 0)))
        lacks = ~has_text(texts) & ((rows < 0) | has_text(before))
        same = np.asarray(pc.fill_null(pc.equal(texts, before), False), bool)
        refused += [f"item {str(item)!r} has no text to know it by" for item in table["item"].filter(pa.array(lacks))]
        kept, is_read = pa.array(~lacks), has_text(texts) & ~same
        return Given(
            table=table.filter(kept),
            rows=rows[~lacks],
            differs=differs[~lacks],
            texts=texts.filter(kept),
            is_read=is_read[~lacks],
        ), refused

    def vectors(self, given: Given, made: Mapping[str, bytes]) -> Tensor:
        """(n, h) float32, of the texts that are read: those that were ``made`` before, by id, and the others.

        Raises:
            InputError: the language model is gone, or is another than in training.
        """
        if not isinstance(self._items, TextItems):
            return torch.empty(len(given.rows), 0)
        vectors = torch.zeros(len(given.rows), self._items.vectors.shape[1])
        unread = []
        for place in np.flatnonzero(given.is_read).tolist():
            data = made.get(str(given.table["item"][place]))
            if data is None:
                unread.append(place)
            else:
                vectors[place] = torch.frombuffer(bytearray(data), dtype=torch.float32)
        if unread:
            vectors[unread] = self._reader.read(given.texts.take(pa.array(unread)), Silent())
        return vectors

    @cached_property
    def _reader(self) -> TextReader:
        assert isinstance(self._items, TextItems)
        return TextReader(self._config, self._items)

    def _texts(self, table: pa.Table) -> pa.Array:
        return sentences(table, self._config.text)

    def _record(
        self, item: str, fields: Mapping[str, str | None], old: dict[str, Any] | None, known: Catalog
    ) -> dict[str, Any]:
        names = [name for name in known.items.column_names if name not in ("item", "events")]
        for name in fields:
            if name not in names:
                there = f"there are {', '.join(names)}" if names else "there are none but their ids"
                raise InputError(f"items have no column {name!r}{nearest(name, names)}; {there}")
        if old is not None:
            if fields.get(DOMAIN, old.get(DOMAIN)) != old.get(DOMAIN):
                raise InputError(f"item {item!r} belongs to domain {old[DOMAIN]!r}; an item does not change its domain")
            return {**old, **fields}
        if not isinstance(self._items, TextItems):
            raise InputError(
                f"item {item!r} is new, and this model knows its items by id alone; train with --set items.kind=text, "
                "or both, for one that takes new items"
            )
        if DOMAIN in names:
            there = pc.unique(known.items[DOMAIN]).to_pylist()
            if fields.get(DOMAIN) not in there:
                raise InputError(f"item {item!r} needs a domain, one of: {', '.join(there)}")
        return {**dict.fromkeys(names), **fields, "item": _as_known(item, known), "events": 0}


def _records(known: Catalog, rows: np.ndarray) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = known.items.take(pa.array(rows)).to_pylist()
    return records


def _as_known(item: str, known: Catalog) -> int | str:
    """The id in the type that ids have."""
    if not pa.types.is_integer(known.items.schema.field("item").type):
        return item
    try:
        number = int(item)
    except ValueError:
        number = None
    if number is None or str(number) != item or not -(2**63) <= number < 2**63:
        raise InputError(f"item {item!r} is no whole number, as the ids of the other items are")
    return number
