"""Mamba-2's scan over one tile: matrix products inside chunks and between them (Dao & Gu 2024, section 6).

Between chunks too there is no walk: the states before all chunks are one product of what all chunks add with the decays
between them. Symbols: H heads, n chunks of Q rows, P channels, N state size, V histories.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hydrarec.ops.plain.tiles import Grid

LOG2_E = math.log2(math.e)


@dataclass(frozen=True)
class Scan:
    """What a scan of one tile leaves for its gradient; chunks of all heads stand in one dimension (H n).

    Attributes:
        v, B, C: (H n, Q, P or N) the inputs. dt: (H, n, Q). A: (H,).
        decay: (H n, Q, Q) the second row's dt and the decay from there to the first, 0 where that is earlier.
        weights: (H n, Q, Q) decay (C B^T).
        grown: (H n, Q, 1) decay from the chunk's beginning.
        remaining: (H n, Q, 1) dt and the decay to the chunk's end.
        writes, reads: (H n, Q, N) remaining B, grown C.
        paths: (H, n + V, n + V) decay from ``Grid.since`` to ``Grid.to``.
        added, entering: (H, n, P N) what each chunk adds, the state before it.
        start, final: (H, V, P N) the state before and after each history.
        y: (H n, Q, P) the output.
    """

    v: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    decay: Tensor
    weights: Tensor
    grown: Tensor
    remaining: Tensor
    writes: Tensor
    reads: Tensor
    paths: Tensor
    added: Tensor
    entering: Tensor
    start: Tensor
    final: Tensor
    y: Tensor


def scan(v: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor, grid: Grid) -> Scan:
    """h_t = exp(dt_t A) h_{t-1} + dt_t v_t B_t^T, y_t = h_t C_t. Arguments as in ``Scan``."""
    H, n, _ = dt.shape
    # Decays are powers of two: exp2 stays fast at -inf and where it underflows, exp becomes 10 times slower there.
    total = (dt * (A * LOG2_E).view(-1, 1, 1)).cumsum(2)  # log decay since the chunk began
    since = total - dt.log2()  # so that dt, which may be 0, costs no pass
    total, since = (t.view(H * n, -1, 1) for t in (total, since))
    last = total[:, -1:]

    # Inside a chunk: y_i = sum_{j <= i} exp(total_i - total_j) dt_j (C_i . B_j) v_j
    decay = (total - since.mT).add_(_not_later(grid.size, total.dtype)).exp2_()
    weights = torch.bmm(C, B.mT).mul_(decay)
    y = torch.bmm(weights, v)

    # What a chunk adds, what has become of it before each later chunk, and what that adds to the outputs there.
    remaining, grown = (last - since).exp2_(), total.exp2()
    writes, reads = B * remaining, C * grown
    added = torch.bmm(v.mT, writes).view(H, n, -1)
    paths = _paths(last.view(H, n), grid)
    entering = torch.bmm(paths[:, :n, :n], added).baddbmm_(paths[:, :n, n:], start)
    final = torch.bmm(paths[:, n:, :n], added).baddbmm_(paths[:, n:, n:], start)
    y.baddbmm_(reads, entering.view(H * n, v.shape[2], -1).mT)
    within = decay, weights, grown, remaining, writes, reads
    return Scan(v, dt, A, B, C, *within, paths, added, entering, start, final, y)


def scan_backward(dy: Tensor, dfinal: Tensor, kept: Scan, grid: Grid) -> tuple[Tensor, ...]:
    """Gradients of v, dt, A, B, C and start; dy (H n, Q, P), dfinal (H, V, P N).

    The gradient of a log decay needs no gradient of a matrix of decays: where out = exp(a - b) in, summed over pairs,
    that of a_i is <dout_i, out_i> and that of b_j is -<din_j, in_j>.
    """
    k, paths, n = kept, kept.paths, grid.n
    H, P = len(k.A), dy.shape[2]
    dentering = torch.bmm(dy.mT, k.reads).view(H, n, -1)
    dadded = torch.bmm(paths[:, :n, :n].mT, dentering).baddbmm_(paths[:, n:, :n].mT, dfinal)
    dstart = torch.bmm(paths[:, :n, n:].mT, dentering).baddbmm_(paths[:, n:, n:].mT, dfinal)
    into = dadded.view(H * n, P, -1)

    dv = torch.bmm(k.weights.mT, dy).baddbmm_(k.writes, into.mT)
    dproducts = torch.bmm(dy, k.v.mT).mul_(k.decay)  # of C B^T
    dC = torch.bmm(dy, k.entering.view(H * n, P, -1)).mul_(k.grown).baddbmm_(dproducts, k.B)
    dB = torch.bmm(k.v, into).mul_(k.remaining).baddbmm_(dproducts.mT, k.C)

    through_v, through_y = ((a * b).sum(2).view_as(k.dt) for a, b in ((dv, k.v), (dy, k.y)))
    of_added = _dot(dadded, k.added)
    sources = torch.cat([of_added, _dot(dstart, k.start)], 1)
    wanted = torch.cat([_dot(dentering, k.entering), _dot(dfinal, k.final)], 1)
    dlog = (through_y - through_v).flip(2).cumsum(2).flip(2) + (of_added + _between(wanted, sources, grid))
    ddt = torch.addcmul(through_v / k.dt.clamp(min=torch.finfo(dy.dtype).tiny), dlog, k.A.view(-1, 1, 1))
    return dv, ddt, (dlog * k.dt).sum((1, 2)), dB, dC, dstart


def _paths(log_decay: Tensor, grid: Grid) -> Tensor:
    """(H, n) of whole chunks -> (H, n + V, n + V). In float64: small differences of sums over a whole tile."""
    points = grid.reach.new_zeros(len(log_decay), len(grid.to)).index_copy_(1, grid.chunk, log_decay.double())
    points = points.cumsum(1)
    between = points.index_select(1, grid.to).unsqueeze(2) - points.index_select(1, grid.since).unsqueeze(1)
    return between.add_(grid.reach).to(log_decay.dtype).exp2_()


def _between(wanted: Tensor, sources: Tensor, grid: Grid) -> Tensor:
    """Backward of ``_paths``: gradients of a and b above (H, n + V, 1) -> of the chunks' log decays (H, n, 1)."""
    dpoints = grid.reach.new_zeros(len(wanted), len(grid.to) + 1)
    dpoints.index_add_(1, grid.to, wanted.squeeze(2).double()).index_add_(1, grid.since, -sources.squeeze(2).double())
    later = dpoints.flip(1).cumsum(1).flip(1)
    return (later.index_select(1, grid.chunk) - later.index_select(1, grid.close)).to(wanted.dtype).unsqueeze(2)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(..., K) times (..., K), summed: (..., 1)."""
    return (a * b).sum(-1, keepdim=True)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _not_later(size: int, dtype: torch.dtype) -> Tensor:
    """(Q, Q): 0 up to the diagonal, -inf above."""
    return torch.full((size, size), -torch.inf, dtype=dtype).triu_(1)
