"""Input projection and causal convolution over one tile as one product.

Both are linear: the sum over taps of w_k (x_{t-k} W) is the window (x_{t-K+1}, ..., x_t) times the stack of all W w_k.
Four taps make four times the arithmetic of the projection, but no pass over its wide result. What came before a history
is known as projected inputs only; it reaches the first K - 1 events and is added to them.
"""

import torch
from torch import Tensor

from hydrarec.ops.plain.tiles import Grid


def windows(x: Tensor, taps: int) -> Tensor:
    """x (G, K - 1 + R, c), dense, zero where there is no event -> (G, R, K c): each row with the K - 1 before it."""
    G, rows, c = x.shape
    overlapping = x.as_strided((G, rows - taps + 1, taps * c), (rows * c, c, 1))
    return overlapping.clone(memory_format=torch.contiguous_format)


def windows_backward(d: Tensor, taps: int) -> Tensor:
    """Gradient of x's rows, the first K - 1 left out: (G, R, c)."""
    parts = d.chunk(taps, 2)
    dx = parts[-1].clone(memory_format=torch.contiguous_format)
    for k in range(1, taps):
        dx[:, :-k].add_(parts[-1 - k][:, k:])
    return dx


def window_weights(joint: Tensor, conv_weight: Tensor) -> tuple[Tensor, Tensor]:
    """The stack of W w_k (G, K c, F), and how what came before reaches the first events (G, K-1, K-1, F).

    Args:
        joint: (G, c, F) the projection. conv_weight: (G, F, K), the last tap weighs the present event.
    """
    K = conv_weight.shape[2]
    taps = conv_weight.mT.unsqueeze(2)  # (G, K, 1, F)
    stacked = (joint.unsqueeze(1) * taps).flatten(1, 2)
    # Event p reads the input j of K - 1 before the history through tap j - p, if j >= p.
    rows = [torch.cat([torch.zeros_like(taps[:, :p]), taps[:, : K - 1 - p]], 1) for p in range(K - 1)]
    return stacked, torch.cat(rows, 2) if rows else taps[:, :0, :0]


def add_before(y: Tensor, before: Tensor, early: Tensor, grid: Grid) -> None:
    """Add to y (G, R, F) what before (G, V, K-1, F) gives to each history's first events."""
    given = (before.unsqueeze(3) * early.unsqueeze(1)).sum(2).flatten(1, 2)
    y.index_add_(1, grid.early_row, given.index_select(1, grid.early))


def add_before_backward(dy: Tensor, before: Tensor, early: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Gradients of before and early."""
    dgiven = torch.zeros_like(before).flatten(1, 2)
    dgiven = dgiven.index_copy_(1, grid.early, dy.index_select(1, grid.early_row)).view_as(before)
    d = dgiven.unsqueeze(2)  # (G, V, 1, K-1, F)
    return (d * early.unsqueeze(1)).sum(3), (d * before.unsqueeze(3)).sum(1)
