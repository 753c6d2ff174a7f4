"""Everything between W_X, W_Z and W_O of a Hydra layer with Mamba-2 heads, in one kernel.

For each head: u = Mamba2(SiLU(x)) * RoPE(SiLU(z)) * scale. A piece of a history passes through all steps while it is in
the processor's cache; only states at chunk boundaries are kept, the backward computes the rest again.
"""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.library import chunk_starts, kernels, required_kernels

ROPE = {"none": 0, "z": 1, "x": 2}


def mixer_fits(x: Tensor, taps: int) -> bool:
    """Whether the kernel takes this input: it is there, on the CPU, at most single precision, 1 to 4 taps."""
    return kernels() is not None and x.device.type == "cpu" and x.dtype != torch.float64 and 1 <= taps <= 4


@torch.library.custom_op("hydrarec::mixer", mutates_args=(), device_types="cpu")
def mixer(
    x: Tensor,
    z: Tensor,
    in_proj: Tensor,
    out_proj: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    skip: Tensor,
    norm: Tensor,
    A: Tensor,
    dt_bias: Tensor,
    offsets: Tensor,
    positions: Tensor,
    table: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
    rope: int,
    scale: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mix packed histories.

    Args:
        x: (T, G, c) float32 input of the history path, before SiLU.
        z: (T, G, c) input of the item path, before SiLU.
        in_proj: (G, c, 2E + 2N + m): gate, values, B, C, steps.
        out_proj: (G, E, c).
        conv_weight: (G, E + 2N, K), K from 1 to 4. conv_bias: (G, E + 2N).
        skip: (G, E), D in the papers. norm: (G, E), gain of the RMSNorm behind the gate.
        A: (G, m), negative. dt_bias: (G, m).
        offsets: (U+1,) int64. positions: (T,) int64, rows of ``table``.
        table: (P, 2c) of ``rotation_table``.
        conv_state: (U, K-1, G, E + 2N). state: (U, G, E, N). None is zeros.
        rope: 0 none, 1 turns z, 2 turns x.
        scale: of the interaction.
        keep: keep what the backward needs.

    Returns:
        u (T, G, c), the new conv_state and state, and the states at chunk boundaries (a matter of the backward).
    """
    sizes, chunk_first = _sizes(x, z, x, in_proj, conv_weight, A, offsets, rope)
    T, U, G, c, E, N, m, K = sizes[:8]
    F = E + 2 * N
    u = x.new_empty(T, G, c)
    conv_final, final = x.new_empty(U, K - 1, G, F), x.new_empty(U, G, E, N)
    lanes = (E // m + 15) // 16 * 16
    bounds = x.new_empty(int(chunk_first[-1]) if keep else 0, G, m * N * lanes)
    weights = (in_proj, out_proj, conv_weight, conv_bias, skip, norm, A, dt_bias)
    tensors = (offsets, chunk_first, positions, table, x, z, *weights, conv_state, state, bounds if keep else None)
    required_kernels().call("mixer_forward", sizes, tensors, (u, conv_final, final), scale, torch.get_num_threads())
    return u, conv_final, final, bounds


def _sizes(
    x: Tensor, z: Tensor, du: Tensor, in_proj: Tensor, conv_weight: Tensor, A: Tensor, offsets: Tensor, rope: int
) -> tuple[list[int], Tensor]:
    T, G, c = x.shape
    F, K = conv_weight.shape[1:]
    m = A.shape[1]
    E = in_proj.shape[2] - F - m
    rows = [x.stride(0), z.stride(0), du.stride(0), G * c, G * c]
    return [T, offsets.numel() - 1, G, c, E, (F - E) // 2, m, K, rope, *rows], chunk_starts(offsets)


@torch.library.custom_op("hydrarec::mixer_backward", mutates_args=(), device_types="cpu")
def mixer_backward(
    du: Tensor,
    dconv_final: Tensor | None,
    dfinal: Tensor | None,
    x: Tensor,
    z: Tensor,
    weights: list[Tensor],
    offsets: Tensor,
    positions: Tensor,
    table: Tensor,
    conv_state: Tensor | None,
    state: Tensor | None,
    bounds: Tensor,
    rope: int,
    scale: float,
) -> list[Tensor]:
    """Gradients of ``mixer``: of x, z, conv_state, state (empty where that is None), then of the eight weights."""
    sizes, chunk_first = _sizes(x, z, du, weights[0], weights[2], weights[6], offsets, rope)
    inputs = [x.new_empty(x.shape), z.new_empty(z.shape)]
    states = [x.new_empty(0) if s is None else torch.empty_like(s) for s in (conv_state, state)]
    gradients = [torch.zeros_like(w) for w in weights]
    tensors = (offsets, chunk_first, positions, table, x, z, *weights, conv_state, state, bounds)
    outputs = [*inputs, *(g if g.numel() else None for g in states), *gradients]
    required_kernels().call(
        "mixer_backward", sizes, tensors, (du, dconv_final, dfinal), outputs, scale, torch.get_num_threads()
    )
    return [*inputs, *states, *gradients]
