"""New items of a run that goes on get rows, of those long out of use first, or vectors of their texts."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from hydrarec.data.domains import domains_of
from hydrarec.data.rows import in_rows
from hydrarec.data.store import Dataset
from hydrarec.data.stretches import places
from hydrarec.errors import InputError
from hydrarec.items.rows import RowEncoder
from hydrarec.items.table import ItemTable
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.prompt import has_text, sentences
from hydrarec.items.text.reader import TextReader
from hydrarec.items.vocabulary import Admitted, Vocabulary
from hydrarec.models.hydra import Hydra
from hydrarec.models.neural import NeuralModel
from hydrarec.progress import Progress, say
from hydrarec.train.run import Run

_DAY = 86_400


def admit(
    run: Run, model: NeuralModel, before: Dataset, whole: Dataset, keep_days: float, progress: Progress
) -> tuple[Dataset, np.ndarray, Admitted, dict[str, float]]:
    """Give new items rows; the data in these rows, which of its events are new (E,), what became of ids, and ages.

    Raises:
        InputError: there are no times, or a new item is of a domain that the run does not know.
    """
    if not whole.has_times:
        raise InputError("the events have no times, so that nobody knows which items are out of use; train again")
    table, with_text = run.items(), isinstance(model.items, TextItems)
    vocabulary = Vocabulary(table["item"])
    ids = whole.item_table["item"].combine_chunks()
    fresh_events = np.bincount(whole.items, minlength=whole.n_items)
    fresh_events[: before.n_items] -= np.bincount(before.items, minlength=before.n_items)
    last = np.full(whole.n_items, np.iinfo(np.int64).min)
    np.maximum.at(last, whole.items, whole.times)
    now = int(np.max(whole.times))

    rows = vocabulary.rows(ids)
    used = np.full(len(vocabulary), np.iinfo(np.int64).max)  # what has no event is not out of use
    used[rows[rows >= 0]] = last[rows >= 0]
    # Text says what an item is however long nobody asked for it.
    stale = _evictable(table, used, (used < now - keep_days * _DAY) & (not with_text))
    today = ids.filter(pa.array(fresh_events > 0))
    admitted = vocabulary.admit(today, stale)

    rows = vocabulary.rows(ids)
    data = in_rows(whole, rows, _item_table(vocabulary, admitted, whole, rows, table))
    _grow(run, model, table, data.item_table, admitted, progress)
    fresh = _new_events(before, whole)[rows[whole.items] >= 0]
    ages = (now - last[rows >= 0]) / _DAY
    return data, fresh, admitted, {"median": float(np.median(ages)), "max": float(ages.max())}


def _new_events(before: Dataset, whole: Dataset) -> np.ndarray:
    """(E,) bool, which events of ``whole`` were added to ``before``: any, since late ones have their place in time."""
    more = np.diff(whole.offsets)
    more[: before.n_users] -= np.diff(before.offsets)
    users = np.flatnonzero(more)
    begin = int(whole.times.min())
    span = int(whole.times.max()) - begin + 1

    def moments(data: Dataset, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of the events of ``users``, and a number that rises with the user and the time."""
        where, offsets = places(data.offsets[users], data.offsets[users + 1])
        return where, np.repeat(np.arange(len(users)), np.diff(offsets)) * span + (data.times[where] - begin)

    where, now = moments(whole, users)
    _, then = moments(before, users[users < before.n_users])
    # At one moment of a user the old events come first.
    old = np.searchsorted(then, now, side="right") - np.searchsorted(then, now)
    fresh = np.zeros(whole.n_events, bool)
    fresh[where] = np.arange(len(now)) - np.searchsorted(now, now) >= old
    return fresh


def _evictable(table: pa.Table, used: np.ndarray, stale: np.ndarray) -> np.ndarray:
    """The ``stale`` rows, the longest unused first, but for the last of a domain, whose name would go with it."""
    rows = np.flatnonzero(stale)
    rows = rows[np.argsort(used[rows], kind="stable")]
    names, codes = domains_of(table)
    if codes is None:
        return rows
    there, going = (np.bincount(each, minlength=len(names)) for each in (codes, codes[rows]))
    last = {codes[row]: row for row in rows}
    return rows[~np.isin(rows, [row for code, row in last.items() if there[code] == going[code]])]


def _grow(
    run: Run, model: NeuralModel, held: pa.Table, table: pa.Table, admitted: Admitted, progress: Progress
) -> None:
    """Let the model have the items of ``table``: those it had, ``held``, but for what was reused, and others behind."""
    names, codes = domains_of(table)
    known, _ = domains_of(held)
    if other := sorted({*names} - {*known}):
        raise InputError(
            f"the new events are of domain {', '.join(other)}, and {run.path} knows "
            f"{', '.join(known)}; `hydrarec adapt` trains it on another domain"
        )
    domains = None if codes is None else torch.from_numpy(codes)
    items, first = model.items, table.num_rows - admitted.grown
    if isinstance(items, TextItems):
        texts = sentences(table, run.settings.items.text)
        reader = TextReader(run.settings.items, items)
        without = ~has_text(sentences(held, run.settings.items.text))
        late = np.flatnonzero(without & has_text(texts.slice(0, first)))  # what a later day brings
        if len(late):
            items.vectors = items.with_vectors(
                torch.from_numpy(late), reader.read(texts.take(pa.array(late)), progress)
            )
        texts = texts.slice(first)
        there = has_text(texts)
        if not there.all():
            example = table["item"][first + int(there.argmin())].as_py()
            say(
                f"warning: {len(there) - int(there.sum()):,} new items have no text, such as {example}; "
                f"hydrarec add-items {run.path} FILE brings it, or a later day with --items"
            )
        vectors = reader.read(texts.filter(pa.array(there)), progress)
        items.add(vectors, torch.from_numpy(there), None if domains is None else domains[first:])
    else:
        assert isinstance(items, ItemTable | RowEncoder)
        items.renew(torch.from_numpy(admitted.reused))
        items.add(admitted.grown)
        if items.fallback is not None:
            items.fallback.admit(torch.from_numpy(admitted.reused), admitted.grown)
    if domains is not None and isinstance(model, Hydra) and model.domains is not None:
        model.domains.assign(domains)


def _item_table(
    vocabulary: Vocabulary, admitted: Admitted, whole: Dataset, rows: np.ndarray, table: pa.Table
) -> pa.Table:
    """The run's item table in its new rows: what the run says of items it keeps, and else the data set."""
    row = np.arange(len(vocabulary))
    place = np.full(len(row), -1)
    place[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    said = whole.item_table.take(pa.array(place, mask=place < 0))
    held = table.take(pa.array(row, mask=(row >= len(table)) | np.isin(row, admitted.reused)))
    columns = {name: said[name] for name in table.column_names if name in said.column_names}
    for name in columns.keys() - {"item", "events"}:
        columns[name] = pc.coalesce(held[name].cast(said[name].type), said[name])
    columns |= {"item": vocabulary.values, "events": pc.fill_null(said["events"], 0)}
    return pa.table(columns)
