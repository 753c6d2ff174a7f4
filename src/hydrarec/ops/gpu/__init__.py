"""The operations on a GPU: products of matrices through torch, Triton for what memory bounds.

Nothing here is imported before a tensor lies on a GPU, and Triton not before a kernel starts; docs/gpu.md says what
of it has been measured.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


@cache
def has_triton() -> bool:
    """Whether the package is there; torch brings it along for CUDA on Linux."""
    return find_spec("triton") is not None


def usable(x: Tensor) -> bool:
    """Whether the Triton kernels take this tensor: it lies on a GPU and has at most 32 bits a number."""
    return x.is_cuda and x.dtype is not torch.float64 and has_triton()
