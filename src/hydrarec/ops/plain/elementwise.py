"""RMSNorm, SwiGLU's elementwise part and dropout in plain PyTorch: few passes over memory, gradients by hand.

Rows pass in blocks through all steps while they are in the processor's cache.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK = 2**18  # numbers


def plain_fits(*tensors: Tensor) -> bool:
    """Whether these functions take the tensors: matrices (T, d) on the CPU, all float32 or all float64."""
    dtype = tensors[0].dtype
    return dtype in (torch.float32, torch.float64) and all(
        t.device.type == "cpu" and t.dtype == dtype and t.dim() <= 2 for t in tensors
    )


def plain_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) * weight, rms = sqrt(mean(x^2) + eps) over the last dimension; x (T, d), weight (d,)."""
    out: Tensor = _RMSNorm.apply(x, weight, eps)
    return out


def plain_silu_mul(gate_up: Tensor) -> Tensor:
    """SiLU(gate) * up: (T, 2n), gate first, -> (T, n)."""
    out: Tensor = _SiluMul.apply(gate_up)
    return out


def plain_dropout_add(base: Tensor | None, x: Tensor, p: float) -> Tensor:
    """base + Dropout(x), both (T, d); p is rounded to a multiple of 2^-16, and what remains is scaled by that."""
    # Four draws of 16 bits from each of torch's: 10 times as fast as drawing a float each.
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    dropped = round(p * 2**16)
    keep = torch.empty(x.shape, dtype=x.dtype)
    torch.ge(bits[: x.numel()].view(x.shape), dropped - 2**15, out=keep)
    keep.mul_(2**16 / (2**16 - dropped))
    return x * keep if base is None else torch.addcmul(base, x, keep)


def _blocks(x: Tensor) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, x.shape[1]))
    return (slice(first, first + step) for first in range(0, len(x), step))


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, scale = torch.empty_like(x), x.new_empty(len(x), 1)
        for rows in _blocks(x):
            block, to = x[rows], out[rows]
            torch.sum(torch.mul(block, block, out=to), 1, keepdim=True, out=scale[rows])
            scale[rows].div_(x.shape[1]).add_(eps).rsqrt_()
            torch.mul(block, scale[rows], out=to).mul_(weight)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor, None]:
        """With q = x scale and dq = d weight: dx = (dq - q <dq, q> / d) scale, dweight = sum d q."""
        x, weight, scale = ctx.saved_tensors
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        for rows in _blocks(x):
            q, to = x[rows] * scale[rows], dx[rows]
            torch.mul(d[rows], q, out=to)
            dweight.add_(to.sum(0))
            shared = to.mul_(weight).sum(1, keepdim=True).div_(-x.shape[1])
            torch.mul(d[rows], weight, out=to).addcmul_(q, shared).mul_(scale[rows])
        return dx, dweight, None


class _SiluMul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        out = gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)
        for rows in _blocks(gate_up):
            gate, up = gate_up[rows].chunk(2, 1)
            torch.mul(F.silu(gate), up, out=out[rows])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gradient = torch.empty_like(gate_up)
        for rows in _blocks(gate_up):
            (gate, up), (dgate, dup), through = gate_up[rows].chunk(2, 1), gradient[rows].chunk(2, 1), d[rows]
            torch.mul(F.silu(gate), through, out=dup)
            torch.ops.aten.silu_backward.grad_input(through * up, gate, grad_input=dgate)
        return gradient
