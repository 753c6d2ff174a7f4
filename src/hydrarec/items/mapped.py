"""A table of rows on disk, for catalogs beyond memory: the system keeps in memory what is used most.

A folder: ``vectors.bin`` and ``squares.bin``, row by row, and ``table.json``, which says how many there are. Training
writes into the files; after a crash of the machine (not of the process) some rows may be older than others. So training
takes a ``snapshot`` where it takes a checkpoint.
"""

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch

from hydrarec.errors import HydrarecError, InputError
from hydrarec.files import read_json, whole_folder, write_json
from hydrarec.items.compact import FloatRows
from hydrarec.items.rounding import to_half
from hydrarec.items.table import draw

FORMAT, VERSION = "hydrarec-item-table", 1
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_AT_ONCE = 1 << 13


@dataclass(frozen=True, kw_only=True)
class Head:
    """What ``table.json`` says of the two files."""

    n_items: int
    width: int
    dtype: str
    std: float

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            "vectors.bin": self.n_items * self.width * _DTYPES[self.dtype].itemsize,
            "squares.bin": self.n_items * 4,
        }


class MappedTable(FloatRows):
    """One vector an item, in a memory-mapped file; ``create`` makes one and ``open`` opens it.

    Its tensors are no part of ``state_dict``: the folder is where they are saved.

    Attributes:
        folder: where it lies. head: what ``table.json`` says.
        weight: (V, d) of the head's dtype; squares: (V,) float32. Both are maps of files.
    """

    def __init__(self, folder: Path, head: Head) -> None:
        super().__init__()
        self.folder, self.head, self.width, self.std = folder, head, head.width, head.std
        self._map()

    @classmethod
    def create(
        cls,
        folder: Path | str,
        n_items: int,
        width: int,
        std: float = 0.02,
        dtype: torch.dtype = torch.float16,
        *,
        overwrite: bool = False,
    ) -> Self:
        """A new table in a new folder.

        Raises:
            InputError: the folder exists and ``overwrite`` is false. HydrarecError: it cannot be written.
        """
        name = next(name for name, value in _DTYPES.items() if value == dtype)
        with whole_folder(Path(folder), overwrite=overwrite) as temporary:
            empty = Head(n_items=0, width=width, dtype=name, std=std)
            _append(temporary, empty, n_items)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Raises InputError: not such a folder, made by a newer version, or a file is missing, truncated or damaged."""
        folder = Path(folder)
        remedy = f"restore {folder} from a snapshot"
        said = read_json(folder / "table.json", remedy=remedy)
        if not isinstance(said, dict) or said.pop("format", None) != FORMAT or said.pop("version", None) != VERSION:
            raise InputError(f"{folder / 'table.json'} is not of an item table that this hydrarec reads; {remedy}")
        try:
            head = Head(**said)
            for name, size in head.sizes().items():
                path = folder / name
                there = path.stat().st_size
                if there < size:
                    raise InputError(f"{path} is truncated: {there:,} of {size:,} bytes; {remedy}")
                if there > size and os.access(path, os.W_OK):  # a process was killed while it added items
                    os.truncate(path, size)
        except (OSError, TypeError, KeyError) as error:
            raise InputError(f"{folder} is damaged ({error}); {remedy}") from error
        return cls(folder, head)

    def snapshot(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Copy the table to ``folder``, whole or not at all; ``open`` opens it there.

        Raises:
            InputError: it exists and ``overwrite`` is false. HydrarecError: it cannot be written.
        """
        with whole_folder(Path(folder), overwrite=overwrite) as temporary:
            for name in ("table.json", *self.head.sizes()):
                shutil.copyfile(self.folder / name, temporary / name)

    def restore(self, folder: Path | str) -> None:
        """Become what the snapshot in ``folder`` holds.

        Raises:
            InputError: the snapshot is missing or damaged; nothing was changed.
        """
        snapshot = type(self).open(folder)
        snapshot.snapshot(self.folder, overwrite=True)
        self.head = snapshot.head
        self._map()

    def add(self, n: int) -> None:
        """Append ``n`` new items with fresh vectors; what cannot be written whole leaves the table as it was.

        Raises:
            HydrarecError: the disk is full.
        """
        self.head = _append(self.folder, self.head, n)
        self._map()

    def _map(self) -> None:
        dtype, n, width = _DTYPES[self.head.dtype], self.head.n_items, self.head.width
        for name, file, size, kind in (
            ("weight", "vectors.bin", n * width, dtype),
            ("squares", "squares.bin", n, torch.float32),
        ):
            path = self.folder / file
            shared = os.access(path, os.W_OK)  # else it can be read, and what would be learned is nowhere
            values = torch.from_file(str(path), shared=shared, size=size, dtype=kind)
            self.register_buffer(name, values, persistent=False)
        self.weight = self.weight.view(n, width)


def _append(folder: Path, head: Head, n: int) -> Head:
    """Write ``n`` new rows by plain writes (on a full disk a store into a map kills the process), then the head."""
    dtype, longer = _DTYPES[head.dtype], Head(**{**asdict(head), "n_items": head.n_items + n})
    try:
        with (folder / "vectors.bin").open("ab") as vectors, (folder / "squares.bin").open("ab") as squares:
            for start in range(0, n, _AT_ONCE):
                fresh = draw(min(_AT_ONCE, n - start), head.width, head.std)
                rounded = fresh if dtype == torch.float32 else to_half(fresh, dtype)
                vectors.write(rounded.view(torch.uint8).numpy().data)
                squares.write(bytes(4 * len(fresh)))
            for file in (vectors, squares):
                file.flush()
                os.fsync(file.fileno())
        write_json(folder / "table.json", {"format": FORMAT, "version": VERSION, **asdict(longer)})
    except OSError as error:
        for name, size in head.sizes().items():
            os.truncate(folder / name, size)
        raise HydrarecError(f"cannot write {folder}: {error.strerror}; nothing was changed") from error
    return longer
