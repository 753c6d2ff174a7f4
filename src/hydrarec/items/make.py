"""The item encoder that settings ask for: a new one for a data set, or one that was saved."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.items.config import ItemsConfig
from hydrarec.items.contract import ItemEncoder
from hydrarec.items.fallback import Fallback
from hydrarec.items.tables import new_table, saved_table
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.source import TextSource
from hydrarec.items.text.tuning import Tuning, as_dict
from hydrarec.progress import Progress


def new_items(
    config: ItemsConfig,
    dataset: Dataset,
    width: int,
    counts: np.ndarray,
    progress: Progress,
    folder: Path | None = None,
) -> tuple[ItemEncoder, Tuning | None]:
    """An encoder of the items of ``dataset``, and how its language model learns, where it does.

    Args:
        width: d.
        counts: (V,) training events of each item.
        folder: where a table on disk is made; one that is there is replaced.

    Raises:
        InputError: no item has a text, or there is no such language model.
    """
    table = None if config.kind == "text" else new_table(config, dataset.n_items, width, folder)
    if table is not None and config.kind == "table":
        if config.unseen:
            known = torch.from_numpy(counts > 0)
            table.fallback = Fallback(config.unseen_vectors, width, known, share=config.unseen)
        return table, None
    source = TextSource(config.text)
    texts, has_text = source.sentences(dataset.item_table)
    if not has_text.any():
        raise InputError(
            "no item of the data set has a text; prepare it with titles (--items), or take items.kind=table"
        )
    rows = source.texts.add(texts, progress)
    vectors = torch.from_numpy(source.vectors.vectors(rows[has_text], progress))
    codes = dataset.item_domains
    domains = None if codes is None else torch.from_numpy(codes)
    n_domains = 1 if domains is None else int(domains.max()) + 1
    items = TextItems(
        dataset.n_items,
        vectors.shape[1],
        width,
        n_domains=n_domains,
        table=table,
        adapter=config.adapter,
    )
    items.fill(vectors, torch.from_numpy(has_text), domains, center=config.center)
    if items.table is not None:
        items.known.copy_(torch.from_numpy(counts > 0))
    if config.tuning.mode == "frozen":
        return items, None
    return items, Tuning(items, source.backbone, source.texts, rows, config.tuning)


# Tensors of a saved model with a row for each item.
_OF_TABLES = ("weight", "squares", "codes", "scale")
_BY_ITEM = {f"items.{name}" for name in ("vectors", "item_domains", "known", "fallback.known", "gathered", *_OF_TABLES)}
_BY_ITEM |= {f"items.table.{name}" for name in _OF_TABLES} | {"domains.item_domains"}


def rows_of(name: str, value: Tensor, n_items: int) -> Tensor:
    """The rows of so many items, of a tensor of a saved model; there are more where adding items was interrupted."""
    return value[:n_items] if name in _BY_ITEM and value.dim() else value


def saved_items(
    config: ItemsConfig, n_items: int, width: int, tensors: dict[str, Tensor], folder: Path | None = None
) -> ItemEncoder:
    """The encoder, not yet filled, that ``tensors`` of a saved model, and a table in ``folder``, fit.

    Raises:
        KeyError: they are those of another encoder. InputError: the table in ``folder`` is damaged.
    """
    own: dict[str, Any] = {name.removeprefix("items."): t for name, t in tensors.items() if name.startswith("items.")}
    if config.kind == "table":
        alone = saved_table(config, n_items, width, own, folder)
        if config.unseen:
            alone.fallback = Fallback.like(own["fallback.weight"], own["fallback.known"][:n_items], config.unseen)
        return alone
    table = None
    if config.kind == "both":
        of_table = {name.removeprefix("table."): t for name, t in own.items() if name.startswith("table.")}
        table = saved_table(config, n_items, width, of_table, folder)
    (_, h), (n_domains, _) = own["vectors"].shape, own["means"].shape
    items = TextItems(n_items, h, width, n_domains=n_domains, table=table, adapter=config.adapter)
    learned = {name.removeprefix("learned."): t for name, t in own.items() if name.startswith("learned.")}
    items.learned = as_dict({name: nn.Parameter(torch.empty_like(t)) for name, t in learned.items()})
    if "gathered" in own:
        items.register_buffer("gathered", torch.empty_like(own["gathered"]))
    return items
