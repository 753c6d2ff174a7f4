"""What the launching of every kernel needs: blocks of a power of two, memory layouts, strides."""

import torch
from torch import Tensor


def blocks(total: int, size: int) -> int:
    """How many blocks of ``size`` cover ``total``."""
    return -(-total // size)


def power(width: int, most: int = 1 << 30) -> int:
    """The smallest power of two that covers ``width``, at most ``most``: Triton's blocks are powers of two."""
    return min(most, 1 << max(0, width - 1).bit_length())


def head_major(x: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Empty (T, G, F) in memory (G, T, F), as the batched products of all heads leave it; device and dtype of x."""
    T, G, F = shape
    return x.new_empty(G, T, F, dtype=dtype or x.dtype).transpose(0, 1)


def even(x: Tensor) -> Tensor:
    """x itself where the last dimension is contiguous, which is all that the kernels ask; else a copy."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def summed(parts: Tensor, like: Tensor) -> Tensor:
    """Sum over the blocks (first dimension) of ``parts``, in the dtype of ``like``."""
    return parts.sum(0).to(like.dtype)


def users_of(offsets: Tensor, T: int) -> Tensor:
    """(T,) int64, the history of each event."""
    return torch.repeat_interleave(offsets.diff(), output_size=T)
