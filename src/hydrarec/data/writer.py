"""Arrays written to disk piece by piece."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np


class ArrayWriter:
    """Several .npy files of one length, filled in step, from the beginning or where ``sync`` left them.

    Plain writes rather than a memory map: on a full disk a write raises ``OSError``, a store into a map kills the
    process.
    """

    def __init__(self, dtypes: Mapping[Path, Any], length: int, written: int = 0) -> None:
        self._dtypes = {path: np.dtype(dtype) for path, dtype in dtypes.items()}
        self._length = length
        self._written = written
        self._stack = ExitStack()
        self._files: dict[Path, Any] = {}

    def __enter__(self) -> Self:
        for path, dtype in self._dtypes.items():
            file = self._files[path] = self._stack.enter_context(path.open("r+b" if self._written else "wb"))
            header = {"descr": dtype.str, "fortran_order": False, "shape": (self._length,)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.seek(self._written * dtype.itemsize, os.SEEK_CUR))
        return self

    def append(self, arrays: Mapping[Path, np.ndarray]) -> None:
        """Append to every file; all arrays of one call have the same length."""
        for path, file in self._files.items():
            file.write(np.ascontiguousarray(arrays[path], dtype=self._dtypes[path]).data)
        self._written += len(next(iter(arrays.values())))

    def sync(self) -> None:
        """Return when the disk has all that was appended."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if kind is None and self._written != self._length:
            raise AssertionError(f"{self._written} events written, {self._length} expected")
