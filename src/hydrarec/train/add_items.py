"""New items for a trained run, which can be recommended at once: a vector from text needs no training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from hydrarec.data.domains import domains_of
from hydrarec.data.new_items import read_new_items
from hydrarec.errors import InputError
from hydrarec.files import alone_in
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.prompt import has_text, sentences
from hydrarec.items.text.reader import read_texts
from hydrarec.items.vocabulary import Vocabulary
from hydrarec.models.hydra import Hydra
from hydrarec.models.neural import NeuralModel
from hydrarec.progress import Progress, Silent
from hydrarec.train.run import Run, change_items


@dataclass(frozen=True, kw_only=True)
class AddedItems:
    """What became of the items that were given.

    Attributes:
        added: new ones.
        updated: known ones with another text.
        skipped: known ones as they were, and new ones without text.
        without_text: ids of the latter.
    """

    added: int
    updated: int
    skipped: int
    without_text: tuple[Any, ...]


def add_items(
    run: Run, source: Any, *, item: str | None = None, strict: bool = False, progress: Progress | None = None
) -> AddedItems:
    """Add the items of a file or frame to ``run``, and give known ones the text that they now have.

    The run folder changes whole or not at all. Whoever has loaded it before loads it again.

    Args:
        source: an item id, text columns named as in training, and ``domain`` where the run has domains.
        item: the id column; None: guessed.
        strict: an item without text is an error.

    Raises:
        InputError: the run knows its items by id alone, or the source is wrong; nothing is changed.
    """
    with alone_in(run.path, wait=True):
        model = run.model()
        if not isinstance(model, NeuralModel) or not isinstance(model.items, TextItems):
            raise InputError(f"{run.path} knows its items by id alone; train with --set items.kind=text, or both")
        known = run.items()
        given = read_new_items(source, known, item)
        rows = Vocabulary(known["item"]).rows(given["item"])
        texts = sentences(given, run.settings.items.text)
        there, new = has_text(texts), rows < 0
        without = tuple(given["item"].filter(pa.array(new & ~there)).to_pylist())
        if strict and without:
            raise InputError(f"{len(without)} items have no text, the first is {without[0]!r}; give them one")
        before = sentences(known, run.settings.items.text).take(pa.array(rows, mask=new))
        changed = ~new & there & ~np.asarray(pc.fill_null(pc.equal(texts, before), False), bool)
        added = new & there
        if added.any() or changed.any():
            vectors = read_texts(run.settings.items, model.items, texts.filter(there), progress or Silent())
            every = torch.zeros(len(there), vectors.shape[1])
            every[torch.from_numpy(there)] = vectors
            _change(model, every, known, given, rows, added, changed)
            change_items(run, model, _joined(known, given, rows, added, changed))
    n_added, n_updated = int(added.sum()), int(changed.sum())
    return AddedItems(added=n_added, updated=n_updated, skipped=len(given) - n_added - n_updated, without_text=without)


def _change(
    model: NeuralModel,
    vectors: torch.Tensor,
    known: pa.Table,
    given: pa.Table,
    rows: np.ndarray,
    added: np.ndarray,
    changed: np.ndarray,
) -> None:
    """Give the model text vectors (n, h) of the items that are new or changed."""
    items = model.items
    assert isinstance(items, TextItems)
    with torch.no_grad():
        items.vectors = items.with_vectors(torch.from_numpy(rows[changed]), vectors[torch.from_numpy(changed)])
    domains = None
    names, codes = domains_of(known)
    if codes is not None:
        column = given["domain"].filter(pa.array(added)).cast(pa.string())
        domains = torch.from_numpy(np.asarray(pc.index_in(column, pa.array(names, pa.string())), np.int64))
        if isinstance(model, Hydra) and model.domains is not None:
            model.domains.add(domains)
    fresh = vectors[torch.from_numpy(added)]
    items.add(fresh, torch.ones(len(fresh), dtype=torch.bool), domains)


def _joined(known: pa.Table, given: pa.Table, rows: np.ndarray, added: np.ndarray, changed: np.ndarray) -> pa.Table:
    """The item table with new items at its end, and known ones with their present text."""
    place = np.arange(known.num_rows)
    place[rows[changed]] = known.num_rows + np.flatnonzero(changed)
    both = pa.concat_tables([known, given])
    order = np.concatenate([place, known.num_rows + np.flatnonzero(added)])
    joined = both.take(pa.array(order))
    events = pc.fill_null(known["events"].combine_chunks(), 0)  # those of training stay
    events = pa.concat_arrays([events, pa.nulls(int(added.sum()), events.type).fill_null(0)])
    return joined.set_column(joined.column_names.index("events"), "events", events)
