"""Rotary position encoding of the item path, periodic so that a stream may be endless."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from hydrarec.ops import gpu

BASE = 10_000.0


def rotate(z: Tensor, positions: Tensor, base: float = BASE) -> Tensor:
    """Rotate channel pairs (i, i + c/2) of z by ``positions`` times a frequency (Su et al. 2021).

    Args:
        z: (T, G, c), c even.
        positions: (T,) int64.
    """
    half = z.shape[2] // 2
    dtype = torch.promote_types(z.dtype, torch.float32)  # half precision cannot tell position 257 from 256
    frequencies = base ** (-torch.arange(half, device=z.device, dtype=dtype) / half)
    angles = (positions.to(dtype).unsqueeze(1) * frequencies).unsqueeze(1)  # (T, 1, c/2)
    cos, sin = angles.cos(), angles.sin()
    first, second = z[..., :half], z[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=2)


def interact(y: Tensor, z: Tensor, positions: Tensor, scale: float) -> Tensor:
    """y * (1 + RoPE(SiLU(z))) * scale, all (T, G, c): where the history path meets the item path."""
    if gpu.usable(z):
        from hydrarec.ops.gpu.interact import interact as fused

        return fused(y, z, positions, scale)
    return torch.addcmul(y, y, rotate(F.silu(z), positions)) * scale


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # whoever asks first, training may ask next
def rotation_table(period: int, c: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """(period, 2c): a position's rotation of c channels as kernels read it.

    Row p holds c factors of a channel itself, then c factors of its partner, c/2 further on or back.
    """
    frequencies = BASE ** (-torch.arange(c // 2, dtype=torch.float64) / (c // 2))
    angles = torch.arange(period, dtype=torch.float64).unsqueeze(1) * frequencies  # (period, c/2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos, -sin, sin], dim=1).to(dtype)


def positions_of(offsets: Tensor, start: Tensor, period: int) -> Tensor:
    """Number of every event in its user's stream, modulo ``period``.

    A model trained on windows of ``period`` events or more meets no rotation in an endless stream that it has not met
    in training.

    Args:
        offsets: (U+1,) bounds of the histories.
        start: (U,) int64, events of each user before this batch.
    """
    T = int(offsets[-1])
    shift = start - offsets[:-1]
    return (torch.arange(T, device=offsets.device) + shift.repeat_interleave(offsets.diff(), output_size=T)) % period
