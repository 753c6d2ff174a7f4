"""Shards of a table on disk: ``shard-00000-of-00002.safetensors``, each written by the process that has the rows.

Any number of processes reads them, each the rows that it needs.
"""

import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hydrarec import processes
from hydrarec.errors import InputError
from hydrarec.files import whole_file
from hydrarec.items.sharded import rows_of_shard

SHARD = "items.shard."
"""Begins the names of those of a model's tensors of which each process has some rows."""


def save_shard(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write this process's rows of some tensors into ``folder``, and wait for the others.

    Raises:
        InputError: this process does not see the folder, which the first one has made.
    """
    if not folder.is_dir():
        raise InputError(
            f"process {processes.rank()} does not see {folder}; with items.storage=sharded, --out must lie where all "
            "hosts see it"
        )
    name = f"shard-{processes.rank():05d}-of-{processes.world():05d}.safetensors"
    with whole_file(folder / name) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary)
    processes.total(torch.zeros(1))


def load_shards(folder: Path, n_items: int, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """The rows of one shard out of ``world``, of a table of ``n_items`` rows that any number of processes saved.

    Raises:
        InputError: a shard is missing, truncated, or of another table.
    """
    low, high = rows_of_shard(n_items, rank, world)
    files = sorted(folder.glob("shard-*-of-*.safetensors"))
    count = int(match[1]) if files and (match := re.search(r"-of-(\d+)\.", files[0].name)) else 1
    parts: dict[str, list[Tensor]] = {}
    for number in range(count):
        file = folder / f"shard-{number:05d}-of-{count:05d}.safetensors"
        first, end = rows_of_shard(n_items, number, count)
        start, stop = max(low, first), max(min(high, end), max(low, first))
        try:
            with safe_open(file, "pt") as content:
                for name in content.keys():  # noqa: SIM118  # no mapping
                    rows = content.get_slice(name)
                    if rows.get_shape()[0] != end - first:
                        raise InputError(f"{file} has {rows.get_shape()[0]} rows and should have {end - first}")
                    parts.setdefault(name, []).append(rows[start - first : stop - first])
        except (SafetensorError, OSError) as error:
            reason = "is missing" if not file.exists() else f"is truncated or damaged ({error})"
            raise InputError(f"{file} {reason}; copy the whole folder, or train again") from error
    return {name: torch.cat(values) for name, values in parts.items()}
