"""Mamba-2 heads over one tile, from SiLU(x) to y before the interaction: forward, and backward from what it left.

Symbols: G heads, c latent width, E inner width, N state size, m decays of a head, F = E + 2N, R rows, V histories.
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
        gate: (G, c, E). joint: (G, c, F). step: (G, c, m). The columns of the input projection.
        window: (G, K c, F). early: (G, K-1, K-1, F). See ``hydrarec.ops.plain.inputs.window_weights``.
        out: (G, E, c) the output projection with the norm's gain in its rows, times sqrt(E).
        bias: (G, 1, F). skip: (G, 1, E). A: (G m,). dt_bias: (G, 1, m).
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
        windows: (G, R, K c). gate, skipped, gated: (G, R, E). convolved: (G, R, F). step: (G, R, m).
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
    """x (G, K - 1 + R, c), zero where there is no event; before (G, V, K-1, F); start (G m, V, P N)."""
    (G, _, c), E, m = x.shape, w.skip.shape[2], w.step.shape[2]
    taps = before.shape[2] + 1
    seen = windows(x, taps)
    x = seen[..., -c:]
    gate, step = torch.bmm(x, w.gate), torch.baddbmm(w.dt_bias, x, w.step)
    convolved = torch.baddbmm(w.bias, seen, w.window)
    add_before(convolved, before, w.early, grid)
    after = torch.bmm(x.index_select(1, grid.after), w.joint)
    after.index_add_(1, grid.short_to, before.flatten(1, 2).index_select(1, grid.short_from))
    active = F.silu(convolved)
    # Where there is no event the step is zero: nothing enters the state, and it stays.
    dt = F.softplus(step).mul_(grid.filled)  # (G, R, m)
    v, B, C = _scan_inputs(active, E, m, grid)
    s = scan(v, dt.mT.reshape(G * m, grid.n, grid.size), w.A, B, C, start, grid)
    skipped = torch.addcmul(_together(s.y, m, grid), active[..., :E], w.skip)
    gated = F.silu(gate).mul_(skipped)
    norm = (gated * gated).sum(2, keepdim=True).add_(E * EPS).rsqrt_()
    y = torch.bmm(gated, w.out).mul_(norm)
    return Heads(seen, gate, convolved, step, s, skipped, gated, norm, y, before, after.view_as(before))


def heads_backward(
    dy: Tensor, dafter: Tensor, dfinal: Tensor, h: Heads, w: Weights, sums: Weights, grid: Grid
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x (G, R, c), before and start; those of the weights are added to ``sums``."""
    E, m, c = w.skip.shape[2], w.step.shape[2], dy.shape[2]
    # y = q W with q = gated / |gated|: dgated = (dq - q <dq, q>) / |gated|
    q = h.gated * h.norm
    sums.out.baddbmm_(q.mT, dy)
    dgated = torch.bmm(dy, w.out.mT)
    dgated.sub_(q.mul_((dgated * q).sum(2, keepdim=True))).mul_(h.norm)
    dskipped = F.silu(h.gate).mul_(dgated)
    dgate = silu_backward(dgated.mul_(h.skipped), h.gate)
    dv, ddt, dA, dB, dC, dstart = scan_backward(_apart(dskipped, m, grid), dfinal, h.scan, grid)

    dactive = torch.cat([_together(dv, m, grid), *(_shared(d, m, grid) for d in (dB, dC))], 2)
    sums.skip.add_((dskipped * _together(h.scan.v, m, grid)).sum(1, keepdim=True))
    dactive[..., :E].addcmul_(dskipped, w.skip)
    dconvolved = silu_backward(dactive, h.convolved)
    dbefore, dearly = add_before_backward(dconvolved, h.before, w.early, grid)
    # softplus' = sigmoid; steps where there is no event are constant.
    dstep = ddt.view(-1, m, len(grid.filled)).mT * h.step.sigmoid().mul_(grid.filled)
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


def _scan_inputs(active: Tensor, E: int, m: int, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """v, B and C as ``scan`` takes them; copies only where a head has several decays."""
    G, R, width = active.shape
    B, C = active[..., E:].unsqueeze(1).expand(G, m, R, width - E).reshape(G * m * grid.n, grid.size, -1).chunk(2, 2)
    return _apart(active[..., :E], m, grid), B, C


def _apart(v: Tensor, m: int, grid: Grid) -> Tensor:
    """(G, R, E) -> (G m n, Q, P)."""
    apart: Tensor = v.unflatten(2, (m, -1)).transpose(1, 2).reshape(-1, grid.size, v.shape[2] // m)
    return apart


def _together(v: Tensor, m: int, grid: Grid) -> Tensor:
    """(G m n, Q, P) -> (G, R, E)."""
    return v.reshape(-1, m, grid.n * grid.size, v.shape[2]).transpose(1, 2).flatten(2)


def _shared(d: Tensor, m: int, grid: Grid) -> Tensor:
    """Gradients of what the decays of a head share: (G m n, Q, N) -> (G, R, N)."""
    d = d.view(-1, m, grid.n * grid.size, d.shape[2])
    return d.sum(1) if m > 1 else d.squeeze(1)
