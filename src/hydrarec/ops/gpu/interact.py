"""The interaction of history path and item path in one kernel, forward and backward (Triton)."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.gpu.blocks import blocks, even, head_major, power

_NUMBERS = 1024  # pairs that a program holds


def interact(y: Tensor, z: Tensor, positions: Tensor, scale: float, base: float = 10_000.0) -> Tensor:
    """y * (1 + RoPE(SiLU(z))) * scale: Hydra's gate with rotary positions (Yuan 2025; Su et al. 2021), around one.

    Args:
        y: (T, G, c), c even, what the heads read from the history; on a GPU.
        z: (T, G, c), the item path before SiLU.
        positions: (T,) int64.
        scale: a constant factor.
        base: of the frequencies; pairs are (i, i + c/2), as in ``hydrarec.nn.rope.rotate``.

    Returns:
        (T, G, c), contiguous, in y's dtype.
    """
    frequencies = _frequencies(z.shape[2] // 2, base, z.device)
    out: Tensor = _forward(even(y), even(z), positions, frequencies, scale)
    return out


@lru_cache(maxsize=8)
def _frequencies(half: int, base: float, device: torch.device) -> Tensor:
    """(half,) float32. Taken from torch, not computed in the kernel: at position 65,536 the last bit is an angle."""
    exponents = torch.arange(half, device=device, dtype=torch.float32) / half
    return torch.pow(base, -exponents)


def _geometry(z: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    T, G, c = z.shape
    BH = power(c // 2)
    BT = power(T, max(1, _NUMBERS // BH))
    return (blocks(T, BT), G), {"BT": BT, "BH": BH}


@torch.library.custom_op("hydrarec::gpu_interact", mutates_args=())
def _forward(y: Tensor, z: Tensor, positions: Tensor, frequencies: Tensor, scale: float) -> Tensor:
    from hydrarec.ops.gpu.kernels import elementwise as kernels

    T, G, c = z.shape
    out = y.new_empty(T, G, c)
    grid, sizes = _geometry(z)
    if out.numel():
        strides = (*y.stride()[:2], *z.stride()[:2])
        with torch.cuda.device_of(z):
            kernels.interact[grid](y, z, positions, frequencies, out, T, G, c // 2, *strides, scale, **sizes)
    return out


@torch.library.custom_op("hydrarec::gpu_interact_backward", mutates_args=())
def _backward(
    y: Tensor, z: Tensor, positions: Tensor, frequencies: Tensor, scale: float, dout: Tensor
) -> tuple[Tensor, Tensor]:
    from hydrarec.ops.gpu.kernels import elementwise as kernels

    T, G, c = z.shape
    dout = even(dout)
    dy, dz = head_major(y, T, G, c), z.new_empty(T, G, c)
    grid, sizes = _geometry(z)
    if dz.numel():
        strides = (*y.stride()[:2], *z.stride()[:2], *dout.stride()[:2])
        with torch.cuda.device_of(z):
            kernels.interact_backward[grid](
                y, z, positions, frequencies, dout, dy, dz, T, G, c // 2, *strides, scale, **sizes
            )
    return dy, dz


@_forward.register_fake
def _(y: Tensor, z: Tensor, positions: Tensor, frequencies: Tensor, scale: float) -> Tensor:
    return y.new_empty(z.shape)


@_backward.register_fake
def _(
    y: Tensor, z: Tensor, positions: Tensor, frequencies: Tensor, scale: float, dout: Tensor
) -> tuple[Tensor, Tensor]:
    return head_major(y, *y.shape), z.new_empty(z.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _gradients(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    dy, dz = _backward(*ctx.saved_tensors, ctx.scale, dout)
    return dy, dz, None, None, None


_forward.register_autograd(_gradients, setup_context=_keep)
