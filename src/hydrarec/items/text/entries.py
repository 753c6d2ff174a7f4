"""Token sequences under keys, in files that only grow.

``tokens.bin`` holds token ids end to end (int32), ``ends.bin`` where each sequence ends (int64), ``keys.bin`` the key
of each (16 bytes); little-endian, without headers. A batch is written in this order, each file on disk before the next
begins. So an entry is whole when its key is, whatever the moment at which a process or the machine died: what goes
beyond is not seen, and cut off before more is written.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from hydrarec.errors import HydrarecError, InputError
from hydrarec.files import read_json, write_json

KEY_BYTES = 16
_FORMAT = {"format": "hydrarec-text", "version": 1}
_TYPES: dict[str, np.dtype[Any]] = {
    "tokens": np.dtype("<i4"),
    "ends": np.dtype("<i8"),
    "keys": np.dtype(f"V{KEY_BYTES}"),
}
_REMEDY = "remove the folder; it is made again from the texts"


class Entries:
    """E entries as they were when last looked at.

    Attributes:
        tokens: (T,) int32, memory-mapped.
        ends: (E,) int64, likewise; entry e is ``tokens[ends[e - 1]:ends[e]]``, the first begins at 0.
        keys: (E,) void of 16 bytes, likewise.

    Raises:
        InputError: the folder holds something else, entries of a newer version, or damaged ones.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tokens, self.ends, self.keys = (np.empty(0, kind) for kind in _TYPES.values())
        self.refresh()

    def __len__(self) -> int:
        return len(self.ends)

    def refresh(self) -> None:
        """Look again: see what other processes have added since."""
        self._check_format()
        there = {name: self._size(name) // kind.itemsize for name, kind in _TYPES.items()}
        ends = self._map("ends", min(there["ends"], there["keys"]))
        if np.any(np.diff(ends[max(0, len(self) - 1) :]) < 1) or np.any(ends[:1] < 1):  # of those not seen before
            raise InputError(f"{self._path('ends')} is damaged; {_REMEDY}")
        whole = int(np.searchsorted(ends, there["tokens"], side="right"))  # fewer only if tokens.bin was cut off
        self.ends = ends[:whole]
        self.keys = self._map("keys", whole)
        self.tokens = self._map("tokens", int(ends[whole - 1]) if whole else 0)

    def repair(self) -> None:
        """Cut off what is not whole. Whoever calls this or ``append`` is the only one to write (``alone_in``)."""
        if not self._path("format").exists():
            write_json(self._path("format"), _FORMAT)
        self.refresh()
        for name, kind in _TYPES.items():
            if self._size(name) > len(getattr(self, name)) * kind.itemsize:
                os.truncate(self._path(name), len(getattr(self, name)) * kind.itemsize)

    def append(self, tokens: np.ndarray, lengths: np.ndarray, keys: np.ndarray) -> None:
        """Add entries: their tokens end to end, their lengths (n,), at least 1, and keys (n,).

        Raises:
            HydrarecError: the disk is full, or not to be written on; entries from before stay.
        """
        columns = {"tokens": tokens, "ends": len(self.tokens) + np.cumsum(lengths), "keys": keys}
        for name, kind in _TYPES.items():
            try:
                with self._path(name).open("ab") as file:
                    file.write(np.ascontiguousarray(columns[name], dtype=kind).data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise HydrarecError(f"cannot write {self._path(name)}: {error.strerror}; nothing was lost") from error
        self.refresh()

    def _path(self, name: str) -> Path:
        return self.folder / ("format.json" if name == "format" else f"{name}.bin")

    def _size(self, name: str) -> int:
        path = self._path(name)
        return path.stat().st_size if path.exists() else 0

    def _map(self, name: str, n: int) -> np.ndarray:
        if not n:  # nothing cannot be mapped
            return np.empty(0, _TYPES[name])
        mapped: np.ndarray = np.memmap(self._path(name), _TYPES[name], mode="r", shape=(n,))
        return mapped

    def _check_format(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; choose a folder for the texts")
        path = self._path("format")
        if not path.exists():
            if any(self._size(name) for name in _TYPES):
                raise InputError(f"{path} is missing; {_REMEDY}")
            return
        head = read_json(path, remedy=_REMEDY)
        if head != _FORMAT:
            raise InputError(f"{self.folder} holds no texts that this version of hydrarec reads; choose another folder")
