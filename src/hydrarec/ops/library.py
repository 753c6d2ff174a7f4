"""The compiled kernels: loading, the instruction set of this machine, threads, and calls with tensors."""

import ctypes
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from hydrarec.ops.compile import LIBRARY, instruction_sets, is_current

CHUNK = 64  # events between two kept states, as in csrc/mamba2.h
HIDDEN = "HYDRAREC_KERNEL=0 hides them"
_OUT_OF_MEMORY = 1


class Kernels:
    """The library of one instruction set.

    Attributes:
        isas: the instruction sets that this processor runs, widest first.
        isa: the one in use: ``avx512``, ``avx2`` or ``plain``, which is NEON on a 64-bit ARM. ``HYDRAREC_ISA`` names
            another of ``isas`` than the first.
        tiles: whether ``avx512`` may use matrix tiles (AMX) beside; not where ``HYDRAREC_ISA`` names the set.
        shares_pool: whether the threads are those of PyTorch, or made for each call.

    Raises:
        AttributeError: the library lacks a function.
        ValueError: ``HYDRAREC_ISA`` names what is not there.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.hydrarec_isa.restype = ctypes.c_char_p
        sets = list(instruction_sets())
        self.isas = sets[sets.index(library.hydrarec_isa().decode()) :]
        self.isa = os.environ.get("HYDRAREC_ISA") or self.isas[0]
        if self.isa not in self.isas:
            raise ValueError(f"HYDRAREC_ISA={self.isa} is not among {', '.join(self.isas)}")
        self.tiles = self.isa == "avx512" and not os.environ.get("HYDRAREC_ISA") and bool(library.hydrarec_amx())
        pool = _pool_of_torch()
        self.shares_pool = pool is not None
        if pool is not None:
            library.hydrarec_use_pool(pool)

    def call(self, name: str, *arguments: "Sequence[int] | Sequence[Tensor | None] | float | int") -> None:
        """Run a kernel; sequences become arrays of int64 or of the tensors' addresses, 0 for None.

        Raises:
            MemoryError: there is no room for the kernel's scratch memory.
        """
        self.prepare(name, *arguments)()

    def prepare(
        self, name: str, *arguments: "Sequence[int] | Sequence[Tensor | None] | float | int"
    ) -> Callable[[], None]:
        """``call``, ready to be made again and again; the tensors must live as long."""
        function = getattr(self._library, f"{name}_{self.isa}")
        converted = tuple(map(_argument, arguments))

        def run() -> None:
            if function(*converted) == _OUT_OF_MEMORY:
                raise MemoryError(f"no memory for the work space of the kernel {name}")

        return run


def _argument(value: "Sequence[int] | Sequence[Tensor | None] | float | int") -> object:
    if isinstance(value, float):
        return ctypes.c_float(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if value and isinstance(value[0], int):
        return (ctypes.c_int64 * len(value))(*value)  # type: ignore[misc]  # the first is an int, so all are
    return (ctypes.c_void_p * len(value))(*(None if v is None else v.data_ptr() for v in value))  # type: ignore[union-attr]  # no ints


def library_path() -> Path:
    """Where the compiled kernels lie; ``HYDRAREC_LIBRARY`` names another build of them, such as one with sanitizers."""
    return Path(os.environ.get("HYDRAREC_LIBRARY") or LIBRARY)


@lru_cache(maxsize=1)
def kernels_or_reason() -> Kernels | str:
    """The compiled kernels, or why they are not used, as the end of a sentence about them."""
    if os.environ.get("HYDRAREC_KERNEL") == "0":
        return HIDDEN
    library = library_path()
    try:
        if not library.exists():
            return "they were not built"
        if not is_current(library):
            return "they were built from other sources than these"
        return Kernels(ctypes.CDLL(str(library)))
    except (OSError, AttributeError, ValueError) as error:  # such as built for another kind of machine
        return f"they cannot be loaded ({error})"


def kernels() -> Kernels | None:
    """The compiled kernels, if they can be used."""
    found = kernels_or_reason()
    return found if isinstance(found, Kernels) else None


def required_kernels() -> Kernels:
    """The compiled kernels.

    Raises:
        RuntimeError: they cannot be used.
    """
    found = kernels()
    if found is None:
        raise RuntimeError(f"the compiled kernels are needed, but {kernels_or_reason()}")
    return found


def chunk_starts(offsets: Tensor) -> Tensor:
    """(U+1,) int64: the number of each history's first chunk, and of all chunks."""
    counts = (offsets.diff() + CHUNK - 1).div(CHUNK, rounding_mode="floor")
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def dense_rows(t: Tensor) -> Tensor:
    """t (..., n) itself where the n values of a row, or of a head, lie side by side, else a copy."""
    return t if t.shape[-1] == 1 or t.stride(-1) == 1 else t.contiguous()


def _pool_of_torch() -> ctypes.c_void_p | None:
    """The entry point of the OpenMP library that torch runs on, where that is GCC's or speaks its language.

    Looked for from torch's own library on: whatever other OpenMP the process has loaded is another pool.
    """
    for path in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"):
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p)
        except (OSError, AttributeError):
            continue
    return None
