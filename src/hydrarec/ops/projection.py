"""The projections of a layer with what stands beside them, in one kernel each.

``norm_linear``: RMSNorm(h) W^T, where the layer begins. ``linear_residual``: h + Dropout(u W^T), where its paths end.
"""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.library import dense_rows, kernels, required_kernels
from hydrarec.ops.operators import operator

WIDE = 128  # from this width on the products outweigh what is saved, and torch's own are as fast


def projection_fits(h: Tensor) -> bool:
    """Whether the kernels take this input: narrow, float32, on the CPU, and no faster half precision is asked for."""
    single = h.dtype == torch.float32 and h.device.type == "cpu" and h.dim() == 2 and 0 < h.shape[1] < WIDE
    return single and kernels() is not None and not torch.is_autocast_enabled("cpu")


@operator("norm_linear")
def norm_linear(h: Tensor, norm: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm(h) W^T: h (T, d), norm (d,), weight (n, d), all float32 -> (T, n)."""
    _check(h=(h, (len(h), weight.shape[-1])), norm=(norm, h.shape[1:]), weight=(weight, weight.shape[:1] + h.shape[1:]))
    y, h = torch.empty(len(h), len(weight)), dense_rows(h)
    inputs = [h, norm.contiguous(), weight.contiguous()]
    required_kernels().call("norm_linear", _sizes(h, len(weight), h), inputs, [y], eps, torch.get_num_threads())
    return y


@operator("norm_linear_backward")
def norm_linear_backward(
    dy: Tensor, h: Tensor, norm: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of h, norm and weight."""
    n, d = weight.shape
    _check(dy=(dy, (len(h), n)), h=(h, (len(h), d)), norm=(norm, (d,)), weight=(weight, (n, d)))
    gradients = (torch.empty(h.shape), torch.zeros(d), torch.zeros(n, d))
    h, dy = dense_rows(h), dense_rows(dy)
    inputs = [h, norm.contiguous(), weight.contiguous(), dy]
    arguments = (_sizes(h, n, h, dy), inputs, gradients, eps, torch.get_num_threads())
    required_kernels().call("norm_linear_backward", *arguments)
    return gradients


@operator("linear_residual")
def linear_residual(h: Tensor, u: Tensor, weight: Tensor, p: float, seed: int) -> Tensor:
    """h + Dropout(u W^T): h (T, d), u (T, n), weight (d, n), all float32 -> (T, d)."""
    d, n = weight.shape
    _check(h=(h, (len(h), d)), u=(u, (len(h), n)), weight=(weight, (d, n)))
    y, h, u = torch.empty(h.shape), dense_rows(h), dense_rows(u)
    arguments = (_sizes(u, d, u, h), [u, weight.contiguous(), h], [y], seed, p, torch.get_num_threads())
    required_kernels().call("linear_residual", *arguments)
    return y


@operator("linear_residual_backward")
def linear_residual_backward(dy: Tensor, u: Tensor, weight: Tensor, p: float, seed: int) -> tuple[Tensor, Tensor]:
    """Gradients of u and weight; that of h is dy."""
    d, n = weight.shape
    _check(dy=(dy, (len(u), d)), u=(u, (len(u), n)), weight=(weight, (d, n)))
    gradients = (torch.empty(u.shape), torch.zeros(d, n))
    u, dy = dense_rows(u), dense_rows(dy)
    arguments = (_sizes(u, d, u, dy), [u, weight.contiguous(), dy], gradients, seed, p, torch.get_num_threads())
    required_kernels().call("linear_residual_backward", *arguments)
    return gradients


def _sizes(rows: Tensor, out: int, *strided: Tensor) -> list[int]:
    return [*rows.shape, out, *(t.stride(0) for t in strided)]


def _check(**tensors: tuple[Tensor, tuple[int, ...]]) -> None:
    for name, (tensor, shape) in tensors.items():
        if tuple(tensor.shape) != tuple(shape) or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            found = f"{tuple(tensor.shape)} of {tensor.dtype} on {tensor.device}"
            raise ValueError(f"{name} has shape {found}, expected {tuple(shape)} of float32 on the CPU")
        if tensor.dim() == 2 and not tensor.shape[1]:
            raise ValueError(f"{name} has no columns, expected at least 1")


@norm_linear.register_fake
def _(h: Tensor, norm: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.empty(len(h), len(weight), device=h.device)


@norm_linear_backward.register_fake
def _(dy: Tensor, h: Tensor, norm: Tensor, weight: Tensor, eps: float) -> Any:
    return tuple(torch.empty(t.shape, device=h.device) for t in (h, norm, weight))


@linear_residual.register_fake
def _(h: Tensor, u: Tensor, weight: Tensor, p: float, seed: int) -> Tensor:
    return torch.empty(h.shape, device=h.device)


@linear_residual_backward.register_fake
def _(dy: Tensor, u: Tensor, weight: Tensor, p: float, seed: int) -> Any:
    return tuple(torch.empty(t.shape, device=u.device) for t in (u, weight))


def _keep_norm(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.eps = inputs[3]


def _keep_residual(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])
    ctx.mask = inputs[3:]


norm_linear.register_autograd(
    lambda ctx, dy: (*norm_linear_backward(dy, *ctx.saved_tensors, ctx.eps), None), setup_context=_keep_norm
)
linear_residual.register_autograd(
    lambda ctx, dy: (dy, *linear_residual_backward(dy, *ctx.saved_tensors, *ctx.mask), None, None),
    setup_context=_keep_residual,
)
