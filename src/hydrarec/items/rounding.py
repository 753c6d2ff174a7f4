"""Stochastic rounding: up or down by chance, so that the expected value is the number itself.

Rounding to the nearest loses every update that is smaller than half a step of the format; this one keeps them on
average, without a copy of the weights in float32.
"""

import torch
from torch import Tensor

_DROPPED = {torch.float16: 13, torch.bfloat16: 16}  # bits of float32's fraction that the format lacks


def to_half(vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """``vectors`` float32 as float16 or bfloat16.

    Below float16's normal numbers (6e-5) the last step is to the nearest multiple of 6e-8; beyond its largest (65,504)
    numbers are cut off.
    """
    bits = _DROPPED[dtype]
    noise = torch.randint(1 << bits, vectors.shape, dtype=torch.int32, device=vectors.device)
    cut = ((vectors.contiguous().view(torch.int32) + noise) >> bits << bits).view(torch.float32)
    largest = torch.finfo(dtype).max
    return cut.clamp_(-largest, largest).to(dtype)


def to_int8(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """``vectors`` (n, d) float32 as int8 (n, d) and the float32 (n,) that each row's are to be multiplied by."""
    scale = vectors.abs().amax(1) / 127
    steps = vectors / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    return (steps + torch.rand_like(steps)).floor_().clamp_(-127, 127).to(torch.int8), scale
