"""Causal depthwise convolution, bias and SiLU in one kernel, forward and backward (Triton)."""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.gpu.blocks import blocks, even, head_major, power, summed, users_of

_EVENTS, _CHANNELS = 16, 64
_STEPS = 8  # blocks of events a program of the backward walks over, adding up its share of the weight's gradient


def causal_conv_silu(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """SiLU of ``hydrarec.ops.conv.causal_conv``, and the new state; float32 inside, any float dtype outside.

    Args:
        x: (T, G, F) inputs on a GPU.
        weight: (G, F, K); the last tap weighs the present event.
        bias: (G, F).
        offsets: (U+1,) int64, bounds of the U histories.
        state: (U, K-1, G, F) the inputs before each history's first event, oldest first; None is zeros.

    Returns:
        y (T, G, F), and the new state (U, K-1, G, F).
    """
    if state is None:
        state = x.new_zeros(offsets.numel() - 1, weight.shape[2] - 1, *x.shape[1:])
    y, after = _forward(even(x), weight.contiguous(), bias.contiguous(), offsets, state.contiguous())
    return y, after


def _geometry(x: Tensor, weight: Tensor, state: Tensor) -> tuple[tuple[int, int, int], tuple[int, int, int], Any]:
    """Grids over events and over states, and the sizes that kernels are compiled for."""
    T, G, F = x.shape
    BF = power(F, _CHANNELS)
    channels = blocks(F, BF)
    rows = state.shape[0] * state.shape[1]
    sizes = {"K": weight.shape[2], "BT": _EVENTS, "BF": BF}
    return (blocks(T, _EVENTS), G, channels), (blocks(rows, _EVENTS), G, channels), sizes


@torch.library.custom_op("hydrarec::gpu_conv", mutates_args=())
def _forward(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    from hydrarec.ops.gpu.kernels import conv as kernels

    T, G, F = x.shape
    y, after = head_major(x, T, G, F), torch.empty_like(state)
    events, states, sizes = _geometry(x, weight, state)
    with torch.cuda.device_of(x):
        if y.numel():
            users = users_of(offsets, T)
            kernels.forward[events](
                x, weight, bias, state, offsets, users, y, T, G, F, x.stride(0), x.stride(1), **sizes
            )
        if after.numel():
            kernels.new_state[states](x, state, offsets, after, len(state), G, F, x.stride(0), x.stride(1), **sizes)
    return y, after


@torch.library.custom_op("hydrarec::gpu_conv_backward", mutates_args=())
def _backward(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor, dy: Tensor, dafter: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from hydrarec.ops.gpu.kernels import conv as kernels

    T, G, F = x.shape
    K = weight.shape[2]
    events, states, sizes = _geometry(x, weight, state)
    dx, dstate, inner = head_major(x, T, G, F), torch.empty_like(state), head_major(x, T, G, F, dtype=torch.float32)
    walks = (blocks(T, _EVENTS * _STEPS), *events[1:])
    parts = x.new_empty(walks[0], G, K + 1, F, dtype=torch.float32)
    dy, dafter = even(dy), dafter.contiguous()
    strides = (x.stride(0), x.stride(1), dy.stride(0), dy.stride(1))
    users = users_of(offsets, T)
    with torch.cuda.device_of(x):
        if dx.numel():
            kernels.backward[walks](
                x, weight, bias, state, offsets, users, dy, inner, parts, T, G, F, *strides, STEPS=_STEPS, **sizes
            )
            kernels.backward_inputs[events](inner, weight, offsets, users, dafter, dx, T, G, F, **sizes)
        if dstate.numel():
            kernels.backward_state[states](inner, weight, offsets, dafter, dstate, T, len(state), G, F, **sizes)
    total = summed(parts, weight)
    return dx, total[:, :K].transpose(1, 2).contiguous(), total[:, K].to(bias.dtype, copy=True), dstate


@_forward.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    return head_major(x, *x.shape), torch.empty_like(state)


@_backward.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor, dy: Tensor, dafter: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return head_major(x, *x.shape), torch.empty_like(weight), torch.empty_like(bias), torch.empty_like(state)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, dy: Tensor, dafter: Tensor) -> tuple[Tensor | None, ...]:
    dx, dweight, dbias, dstate = _backward(*ctx.saved_tensors, dy, dafter)
    return dx, dweight, dbias, None, dstate


_forward.register_autograd(_gradients, setup_context=_keep)
