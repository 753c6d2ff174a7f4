"""Mamba-2 heads over one tile, from SiLU(x) to y before the interaction: forward, and backward from what it left.

Symbols: G heads, c latent width, E inner width, N state size, F = E + 2N, R rows, V histories.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hydrarec.ops.plain.inputs import add_before, add_before_backward, windows, windows_backward
from hydrarec.ops.plain.scan import Scan, scan, scan_backward
from hydrarec.ops.plain.tiles import Grid

EPS = 1e-5
silu_backward = torch.ops.aten.silu_backward


@dataclass(frozen=True)
class Weights:
    """The heads' weights as the products take them, or the sums of their gradients.

    Attributes:
        gate: (G, c, E). joint: (G, c, F). step: (G, c, 1). The columns of the input projection.
        window: (G, K c, F). early: (G, K-1, K-1, F). See ``hydrarec.ops.plain.inputs.window_weights``.
        out: (G, E, c) the output projection with the norm's gain in its rows, times sqrt(E).
        bias: (G, 1, F). skip: (G, 1, E). A: (G,). dt_bias: (G, 1, 1).
    """

    gate: Tensor
    joint: Tensor
    step: Tensor
    window: Tensor
    early: Tensor
    out: Tensor
    bias: Tensor
    skip: Tensor
    A: Tensor
    dt_bias: Tensor

    def zeros(self) -> "Weights":
        zeros = (torch.zeros_like(w, memory_format=torch.contiguous_format) for w in vars(self).values())
        return Weights(*zeros)


@dataclass(frozen=True)
class Heads:
    """What the forward leaves: windows of x, products before their activations, the scan, the gated output, y.

    Attributes:
        windows: (G, R, K c). gate, skipped, gated: (G, R, E). convolved: (G, R, F). step: (G, R, 1).
        norm: (G, R, 1), one over the length of ``gated``.
        y: (G, R, c). after: (G, V, K-1, F) and ``scan.final`` are the new state.
    """

    windows: Tensor
    gate: Tensor
    convolved: Tensor
    step: Tensor
    scan: Scan
    skipped: Tensor
    gated: Tensor
    norm: Tensor
    y: Tensor
    before: Tensor
    after: Tensor


def heads(x: Tensor, w: Weights, before: Tensor, start: Tensor, grid: Grid) -> Heads:
    """x (G, K - 1 + R, c), zero where there is no event; before (G, V, K-1, F); start (G, V, E N)."""
    (G, _, c), E, taps = x.shape, w.skip.shape[2], before.shape[2] + 1
    seen = windows(x, taps)
    x = seen[..., -c:]
    gate, step = torch.bmm(x, w.gate), torch.baddbmm(w.dt_bias, x, w.step)
    convolved = torch.baddbmm(w.bias, seen, w.window)
    add_before(convolved, before, w.early, grid)
    after = torch.bmm(x.index_select(1, grid.after), w.joint)
    after.index_add_(1, grid.short_to, before.flatten(1, 2).index_select(1, grid.short_from))
    active = F.silu(convolved)
    # Where there is no event the step is zero: nothing enters the state, and it stays.
    dt = F.softplus(step).mul_(grid.filled)
    N = (active.shape[2] - E) // 2
    v, B, C = active.view(G * grid.n, grid.size, -1).split([E, N, N], 2)
    s = scan(v, dt.view(G, grid.n, grid.size), w.A, B, C, start, grid)
    skipped = torch.addcmul(s.y.view(G, -1, E), active[..., :E], w.skip)
    gated = F.silu(gate).mul_(skipped)
    norm = (gated * gated).sum(2, keepdim=True).add_(E * EPS).rsqrt_()
    y = torch.bmm(gated, w.out).mul_(norm)
    return Heads(seen, gate, convolved, step, s, skipped, gated, norm, y, before, after.view_as(before))


def heads_backward(
    dy: Tensor, dafter: Tensor, dfinal: Tensor, h: Heads, w: Weights, sums: Weights, grid: Grid
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (G, R, c), before and start; those of the weights are added to ``sums``."""
    (G, R, c), E = dy.shape, w.skip.shape[2]
    # y = q W with q = gated / |gated|: dgated = (dq - q <dq, q>) / |gated|
    q = h.gated * h.norm
    sums.out.baddbmm_(q.mT, dy)
    dgated = torch.bmm(dy, w.out.mT)
    dgated.sub_(q.mul_((dgated * q).sum(2, keepdim=True))).mul_(h.norm)
    dskipped = F.silu(h.gate).mul_(dgated)
    dgate = silu_backward(dgated.mul_(h.skipped), h.gate)
    dv, ddt, dA, dB, dC, dstart = scan_backward(dskipped.view(-1, grid.size, E), dfinal, h.scan, grid)

    dactive = torch.cat([dv, dB, dC], 2).view(G, R, -1)
    sums.skip.add_((dskipped * h.scan.v.reshape(G, R, E)).sum(1, keepdim=True))
    dactive[..., :E].addcmul_(dskipped, w.skip)
    dconvolved = silu_backward(dactive, h.convolved)
    dbefore, dearly = add_before_backward(dconvolved, h.before, w.early, grid)
    # softplus' = sigmoid; steps where there is no event are constant.
    dstep = ddt.view(G, R, 1) * h.step.sigmoid().mul_(grid.filled)
    sums.early.add_(dearly)
    sums.bias.add_(dconvolved.sum(1, keepdim=True))
    sums.A.add_(dA)
    sums.dt_bias.add_(dstep.sum(1, keepdim=True))
    x = h.windows[..., -c:]
    sums.window.baddbmm_(h.windows.mT, dconvolved)
    dx = windows_backward(torch.bmm(dconvolved, w.window.mT), h.before.shape[2] + 1)
    for weight, total, d in ((w.gate, sums.gate, dgate), (w.step, sums.step, dstep)):
        total.baddbmm_(x.mT, d)
        dx.baddbmm_(d, weight.mT)
    dafter = dafter.flatten(1, 2)
    sums.joint.baddbmm_(x.index_select(1, grid.after).mT, dafter)
    dx.index_add_(1, grid.after, torch.bmm(dafter, w.joint.mT))
    dbefore.flatten(1, 2).index_add_(1, grid.short_from, dafter.index_select(1, grid.short_to))
    return dx, dbefore, dstart
