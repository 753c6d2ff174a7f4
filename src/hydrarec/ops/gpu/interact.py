"""The interaction of history path and item path in one kernel, forward and backward (Triton)."""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.gpu.blocks import blocks, even, head_major, power

_NUMBERS = 2048  # channels that a program holds


def interact(y: Tensor, z: Tensor, scale: float) -> Tensor:
    """y * (1 + SiLU(z)) * scale: Hydra's gate (Yuan 2025), around one.

    Args:
        y: (T, G, c), what the heads read from the history; on a GPU.
        z: (T, G, c), the item path before SiLU.
        scale: a constant factor.

    Returns:
        (T, G, c), contiguous, in y's dtype.
    """
    out: Tensor = _forward(even(y), even(z), scale)
    return out


def _geometry(z: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    T, G, c = z.shape
    BC = power(c)
    BT = power(T, max(1, _NUMBERS // BC))
    return (blocks(T, BT), G), {"BT": BT, "BC": BC}


@torch.library.custom_op("hydrarec::gpu_interact", mutates_args=())
def _forward(y: Tensor, z: Tensor, scale: float) -> Tensor:
    from hydrarec.ops.gpu.kernels import elementwise as kernels

    T, G, c = z.shape
    out = y.new_empty(T, G, c)
    grid, sizes = _geometry(z)
    if out.numel():
        with torch.cuda.device_of(z):
            kernels.interact[grid](y, z, out, T, G, c, *y.stride()[:2], *z.stride()[:2], scale, **sizes)
    return out


@torch.library.custom_op("hydrarec::gpu_interact_backward", mutates_args=())
def _backward(y: Tensor, z: Tensor, scale: float, dout: Tensor) -> tuple[Tensor, Tensor]:
    from hydrarec.ops.gpu.kernels import elementwise as kernels

    T, G, c = z.shape
    dout = even(dout)
    dy, dz = head_major(y, T, G, c), z.new_empty(T, G, c)
    grid, sizes = _geometry(z)
    if dz.numel():
        strides = (*y.stride()[:2], *z.stride()[:2], *dout.stride()[:2])
        with torch.cuda.device_of(z):
            kernels.interact_backward[grid](y, z, dout, dy, dz, T, G, c, *strides, scale, **sizes)
    return dy, dz


@_forward.register_fake
def _(y: Tensor, z: Tensor, scale: float) -> Tensor:
    return y.new_empty(z.shape)


@_backward.register_fake
def _(y: Tensor, z: Tensor, scale: float, dout: Tensor) -> tuple[Tensor, Tensor]:
    return head_major(y, *y.shape), z.new_empty(z.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    y, z, ctx.scale = inputs
    ctx.save_for_backward(y, z)


def _gradients(ctx: Any, dout: Tensor) -> tuple[Tensor, Tensor, None]:
    dy, dz = _backward(*ctx.saved_tensors, ctx.scale, dout)
    return dy, dz, None


_forward.register_autograd(_gradients, setup_context=_keep)
