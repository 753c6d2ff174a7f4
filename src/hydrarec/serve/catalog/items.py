"""The items of a served model, which come and go while it answers."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Literal

import numpy as np
import pyarrow as pa
from torch import Tensor

from hydrarec.errors import InputError
from hydrarec.items.text.items import TextItems
from hydrarec.models.neural import NeuralModel
from hydrarec.progress import say
from hydrarec.recommender import Recommender
from hydrarec.serve.catalog.catalog import Catalog
from hydrarec.serve.catalog.indexed import IndexedRanking
from hydrarec.serve.catalog.indexing import Indexing
from hydrarec.serve.catalog.ranking import Ranking
from hydrarec.serve.catalog.rows import ItemRows
from hydrarec.serve.catalog.table import Given, ItemForm, Told
from hydrarec.serve.stores.contract import Store, StoredItem, StoreError
from hydrarec.train.grow import grow_model, grow_table

Became = Literal["added", "changed", "unchanged"]
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class View:
    """Items and their vectors as of one moment."""

    catalog: Catalog
    ranking: Ranking


class Items:
    """The run's own items, and what the store says has become of them.

    The store has a change first, then the model, then ``rows``, and at last ``view`` is another one. An answer that has
    begun keeps the view that it began with.

    Attributes:
        rows: item ids to rows of the model.
        view: what to answer from.
    """

    def __init__(self, recommender: Recommender, model: NeuralModel, store: Store, version: str) -> None:
        self._model, self._store, self._version = model, store, version
        self._form = ItemForm(recommender.run.settings.items, model.items)
        self._touched = _NONE  # rows that changed since an index of them was begun
        self._changing, self._known = Lock(), 0  # the ``items_version`` of the store that is taken up
        self._followed = 0  # and that which ``view`` shows
        table = recommender.item_table
        self.rows = ItemRows(table["item"].to_pylist())
        self.view = View(catalog=Catalog(table, self.rows), ranking=Ranking.of(model))
        self.follow()

    def put(self, told: Sequence[Told]) -> list[Became]:
        """Add items, or give known ones other columns, all of them or none.

        A removed item is there again.

        Raises:
            InputError: an item that is refused (``ItemForm.given``), or is there twice.
            StoreError: nothing was changed.
        """
        if len(ids := Counter(item for item, _ in told)) < len(told):
            raise InputError(f"item {ids.most_common(1)[0][0]!r} is there twice")
        while True:  # until nobody else changes items meanwhile
            self.follow()
            catalog = self.view.catalog
            given, refused = self._form.given(told, catalog)
            if refused:
                raise InputError(refused[0])
            vectors = self._form.vectors(given, {})
            with self._changing:
                if self.view.catalog is not catalog:
                    continue
                back = np.isin(given.rows, catalog.removed)
                if given.differs.any() or back.any():
                    if not self._put(self._stored(given, vectors)):
                        continue
                    self._show(*self._take(given, vectors), np.setdiff1d(catalog.removed, given.rows))
            return [
                "added" if row < 0 else "changed" if changed else "unchanged"
                for row, changed in zip(given.rows, given.differs | back, strict=True)
            ]

    def remove(self, item: str) -> bool:
        """Recommend an item no more, from now on; whether there is one of this id, be it removed already.

        Raises:
            StoreError: nothing was changed.
        """
        while True:
            self.follow()
            with self._changing:
                catalog = self.view.catalog
                (row,) = catalog.rows([item])
                if row >= 0 and catalog.there[row]:
                    if not self._put([StoredItem(item=item, removed=True)]):
                        continue
                    self._show(catalog.items, _NONE, np.union1d(catalog.removed, [row]))
            return bool(row >= 0)

    def reindex(self, indexing: Indexing, go_on: Callable[[], None]) -> None:
        """Answer from an index where one is due, once it is built. One call at a time; items may change meanwhile."""
        with self._changing:
            ranking, self._touched = self.view.ranking, _NONE
        if indexing.due(ranking) and (built := indexing.build(ranking, go_on)) is not None:
            with self._changing:
                now = IndexedRanking(self.view.ranking, built.index, self._touched, built.recall)
                self.view = replace(self.view, ranking=now)

    def follow(self) -> None:
        """Do what the store tells of, where the model can: what other processes and engines have changed.

        Raises:
            InputError: a text must be read, and the language model is gone, or is another than in training.
            StoreError: the store cannot be read.
        """
        if self._store.items_version() == self._followed:
            return
        with self._changing:  # which another thread leaves when it has shown what it takes up
            version = self._store.items_version()
            try:
                if version != self._known:
                    stored = self._store.items(self._known)
                    self._known = version
                    self._read(stored)
            finally:
                self._followed = self._known

    def _put(self, items: Sequence[StoredItem]) -> bool:
        """Whether nobody else has changed items."""
        stored = self._store.put_items(items, self._known)
        self._known += stored
        return stored

    def _read(self, stored: Sequence[StoredItem]) -> None:
        gone = {each.item for each in stored if each.removed}
        removed = self.rows(list(gone))
        if len(removed := removed[removed >= 0]):  # first, whatever becomes of others
            self._show(self.view.catalog.items, _NONE, np.union1d(self.view.catalog.removed, removed))
        told = [(each.item, each.fields) for each in stored if each.fields is not None]
        given, refused = self._form.given(told, self.view.catalog)
        if refused:
            say(f"warning: {len(refused):,} items of the store are left out, the first because: {refused[0]}")
        made = {each.item: each.vector for each in stored if each.vector is not None and each.version == self._version}
        try:
            vectors = self._form.vectors(given, made)
        except InputError as error:
            say(f"warning: {len(given.rows):,} items of the store are left out until the server is restarted: {error}")
            raise
        shown = self._take(given, vectors)
        there, removed = self.rows([each.item for each in stored if not each.removed]), self.rows(list(gone))
        self._show(*shown, np.union1d(np.setdiff1d(self.view.catalog.removed, there), removed[removed >= 0]))
        anew = [
            replace(each, removed=each.item in gone)
            for each in self._stored(given, vectors)
            if each.vector is not None and each.item not in made
        ]
        if anew:
            with suppress(StoreError):  # they are made again the next time
                self._put(anew)

    def _stored(self, given: Given, vectors: Tensor) -> list[StoredItem]:
        return [
            StoredItem(
                item=str(record["item"]),
                fields={name: value for name, value in record.items() if name not in ("item", "events")},
                vector=vector.numpy().tobytes() if has_vector else None,
                version=self._version,
            )
            for record, vector, has_vector in zip(given.table.to_pylist(), vectors, given.is_read, strict=True)
        ]

    def _take(self, given: Given, vectors: Tensor) -> tuple[pa.Table, np.ndarray]:
        """Give the model what was given; the table of all items, and the rows (n,) int64 whose vectors are others."""
        known, rows, new = self.view.catalog.items, given.rows, given.rows < 0
        if isinstance(self._model.items, TextItems) and given.is_read.any():
            grow_model(self._model, vectors, known, given.table, rows, given.is_read & ~new)
        self.rows.add(given.table["item"].filter(pa.array(new)).to_pylist())
        touched = np.concatenate([rows[given.is_read & ~new], len(known) + np.arange(new.sum())])
        return grow_table(known, given.table, rows, given.differs & ~new), touched

    def _show(self, table: pa.Table, touched: np.ndarray, removed: np.ndarray) -> None:
        self._touched = np.union1d(self._touched, touched)
        self.view = View(
            catalog=Catalog(table, self.rows, removed), ranking=self.view.ranking.changed(touched, removed)
        )
