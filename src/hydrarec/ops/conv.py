"""Causal depthwise convolution over packed histories, with the last inputs as its state, and SiLU behind it."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from hydrarec.ops import gpu
from hydrarec.ops.kernel_conv import conv_fits, conv_silu_kernel


def causal_conv_silu(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """SiLU of ``causal_conv``, and the new state: compiled where a kernel takes x, else in PyTorch.

    Args, returns: as ``causal_conv``. Half precision is computed in float32 by the kernel.

    Raises:
        ValueError: shapes do not fit, or offsets are not bounds of histories (from the kernel).
    """
    if conv_fits(x, weight):
        return conv_silu_kernel(x, weight, bias, offsets, state)
    if gpu.usable(x) and weight.shape[2] <= 4:
        from hydrarec.ops.gpu.conv import causal_conv_silu as fused

        return fused(x, weight, bias, offsets, state)
    y, after = causal_conv(x, weight, bias, offsets, state)
    return silu(y), after


class _ShiftAndAdd(torch.autograd.Function):
    """y_t = sum_k w_k x_{t-k}, terms that would reach into another history left out.

    In place and by hand: automatic differentiation of the same sum keeps one copy of x a tap.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, bias: Tensor, reach: Tensor) -> Tensor:
        """x (G, T, F); taps (K, G, 1, F), taps[k] weighs the event k back; bias (G, 1, F); reach (K, T, 1) 0 or 1."""
        ctx.save_for_backward(x, taps, reach)
        y = torch.addcmul(bias, x, taps[0])
        for k in range(1, len(taps)):
            y[:, k:].addcmul_(x[:, :-k] * reach[k, k:], taps[k])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, taps, reach = ctx.saved_tensors
        dx = dy * taps[0]
        dtaps = [(dy * x).sum(1, keepdim=True)]
        for k in range(1, len(taps)):
            reached = dy[:, k:] * reach[k, k:]
            dtaps.append((reached * x[:, :-k]).sum(1, keepdim=True))
            dx[:, :-k].addcmul_(reached, taps[k])
        return dx, torch.stack(dtaps), dy.sum(1, keepdim=True), None


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Convolve each channel of each history with its own K taps.

    Args:
        x: (T, G, F) inputs.
        weight: (G, F, K); the last tap weighs the present event, as in ``torch.nn.functional.conv1d``.
        bias: (G, F).
        offsets: (U+1,) int64, bounds of the U histories.
        state: (U, K-1, G, F) the inputs before each history's first event, oldest first; None is zeros.

    Returns:
        y (T, G, F), and the new state (U, K-1, G, F).
    """
    T, G, F = x.shape
    K = weight.shape[2]
    lengths = offsets.diff()
    users = torch.repeat_interleave(torch.arange(lengths.numel(), device=x.device), lengths, output_size=T)
    position = torch.arange(T, device=x.device) - offsets[users]
    back = torch.arange(K, device=x.device)
    reach = (position >= back.unsqueeze(1)).to(x.dtype).unsqueeze(2)  # (K, T, 1)
    taps = weight.permute(2, 0, 1).flip(0).unsqueeze(2)  # (K, G, 1, F)
    y: Tensor = _ShiftAndAdd.apply(x.transpose(0, 1), taps, bias.unsqueeze(1), reach)
    y = y.transpose(0, 1)
    if state is None:
        state = x.new_zeros(lengths.numel(), K - 1, G, F)
    else:
        y = y + _from_state(state, taps, users, position)
    return y, _new_state(x, state, offsets)


def _from_state(state: Tensor, taps: Tensor, users: Tensor, position: Tensor) -> Tensor:
    """(T, G, F): what the K-1 inputs before a history add to its first K-1 events."""
    depth = state.shape[1]
    out = state.new_zeros(len(users), *state.shape[2:])
    for k in range(1, depth + 1):
        rows = torch.nonzero(position < k).squeeze(1)  # event at position p reaches k - p before the history
        before = state[users[rows], depth + position[rows] - k]  # (R, G, F)
        out = out.index_add(0, rows, before * taps[k].squeeze(1))
    return out


def _new_state(x: Tensor, state: Tensor, offsets: Tensor) -> Tensor:
    depth = state.shape[1]
    # Index of the wanted inputs in the row [state, history]: its last ``depth`` entries.
    wanted = offsets.diff().unsqueeze(1) + torch.arange(depth, device=x.device)  # (U, depth)
    from_history = wanted >= depth
    event = (offsets[:-1].unsqueeze(1) + wanted - depth).clamp(min=0)
    if x.shape[0] == 0:
        return state
    old = state.gather(1, wanted.clamp(max=depth - 1)[..., None, None].expand_as(state)) if depth else state
    return torch.where(from_history[..., None, None], x[event], old)
