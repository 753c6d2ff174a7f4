"""Everything between W_XZ and W_O of a Hydra layer with Mamba-2 heads, in one kernel.

For each head: u = Mamba2(SiLU(x)) * (1 + SiLU(z)) * scale. A piece of a history passes through all steps while it
is in the processor's cache; only states at chunk boundaries are kept, the backward computes the rest again.
"""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.checks import check_bounds, check_like
from hydrarec.ops.checks_mixer import check_mixer
from hydrarec.ops.library import chunk_starts, kernels, required_kernels
from hydrarec.ops.operators import operator


def mixer_fits(xz: Tensor, taps: int) -> bool:
    """Whether the kernel takes this input: it is there, on the CPU, at most single precision, 1 to 4 taps."""
    return kernels() is not None and xz.device.type == "cpu" and xz.dtype != torch.float64 and 1 <= taps <= 4


@operator("mixer")
def mixer(
    xz: Tensor,
    in_proj: Tensor,
    out_proj: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    skip: Tensor,
    norm: Tensor,
    A: Tensor,
    dt_bias: Tensor,
    offsets: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
    scale: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mix packed histories.

    Args:
        xz: (T, 2 G c) float32 inputs before SiLU: of the history path, then of the item path.
        in_proj: (G, c, 2E + 2N + 1): gate, values, B, C, step.
        out_proj: (G, E, c).
        conv_weight: (G, E + 2N, K), K from 1 to 4. conv_bias: (G, E + 2N).
        skip: (G, E), D in the papers. norm: (G, E), gain of the RMSNorm behind the gate.
        A: (G, 1), negative. dt_bias: (G, 1).
        offsets: (U+1,) int64.
        conv_state: (U, K-1, G, E + 2N). state: (U, G, E, N). None is zeros.
        scale: of the interaction.
        keep: keep what the backward needs.

    Returns:
        u (T, G c), the new conv_state and state, and the states at chunk boundaries (a matter of the backward).
    """
    weights = (in_proj, out_proj, conv_weight, conv_bias, skip, norm, A, dt_bias)
    check_mixer(xz, weights, offsets, conv_state, state)
    xz = _dense(xz)
    sizes, starts = _sizes(xz, weights, offsets)
    T, U, G, c, E, N, K = sizes[:7]
    u = xz.new_empty(T, G * c)
    conv_final, final = xz.new_empty(U, K - 1, G, E + 2 * N), xz.new_empty(U, G, E, N)
    bounds = xz.new_empty(int(starts[-1]) if keep else 0, G, _state_size(E, N))
    tensors = _tensors(xz, weights, offsets, starts, conv_state, state, bounds if keep else None)
    required_kernels().call("mixer_forward", sizes, tensors, (u, conv_final, final), scale, torch.get_num_threads())
    return u, conv_final, final, bounds


@operator("mixer_backward")
def mixer_backward(
    du: Tensor,
    dconv_final: Tensor,
    dfinal: Tensor,
    xz: Tensor,
    weights: list[Tensor],
    offsets: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
    bounds: Tensor,
    scale: float,
) -> list[Tensor]:
    """Gradients of ``mixer``: of xz, conv_state, state (empty where that is None), then of the eight weights."""
    check_mixer(xz, weights, offsets, conv_state, state)
    check_like("du", du, (xz.shape[0], weights[0].shape[0] * weights[0].shape[1]))
    xz, du = _dense(xz), _dense(du)
    sizes, starts = _sizes(xz, weights, offsets, du)
    _, U, G, _, E, N, K = sizes[:7]
    check_like("dconv_final", dconv_final, (U, K - 1, G, E + 2 * N))
    check_like("dfinal", dfinal, (U, G, E, N))
    check_bounds(bounds, offsets, G, _state_size(E, N))
    dxz = xz.new_empty(xz.shape)
    states = [xz.new_empty(0) if s is None else xz.new_empty(s.shape) for s in (conv_state, state)]
    gradients = [torch.zeros_like(w, memory_format=torch.contiguous_format) for w in weights]
    tensors = _tensors(xz, weights, offsets, starts, conv_state, state, bounds)
    outputs = [dxz, *(g if g.numel() else None for g in states), *gradients]
    from_states = [g if g.numel() else None for g in (dconv_final.contiguous(), dfinal.contiguous())]
    required_kernels().call(
        "mixer_backward", sizes, tensors, (du, *from_states), outputs, scale, torch.get_num_threads()
    )
    return [dxz, *states, *gradients]


def _dense(rows: Tensor) -> Tensor:
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _tensors(
    xz: Tensor,
    weights: "tuple[Tensor, ...] | list[Tensor]",
    offsets: Tensor,
    starts: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
    bounds: Tensor | None,
) -> list[Tensor | None]:
    """In the kernel's order."""
    states = (None if s is None else s.contiguous() for s in (conv_state, state))
    kept = None if bounds is None else bounds.contiguous()
    return [offsets.contiguous(), starts, xz, *(w.contiguous() for w in weights), *states, kept]


def _sizes(
    xz: Tensor, weights: "tuple[Tensor, ...] | list[Tensor]", offsets: Tensor, du: Tensor | None = None
) -> tuple[list[int], Tensor]:
    """What the kernel needs to know, and the number of the first chunk of each history."""
    G, E, c = weights[1].shape
    F, K = weights[2].shape[1:]
    rows = [xz.stride(0), 0 if du is None else du.stride(0)]
    return [xz.shape[0], offsets.numel() - 1, G, c, E, (F - E) // 2, K, *rows], chunk_starts(offsets)


def _state_size(E: int, N: int) -> int:
    """Floats of a kept state: channels are lanes, padded to 16."""
    return N * (-(-E // 16) * 16)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    xz, *rest = inputs
    weights, (offsets, conv_state, state), (scale, keep) = rest[:8], rest[8:11], rest[11:]
    ctx.save_for_backward(xz, *weights, offsets, conv_state, state, output[3])
    ctx.scale = scale
    ctx.kept = keep
    ctx.mark_non_differentiable(output[3])


def _backward(ctx: Any, du: Tensor, dconv_final: Tensor, dfinal: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    if not ctx.kept:
        raise RuntimeError("hydrarec::mixer was called without keep=True, which its gradient needs")
    xz, *rest = ctx.saved_tensors
    weights, given = list(rest[:8]), rest[8:]
    conv_state, state = given[1:3]
    dxz, dconv, dstate, *gradients = mixer_backward(du, dconv_final, dfinal, xz, weights, *given, ctx.scale)
    states = (None if before is None else g for before, g in ((conv_state, dconv), (state, dstate)))
    return dxz, *gradients, None, *states, None, None


mixer.register_autograd(_backward, setup_context=_setup)


@mixer.register_fake
def _(
    xz: Tensor,
    in_proj: Tensor,
    out_proj: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    skip: Tensor,
    norm: Tensor,
    A: Tensor,
    dt_bias: Tensor,
    offsets: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
    scale: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    (G, F, K), E, U = conv_weight.shape, out_proj.shape[1], offsets.shape[0] - 1
    N = (F - E) // 2
    chunks: Any = torch.library.get_ctx().new_dynamic_size() if keep else 0
    u, bounds = xz.new_empty(xz.shape[0], G * in_proj.shape[1]), xz.new_empty(chunks, G, _state_size(E, N))
    return u, xz.new_empty(U, K - 1, G, F), xz.new_empty(U, G, E, N), bounds


@mixer_backward.register_fake
def _(
    du: Tensor,
    dconv_final: Tensor,
    dfinal: Tensor,
    xz: Tensor,
    weights: list[Tensor],
    offsets: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
    bounds: Tensor,
    scale: float,
) -> list[Tensor]:
    states = [xz.new_empty(0 if s is None else s.shape) for s in (conv_state, state)]
    return [xz.new_empty(xz.shape), *states, *(w.new_empty(w.shape) for w in weights)]
