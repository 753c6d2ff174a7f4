"""What there is to say of the compiled kernels on this machine."""

import warnings
from functools import lru_cache
from typing import Any

from hydrarec.ops.compile import compiler, is_current
from hydrarec.ops.library import HIDDEN, kernels_or_reason, library_path

FALLBACK_COST = 3  # times as long that a training step takes in plain PyTorch, by `hydrarec bench`
_COST = f"a training step takes about {FALLBACK_COST} times as long"


def kernel_facts() -> dict[str, Any]:
    """Whether the kernels are used and how, or why not, what that costs, and the remedy; None where it says nothing."""
    found = kernels_or_reason()
    facts: dict[str, Any] = dict.fromkeys(("why not", "remedy", "instruction set", "available", "threads"))
    if isinstance(found, str):
        facts |= {"why not": found, "remedy": _remedy(found)}
    else:
        threads = "of torch" if found.shares_pool else "made for each call"
        facts |= {"instruction set": found.isa, "available": found.isas, "threads": threads}
    return {
        "used": not isinstance(found, str),
        "built": is_current(library_path()),
        **facts,
        "without them": _COST,
        "compiler": " ".join(compiler()) or None,
    }


@lru_cache(maxsize=1)
def warn_of_absence() -> None:
    """Warn, once in a process, that plain PyTorch does the kernels' work; not where they were hidden on purpose."""
    found = kernels_or_reason()
    if isinstance(found, str) and found != HIDDEN:
        cost = f"Plain PyTorch does their work; {_COST}"
        warnings.warn(f"the compiled kernels are not used: {found}. {cost}. {_remedy(found)}", stacklevel=3)


def _remedy(reason: str) -> str:
    if reason == HIDDEN:
        return "Unset HYDRAREC_KERNEL"
    if not compiler():
        return "Install a C++ compiler (GCC or Clang), then run `python -m hydrarec.ops.build`"
    return "Run `python -m hydrarec.ops.build`"
