"""New items for a trained run, which can be recommended at once: a vector from text needs no training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from hydrarec.data.new_items import read_new_items
from hydrarec.errors import InputError
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.prompt import has_text, sentences
from hydrarec.items.text.reader import TextReader
from hydrarec.items.vocabulary import Vocabulary
from hydrarec.models.neural import NeuralModel
from hydrarec.progress import Progress, Silent
from hydrarec.sharing import alone_in
from hydrarec.train.grow import grow_model, grow_table
from hydrarec.train.run import Run, change_items, open_run


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

    New items are added whole or not at all. Ended between its two files, known ones have their new vector and still
    their old text; the same call mends that. Whoever has loaded the run before loads it again.

    Args:
        source: an item id, text columns named as in training, and ``domain`` where the run has domains.
        item: the id column; None: guessed.
        strict: an item without text is an error.

    Raises:
        InputError: the run knows its items by id alone, or the source is wrong; nothing is changed.
    """
    with alone_in(run.path, wait=True):
        run = open_run(run.path)  # it may have gone on with a day since it was opened
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
        n_added, n_updated = int(added.sum()), int(changed.sum())
        skipped = len(given) - n_added - n_updated
        if added.any() or changed.any():
            vectors = TextReader(run.settings.items, model.items).read(texts.filter(there), progress or Silent())
            every = torch.zeros(len(there), vectors.shape[1])
            every[torch.from_numpy(there)] = vectors
            kept = added | changed
            given, rows, changed = given.filter(pa.array(kept)), rows[kept], changed[kept]
            grow_model(model, every[torch.from_numpy(kept)], known, given, rows, changed)
            change_items(run, model, grow_table(known, given, rows, changed))
    return AddedItems(added=n_added, updated=n_updated, skipped=skipped, without_text=without)
