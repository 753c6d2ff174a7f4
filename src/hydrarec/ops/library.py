"""The compiled kernels: loading, the instruction set of this machine, threads, and calls with tensors."""

import ctypes
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from hydrarec.ops.build import LIBRARY

CHUNK = 64  # events between two kept states, as in csrc/mamba2.h
_OUT_OF_MEMORY = 1


class Kernels:
    """The library of one instruction set.

    Attributes:
        isa: ``avx512``, ``avx2`` or ``plain``, which is NEON on a 64-bit ARM.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.hydrarec_isa.restype = ctypes.c_char_p
        self.isa: str = os.environ.get("HYDRAREC_ISA") or library.hydrarec_isa().decode()
        pool = _pool_of_torch()
        if pool is not None:
            library.hydrarec_use_pool(pool)

    def call(self, name: str, *arguments: "Sequence[int] | Sequence[Tensor | None] | float | int") -> None:
        """Run a kernel; sequences become arrays of int64 or of the tensors' addresses, 0 for None.

        Raises:
            MemoryError: there is no room for the kernel's scratch memory.
        """
        function = getattr(self._library, f"{name}_{self.isa}")
        if function(*map(_argument, arguments)) == _OUT_OF_MEMORY:
            raise MemoryError(f"no memory for the work space of the kernel {name}")


def _argument(value: "Sequence[int] | Sequence[Tensor | None] | float | int") -> object:
    if isinstance(value, float):
        return ctypes.c_float(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if value and isinstance(value[0], int):
        return (ctypes.c_int64 * len(value))(*value)
    return (ctypes.c_void_p * len(value))(*(None if v is None else v.data_ptr() for v in value))  # type: ignore


@lru_cache(maxsize=1)
def kernels() -> Kernels | None:
    """The compiled kernels, or None where they were not built, cannot be loaded, or ``HYDRAREC_KERNEL=0`` hides them."""
    if os.environ.get("HYDRAREC_KERNEL") == "0" or not LIBRARY.exists():
        return None
    try:
        return Kernels(ctypes.CDLL(str(LIBRARY)))
    except (OSError, AttributeError):  # built for another machine, or by another version
        return None


def required_kernels() -> Kernels:
    """The compiled kernels.

    Raises:
        RuntimeError: they are not there.
    """
    found = kernels()
    if found is None:
        raise RuntimeError("the compiled kernels are not there; `hydrarec doctor` says why")
    return found


def chunk_starts(offsets: Tensor) -> Tensor:
    """(U+1,) int64: the number of each history's first chunk, and of all chunks."""
    counts = (offsets.diff() + CHUNK - 1).div(CHUNK, rounding_mode="floor")
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _pool_of_torch() -> ctypes.c_void_p | None:
    """The entry point of the OpenMP library that torch runs on, where that is GCC's or speaks its language."""
    folder = Path(torch.__file__).parent / "lib"
    for path in (*folder.glob("libgomp*"), *folder.glob("libomp*"), *folder.glob("libiomp*")):
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p)
        except (OSError, AttributeError):
            continue
    return None
