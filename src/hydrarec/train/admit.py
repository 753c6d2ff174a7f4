"""New items of a run that goes on get rows, of those long out of use first."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from hydrarec.data.rows import in_rows
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.items.rows import RowEncoder
from hydrarec.items.table import ItemTable
from hydrarec.items.vocabulary import Admitted, Vocabulary
from hydrarec.models.neural import NeuralModel
from hydrarec.train.run import Run

_DAY = 86_400


def admit(
    run: Run, model: NeuralModel, before: Dataset, whole: Dataset, keep_days: float
) -> tuple[Dataset, np.ndarray, Admitted, dict[str, float]]:
    """Give new items rows; the data in these rows, new events of each user (U,), what became of ids, and ages."""
    if not whole.has_times:
        raise InputError("the events have no times, so that nobody knows which items are out of use; train again")
    table = run.items()
    vocabulary = Vocabulary(table["item"])
    ids = whole.item_table["item"].combine_chunks()
    fresh_events = np.bincount(whole.items, minlength=whole.n_items)
    fresh_events[: before.n_items] -= np.bincount(before.items, minlength=before.n_items)
    today = fresh_events > 0
    last = np.full(whole.n_items, np.iinfo(np.int64).min)
    np.maximum.at(last, whole.items, whole.times)
    now = int(np.max(whole.times))

    rows = vocabulary.rows(ids)
    used = np.full(len(vocabulary), np.iinfo(np.int64).max)  # what has no event is not out of use
    used[rows[rows >= 0]] = last[rows >= 0]
    stale = np.flatnonzero(used < now - keep_days * _DAY)
    admitted = vocabulary.admit(ids.filter(pa.array(today)), stale[np.argsort(used[stale], kind="stable")])
    items = model.items
    assert isinstance(items, ItemTable | RowEncoder)
    items.renew(torch.from_numpy(admitted.reused))
    items.add(admitted.grown)
    if items.fallback is not None:
        items.fallback.admit(torch.from_numpy(admitted.reused), admitted.grown)

    rows = vocabulary.rows(ids)
    data = in_rows(whole, rows, _item_table(vocabulary, whole, rows, table))
    fresh = np.diff(whole.offsets)
    fresh[: before.n_users] -= np.diff(before.offsets)
    ages = (now - last[rows >= 0]) / _DAY
    return data, fresh, admitted, {"median": float(np.median(ages)), "max": float(ages.max())}


def _item_table(vocabulary: Vocabulary, whole: Dataset, rows: np.ndarray, table: pa.Table) -> pa.Table:
    """The run's item table in its new rows: what the data set says of each item."""
    place = np.full(len(vocabulary), -1)
    place[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    said = whole.item_table.take(pa.array(place, mask=place < 0))
    said = said.set_column(said.column_names.index("item"), "item", vocabulary.values)
    events = pc.fill_null(said["events"], 0)
    said = said.set_column(said.column_names.index("events"), "events", events)
    return said.select([name for name in table.column_names if name in said.column_names])
