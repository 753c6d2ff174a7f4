"""A trained model with more items, or with another text of those it has: old rows stay where they are."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from hydrarec.data.domains import domains_of
from hydrarec.items.text.items import TextItems
from hydrarec.models.hydra import Hydra
from hydrarec.models.neural import NeuralModel


def grow_model(
    model: NeuralModel,
    vectors: Tensor,
    known: pa.Table,
    given: pa.Table,
    rows: np.ndarray,
    changed: np.ndarray,
) -> None:
    """Give a model whose items have text the text vectors of those that are new or changed.

    Args:
        vectors: (n, h) of ``given``; read where an item is new or ``changed``.
        known: the item table of the model.
        given: n items in its form.
        rows: (n,) of them in ``known``, -1 for new ones.
        changed: (n,) bool, known ones with another text.
    """
    items, new = model.items, rows < 0
    assert isinstance(items, TextItems)
    with torch.no_grad():
        items.vectors = items.with_vectors(torch.from_numpy(rows[changed]), vectors[torch.from_numpy(changed)])
    domains = None
    names, codes = domains_of(known)
    if codes is not None:
        column = given["domain"].filter(pa.array(new)).cast(pa.string())
        domains = torch.from_numpy(np.asarray(pc.index_in(column, pa.array(names, pa.string())), np.int64))
        if isinstance(model, Hydra) and model.domains is not None:
            model.domains.add(domains)
    fresh = vectors[torch.from_numpy(new)]
    items.add(fresh, torch.ones(len(fresh), dtype=torch.bool), domains)


def grow_table(known: pa.Table, given: pa.Table, rows: np.ndarray, changed: np.ndarray) -> pa.Table:
    """The item table with new items at its end and ``changed`` ones replaced; arguments as of ``grow_model``."""
    new = rows < 0
    events = pc.fill_null(known["events"], 0)  # those of training stay
    events = pa.chunked_array([*events.chunks, pa.nulls(int(new.sum()), events.type).fill_null(0)])
    added = given.filter(pa.array(new))
    if changed.any():
        place = np.arange(known.num_rows)
        place[rows[changed]] = known.num_rows + np.flatnonzero(changed)
        known = pa.concat_tables([known, given]).take(pa.array(place))
    joined = pa.concat_tables([known, added])
    return joined.set_column(joined.column_names.index("events"), "events", events)
