"""The table of learned vectors that ``items.storage`` asks for: a new one, or one that was saved."""

from pathlib import Path

import torch
from torch import Tensor

from hydrarec import processes
from hydrarec.errors import InputError
from hydrarec.items.compact import FloatTable, Int8Table
from hydrarec.items.config import ItemsConfig
from hydrarec.items.hashed import MultiHash, QuotientRemainder
from hydrarec.items.mapped import MappedTable
from hydrarec.items.rows import RowEncoder
from hydrarec.items.sharded import ShardedTable
from hydrarec.items.table import ItemTable

Table = ItemTable | RowEncoder
_STD = 0.02


def new_table(config: ItemsConfig, n_items: int, width: int, folder: Path | None = None) -> Table:
    """A table of fresh vectors; one on disk is made in ``folder``, in place of what is there.

    Raises:
        InputError: it is to lie on disk and nobody says where.
    """
    if config.storage == "full":
        return ItemTable(n_items, width, _STD)
    if config.storage == "mapped":
        if folder is None:
            raise InputError("items.storage=mapped keeps the table in a run folder; train with --out")
        dtype = getattr(torch, config.dtype)
        return MappedTable.create(folder, n_items, width, _STD, dtype=dtype, overwrite=True)
    if config.storage == "sharded":
        return ShardedTable(n_items, width, _STD)
    if config.storage == "int8":
        return Int8Table(n_items, width, _STD)
    if config.storage == "hashed":
        return _hashed(config, n_items, width)
    return FloatTable(n_items, width, _STD, torch.float16 if config.storage == "half" else torch.float32)


def saved_table(
    config: ItemsConfig, n_items: int, width: int, tensors: dict[str, Tensor], folder: Path | None = None
) -> Table:
    """The table that ``tensors`` of a saved model fit, with their content where it has rows; or that in ``folder``.

    Raises:
        KeyError: they are those of another table. InputError: the one in ``folder`` is missing or damaged.
    """
    if config.storage == "full":
        return ItemTable(n_items, width, _STD)
    if config.storage == "mapped":
        assert folder is not None
        return MappedTable.open(folder)
    table: Table
    if config.storage == "hashed":
        of = tensors["shared.squares" if config.hashes else "remainders.squares"]
        table = hashed = _hashed(config, 0, width, of)
        hashed.n_items = n_items
    elif config.storage == "sharded" and processes.world() > 1:
        table = ShardedTable(n_items, width, _STD, fresh=False)
    elif config.storage == "sharded":
        table = FloatTable(0, width, _STD)  # one process has all rows
    else:
        table = new_table(config, 0, width)
    for name in [name for name, _ in table.named_buffers()]:  # as they are: a copy would be as large as the catalog
        owner, _, last = name.rpartition(".")
        setattr(table.get_submodule(owner), last, tensors[name])
    return table


def _hashed(config: ItemsConfig, n_items: int, width: int, of: Tensor | None = None) -> QuotientRemainder | MultiHash:
    """``of``: a number of optimiser state for each of the shared rows that were saved."""
    buckets = config.buckets if of is None else len(of)
    if config.hashes:
        rows = FloatTable(buckets, width, _STD / config.hashes**0.5)
        return MultiHash(n_items, rows, hashes=config.hashes)
    return QuotientRemainder(n_items, width, _STD, buckets=buckets or None)
