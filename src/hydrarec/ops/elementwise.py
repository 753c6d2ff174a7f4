"""What is left beside matrix products, each in one pass over memory: norms, gates, residual with dropout.

Every function takes its kernel where that fits and plain PyTorch otherwise; both give the same, dropout's mask apart.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hydrarec.ops import gpu
from hydrarec.ops.checks import check_like, check_matrices
from hydrarec.ops.library import kernels, required_kernels
from hydrarec.ops.operators import operator
from hydrarec.ops.plain.elementwise import plain_dropout_add, plain_fits, plain_rms_norm, plain_silu_mul


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang & Sennrich 2019); x (T, d), weight (d,)."""
    if _fits(x):
        out: Tensor = _rms_norm(x.float(), weight.float(), eps)
        return out
    if gpu.usable(x):
        from hydrarec.ops.gpu.norm import rms_norm as fused

        return fused(x, weight, eps)
    if plain_fits(x, weight):
        return plain_rms_norm(x, weight, eps)
    return F.rms_norm(x, weight.shape, weight, eps)


def gated_rms_norm(y: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm(y * SiLU(gate)) of every head: y, gate (T, G, E), weight (G, E) (Dao & Gu 2024)."""
    if gpu.usable(y):
        from hydrarec.ops.gpu.norm import gated_rms_norm as fused

        return fused(y, gate, weight, eps)
    return F.rms_norm(y * F.silu(gate), weight.shape[1:], eps=eps) * weight


def interact(y: Tensor, z: Tensor, scale: float) -> Tensor:
    """y * (1 + SiLU(z)) * scale, all (T, G, c): where the history path meets the item path."""
    if gpu.usable(z):
        from hydrarec.ops.gpu.interact import interact as fused

        return fused(y, z, scale)
    return torch.addcmul(y, y, F.silu(z)) * scale


def silu_mul(gate_up: Tensor) -> Tensor:
    """SiLU(gate) * up: (T, 2n), gate first, -> (T, n)."""
    if _fits(gate_up):
        out: Tensor = _silu_mul(gate_up.float())
        return out
    if gpu.usable(gate_up):
        from hydrarec.ops.gpu.swiglu import swiglu

        return swiglu(gate_up)
    if plain_fits(gate_up):
        return plain_silu_mul(gate_up)
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def dropout_add(base: Tensor, x: Tensor, p: float, training: bool) -> Tensor:
    """base + Dropout(x), both (T, d). In training the mask's seed is drawn from torch's generator."""
    active = training and p > 0
    if not _fits(x) or not _fits(base):
        if active and p < 1 and plain_fits(base, x):
            return plain_dropout_add(base, x, p)
        return base + F.dropout(x, p, training)
    out: Tensor = _dropout_add(base.float(), x.float(), p if active else 0.0, draw_seed() if active else 0)
    return out


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout of (T, d)."""
    if not training or p == 0:
        return x
    if not _fits(x):
        return plain_dropout_add(None, x, p) if plain_fits(x) and p < 1 else F.dropout(x, p, training)
    out: Tensor = _dropout_add(None, x.float(), p, draw_seed())
    return out


def draw_seed() -> int:
    """62 bits from torch's generator."""
    return int(torch.randint(2**62, ()))


def _fits(x: Tensor) -> bool:
    return kernels() is not None and x.device.type == "cpu" and x.dtype != torch.float64 and x.dim() == 2


def _run(name: str, rows: list[Tensor], others: list[Tensor | None], outputs: list[Tensor], *settings: Any) -> None:
    """Call a kernel over the rows of ``rows``; its sizes are T, the first output's width, and the rows' strides."""
    sizes = [rows[0].shape[0], outputs[0].shape[1], *(row.stride(0) for row in rows)]
    required_kernels().call(name, sizes, [*rows[:1], *others, *rows[1:]], outputs, *settings, torch.get_num_threads())


def _dense(x: Tensor) -> Tensor:
    return x if x.stride(1) == 1 else x.contiguous()


@operator("rms_norm")
def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    check_matrices(x=x)
    check_like("weight", weight, x.shape[1:])
    out = torch.empty(x.shape)
    _run("rms_norm_forward", [_dense(x)], [weight.contiguous()], [out], eps)
    return out


@operator("rms_norm_backward")
def _rms_norm_backward(d: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    check_matrices(x=x, d=d)
    check_like("weight", weight, x.shape[1:])
    dx, dweight = torch.empty(x.shape), torch.zeros(weight.shape)
    _run("rms_norm_backward", [_dense(x), _dense(d)], [weight.contiguous()], [dx, dweight], eps)
    return dx, dweight


@operator("silu_mul")
def _silu_mul(gate_up: Tensor) -> Tensor:
    check_matrices(gate_up=gate_up)
    out = torch.empty(gate_up.shape[0], gate_up.shape[1] // 2)
    _run("silu_mul_forward", [_dense(gate_up)], [], [out])
    return out


@operator("silu_mul_backward")
def _silu_mul_backward(d: Tensor, gate_up: Tensor) -> Tensor:
    check_matrices(gate_up=gate_up)
    check_like("d", d, (gate_up.shape[0], gate_up.shape[1] // 2))
    gradient = torch.empty(gate_up.shape)
    rows = [_dense(gate_up), _dense(d)]
    sizes = [d.shape[0], d.shape[1], rows[0].stride(0), rows[1].stride(0)]
    required_kernels().call("silu_mul_backward", sizes, rows, [gradient], torch.get_num_threads())
    return gradient


@operator("dropout_add")
def _dropout_add(base: Tensor | None, x: Tensor, p: float, seed: int) -> Tensor:
    check_matrices(x=x, base=base)
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p}, expected a probability")
    out, x = torch.empty(x.shape), _dense(x)
    given = None if base is None else _dense(base)
    sizes = [x.shape[0], x.shape[1], x.stride(0), 0 if given is None else given.stride(0)]
    required_kernels().call("dropout_add", sizes, [x, given], [out], seed, p, torch.get_num_threads())
    return out


@_rms_norm.register_fake
def _(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.empty(x.shape, device=x.device)


@_rms_norm_backward.register_fake
def _(d: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty(x.shape, device=x.device), torch.empty(weight.shape, device=x.device)


@_silu_mul.register_fake
def _(gate_up: Tensor) -> Tensor:
    return torch.empty(gate_up.shape[0], gate_up.shape[1] // 2, device=gate_up.device)


@_silu_mul_backward.register_fake
def _(d: Tensor, gate_up: Tensor) -> Tensor:
    return torch.empty(gate_up.shape, device=gate_up.device)


@_dropout_add.register_fake
def _(base: Tensor | None, x: Tensor, p: float, seed: int) -> Tensor:
    return torch.empty(x.shape, device=x.device)


def _save_norm(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.eps = inputs[2]


def _save_input(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _save_mask(ctx: Any, inputs: tuple[Tensor | None, Tensor, float, int], output: Tensor) -> None:
    ctx.mask, ctx.with_base = inputs[2:], inputs[0] is not None


def _through_dropout(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
    dx = _dropout_add(None, d, *ctx.mask) if ctx.mask[0] else d
    return d if ctx.with_base else None, dx, None, None


_rms_norm.register_autograd(
    lambda ctx, d: (*_rms_norm_backward(d, *ctx.saved_tensors, ctx.eps), None), setup_context=_save_norm
)
_silu_mul.register_autograd(lambda ctx, d: _silu_mul_backward(d, *ctx.saved_tensors), setup_context=_save_input)
_dropout_add.register_autograd(_through_dropout, setup_context=_save_mask)
