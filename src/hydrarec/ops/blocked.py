"""Mamba-1's scan in plain PyTorch: a walk over the events of many histories at once, with its own backward.

The forward keeps only the states at block boundaries; the backward runs each block again. Longest histories come
first, so that step t works on the slice of histories that still have a t-th event.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hydrarec.ops.chunks import Chunks, chunks, from_chunks, to_chunks

BLOCK = 16


def scan_blocked(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``hydrarec.ops.scan.selective_scan``; A is (G, E, N)."""
    layout = chunks(offsets, BLOCK)
    if layout.total == 0:
        return torch.zeros_like(x), state
    E, N = x.shape[2], B.shape[2]
    joint = to_chunks(torch.cat([x, dt, B, C], dim=2), layout)  # (G, n, Q, 2E + 2N); dt = 0 in the padding: h stays
    x, dt, B, C = joint.split([E, E, N, N], dim=3)
    h = state.index_select(0, layout.order).transpose(0, 1)  # (G, U, E, N)
    y, final = _Blocked.apply(x, dt, A, B, C, h, layout)
    return from_chunks(y, layout), final.transpose(0, 1).index_select(0, layout.rank())


def _walk(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """One block of n histories: x, dt (G, n, Q, E), B (G, n, Q, N), h (G, n, E, N).

    Returns:
        decay and states after every event, both (Q, G, n, E, N).
    """
    dt, B = dt.movedim(2, 0), B.movedim(2, 0)
    decay = (dt.unsqueeze(4) * A.unsqueeze(1)).exp_()
    states = (dt * x.movedim(2, 0)).unsqueeze(4) * B.unsqueeze(3)
    for q in range(len(states)):
        h = states[q].addcmul_(decay[q], h)
    return decay, states


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor, layout: Chunks
    ) -> tuple[Tensor, Tensor]:
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        entering, final = [], []
        for level, alive in zip(layout.levels(), layout.counts, strict=True):
            final.append(h[:, alive:])
            h = h[:, :alive]
            entering.append(h)
            _, states = _walk(x[:, level], dt[:, level], A, B[:, level], h)
            y[:, level] = torch.einsum("qgnes,gnqs->gnqe", states, C[:, level])
            h = states[-1].clone()
        final.append(h)
        ctx.layout = layout
        ctx.save_for_backward(x, dt, A, B, C, *entering)
        return y, torch.cat(final[::-1], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dfinal: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, A, B, C, *entering = ctx.saved_tensors
        dx, ddt, dB, dC = (torch.empty_like(v, memory_format=torch.contiguous_format) for v in (x, dt, B, C))
        dA = torch.zeros_like(A)
        dh = dfinal[:, :0]
        for level, start in zip(reversed(ctx.layout.levels()), reversed(entering), strict=True):
            alive = start.shape[1]
            dh = torch.cat([dh, dfinal[:, dh.shape[1] : alive]], dim=1)  # histories that end with this block join
            decay, states = _walk(x[:, level], dt[:, level], A, B[:, level], start)
            dy_l, x_l, dt_l = (
                dy[:, level].movedim(2, 0),
                x[:, level].movedim(2, 0),
                dt[:, level].movedim(2, 0),
            )
            dC[:, level] = torch.einsum("qgne,qgnes->gnqs", dy_l, states)
            # dstates[q]: gradient of the state after event q, from this and all later events.
            dstates = dy_l.unsqueeze(4) * C[:, level].movedim(2, 0).unsqueeze(3)
            dstates[-1] += dh
            for q in range(len(dstates) - 2, -1, -1):
                dstates[q].addcmul_(decay[q + 1], dstates[q + 1])
            dh = dstates[0] * decay[0]
            dB[:, level] = torch.einsum("qgne,qgnes->gnqs", dt_l * x_l, dstates)
            dinput = torch.einsum("qgnes,gnqs->qgne", dstates, B[:, level])
            # d(exp(dt A) h_{t-1}) through the exponent, dstates becomes the gradient of dt A
            dstates[1:].mul_(states[:-1])
            dstates[0].mul_(start)
            dstates.mul_(decay)
            ddt[:, level] = (torch.einsum("qgnes,ges->qgne", dstates, A) + dinput * x_l).movedim(0, 2)
            dx[:, level] = (dinput * dt_l).movedim(0, 2)
            dA += torch.einsum("qgnes,qgne->ges", dstates, dt_l)
        dh = torch.cat([dh, dfinal[:, dh.shape[1] :]], dim=1)  # histories without events
        return dx, ddt, dA, dB, dC, dh, None
