"""The feed-forward part of a layer with norm, dropout and residual around it, in one kernel.

y = h + Dropout(W_down(SiLU(W_gate n) * W_up n)), n = RMSNorm(h). Narrow layers keep nothing but h for the backward.
"""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.library import dense_rows, kernels, required_kernels
from hydrarec.ops.operators import operator

WIDE = 128  # from this width on, computing the products again takes longer than keeping them


def feed_forward_fits(h: Tensor) -> bool:
    """Whether the kernel takes this input: float32 on the CPU, and no faster half precision is asked for."""
    single = h.dtype == torch.float32 and h.device.type == "cpu" and h.dim() == 2
    return single and kernels() is not None and not torch.is_autocast_enabled("cpu")


def feed_forward(h: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor, eps: float, p: float, seed: int) -> Tensor:
    """Run the feed-forward part.

    Args:
        h: (T, d) float32. norm: (d,) gain. gate_up: (2n, d), gate first. down: (d, n).
        eps: of the RMSNorm.
        p: share of W_down's outputs that is dropped. seed: of the mask, which is a function of seed, row and column.

    Returns:
        (T, d).
    """
    keep = h.shape[-1] >= WIDE and torch.is_grad_enabled()
    y: Tensor = feed_forward_kernel(h, norm, gate_up, down, eps, p, seed, keep)[0]
    return y


@operator("feed_forward")
def feed_forward_kernel(
    h: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor, eps: float, p: float, seed: int, keep: bool
) -> tuple[Tensor, Tensor]:
    """As ``feed_forward``; and with ``keep`` the products with gate_up (T, 2n), else (0, 2n)."""
    _check(h, norm, gate_up, down)
    y, kept, h = torch.empty(h.shape), torch.empty(len(h) if keep else 0, gate_up.shape[0]), dense_rows(h)
    weights = [w.contiguous() for w in (norm, gate_up, down)]
    outputs = [y, kept if keep else None]
    required_kernels().call("feed_forward", _sizes(h, down, h), [h, *weights], outputs, eps, seed, p, _threads())
    return y, kept


@operator("feed_forward_backward")
def feed_forward_backward(
    dy: Tensor, h: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor, kept: Tensor, eps: float, p: float, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of h, norm, gate_up and down. kept: as ``feed_forward_kernel`` gave it."""
    _check(h, norm, gate_up, down)
    if dy.shape != h.shape or dy.dtype != torch.float32:
        raise ValueError(f"dy has shape {tuple(dy.shape)} of {dy.dtype}, expected {tuple(h.shape)} of float32")
    if kept.shape not in ((0, gate_up.shape[0]), (len(h), gate_up.shape[0])) or kept.dtype != torch.float32:
        raise ValueError(f"kept has shape {tuple(kept.shape)} of {kept.dtype}, expected what the forward gave")
    dh, h, dy = torch.empty(h.shape), dense_rows(h), dense_rows(dy)
    weights = [w.contiguous() for w in (norm, gate_up, down)]
    gradients = [torch.zeros(w.shape) for w in weights]
    arguments = (
        _sizes(h, down, dy),
        [h, *weights, dy, kept.contiguous() if kept.numel() else None],
        [dh, *gradients],
        eps,
        seed,
        p,
        _threads(),
    )
    required_kernels().call("feed_forward_backward", *arguments)
    return dh, gradients[0], gradients[1], gradients[2]


def _sizes(h: Tensor, down: Tensor, dy: Tensor) -> list[int]:
    return [*h.shape, down.shape[1], h.stride(0), dy.stride(0)]


def _threads() -> int:
    return torch.get_num_threads()


def _check(h: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor) -> None:
    d = h.shape[-1]
    n = down.shape[-1]
    expected = {"h": (h, (len(h), d)), "norm": (norm, (d,)), "gate_up": (gate_up, (2 * n, d)), "down": (down, (d, n))}
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            found = f"{tuple(tensor.shape)} of {tensor.dtype} on {tensor.device}"
            raise ValueError(f"{name} has shape {found}, expected {shape} of float32 on the CPU")
    if not d or not n:
        raise ValueError("the feed-forward part needs a width of at least 1")


@feed_forward_kernel.register_fake
def _(h: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor, eps: float, p: float, seed: int, keep: bool) -> Any:
    return torch.empty(h.shape, device=h.device), torch.empty(len(h) if keep else 0, len(gate_up), device=h.device)


@feed_forward_backward.register_fake
def _(
    dy: Tensor, h: Tensor, norm: Tensor, gate_up: Tensor, down: Tensor, kept: Tensor, eps: float, p: float, seed: int
) -> Any:
    return tuple(torch.empty(t.shape, device=h.device) for t in (h, norm, gate_up, down))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:4], output[1])
    ctx.settings = inputs[4:7]
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, dy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *feed_forward_backward(dy, *ctx.saved_tensors, *ctx.settings), None, None, None, None


feed_forward_kernel.register_autograd(_backward, setup_context=_setup)
