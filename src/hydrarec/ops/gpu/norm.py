"""RMSNorm (Zhang & Sennrich 2019), plain or of a gated input, in one kernel, forward and backward (Triton)."""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.gpu.blocks import blocks, even, head_major, power, summed

_NUMBERS = 1024  # that a program holds


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, (..., d) with weight (d,), on a GPU; float32 inside."""
    rows = even(x.reshape(-1, 1, x.shape[-1]))
    y: Tensor = _forward(rows, None, weight.unsqueeze(0), eps)
    return y.view(x.shape)


def gated_rms_norm(y: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of y * SiLU(gate), (T, G, E) both, times weight (G, E), on a GPU; memory head-major, float32 inside."""
    normed: Tensor = _forward(even(y), even(gate), weight.contiguous(), eps)
    return normed


def _geometry(x: Tensor, gate: Tensor | None) -> tuple[tuple[int, int], dict[str, Any]]:
    T, G, E = x.shape
    BE = power(E)
    BT = power(T, max(1, _NUMBERS // BE))
    return (blocks(T, BT), G), {"GATED": gate is not None, "BT": BT, "BE": BE}


@torch.library.custom_op("hydrarec::gpu_norm", mutates_args=())
def _forward(x: Tensor, gate: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    from hydrarec.ops.gpu.kernels import norm as kernels

    T, _, E = x.shape
    y = head_major(x, *x.shape)
    grid, sizes = _geometry(x, gate)
    g = x if gate is None else gate
    if y.numel():
        with torch.cuda.device_of(x):
            kernels.forward[grid](x, g, weight, y, T, E, *x.stride()[:2], *g.stride()[:2], eps, **sizes)
    return y


@torch.library.custom_op("hydrarec::gpu_norm_backward", mutates_args=())
def _backward(x: Tensor, gate: Tensor | None, weight: Tensor, eps: float, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from hydrarec.ops.gpu.kernels import norm as kernels

    T, G, E = x.shape
    grid, sizes = _geometry(x, gate)
    dx = head_major(x, T, G, E)
    dgate = torch.empty_like(dx) if gate is not None else x.new_empty(0)
    parts = x.new_empty(grid[0], G, E, dtype=torch.float32)
    g, dy = x if gate is None else gate, even(dy)
    if dx.numel():
        strides = (*x.stride()[:2], *g.stride()[:2], *dy.stride()[:2])
        with torch.cuda.device_of(x):
            kernels.backward[grid](x, g, weight, dy, dx, dgate, parts, T, G, E, *strides, eps, **sizes)
    return dx, dgate, summed(parts, weight)


@_forward.register_fake
def _(x: Tensor, gate: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    return head_major(x, *x.shape)


@_backward.register_fake
def _(x: Tensor, gate: Tensor | None, weight: Tensor, eps: float, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dgate = head_major(x, *x.shape) if gate is not None else x.new_empty(0)
    return head_major(x, *x.shape), dgate, torch.empty_like(weight)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, gate, weight, ctx.eps = inputs
    ctx.save_for_backward(x, gate, weight)


def _gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, gate, weight = ctx.saved_tensors
    dx, dgate, dweight = _backward(x, gate, weight, ctx.eps, dy)
    return dx, None if gate is None else dgate, dweight, None


_forward.register_autograd(_gradients, setup_context=_keep)
