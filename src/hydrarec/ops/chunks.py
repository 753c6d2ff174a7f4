"""The chunk layout: every history cut into chunks of Q events, all chunks stacked into one rectangle.

Chunks are ordered by their number inside the history first, and by history (longest first) second. So the k-th chunks
of all histories that have one are a contiguous slice, and a recurrence over chunks walks over slices without a mask.
Only the last chunk of a history has padding: at most Q - 1 events.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chunks:
    """Where packed events lie in the chunk layout.

    Attributes:
        size: Q.
        counts: for each k, how many histories have a k-th chunk (never increasing).
        order: (B,) histories, longest first.
        place: (T,) position of each packed event among the C * Q places.
    """

    size: int
    counts: list[int]
    order: Tensor
    place: Tensor

    @property
    def total(self) -> int:
        """C, the number of chunks."""
        return sum(self.counts)

    def rank(self) -> Tensor:
        """(B,) place of each history in ``order``."""
        return torch.empty_like(self.order).scatter_(0, self.order, torch.arange(len(self.order)).to(self.order))

    def levels(self) -> list[slice]:
        """For each k, the slice of chunks that are the k-th of their history."""
        first, slices = 0, []
        for count in self.counts:
            slices.append(slice(first, first + count))
            first += count
        return slices


def chunks(offsets: Tensor, size: int) -> Chunks:
    """Lay out the histories given by ``offsets`` (B+1,) in chunks of at most ``size`` events."""
    lengths = offsets.diff()
    longest = int(lengths.max()) if lengths.numel() else 0
    size = max(1, min(size, longest))
    order = torch.argsort(lengths, descending=True, stable=True)
    of_history = (lengths + size - 1).div(size, rounding_mode="floor")  # chunks of each history
    n_levels = (longest + size - 1) // size
    # counts[k] = histories with more than k chunks
    having = torch.bincount(of_history, minlength=n_levels + 1)
    counts = (lengths.numel() - having.cumsum(0))[:n_levels]
    starts = counts.cumsum(0) - counts  # first chunk of each level
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(lengths.numel(), device=order.device))
    T = int(offsets[-1]) if offsets.numel() else 0
    position = torch.arange(T, device=offsets.device) - torch.repeat_interleave(offsets[:-1], lengths, output_size=T)
    level = position.div(size, rounding_mode="floor")
    row = starts[level] + torch.repeat_interleave(rank, lengths, output_size=T) if T else level
    place = row * size + (position - level * size)
    return Chunks(size=size, counts=counts.tolist(), order=order, place=place)


class _Scatter(torch.autograd.Function):
    """(G, T, F) -> (G, C*Q, F), zeros in the padding. Places are distinct, so the gradient is a plain gather."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor, total: int) -> Tensor:
        ctx.save_for_backward(place)
        return x.new_zeros(x.shape[0], total, x.shape[2]).index_copy_(1, place, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return grad.index_select(1, place), None, None


class _Gather(torch.autograd.Function):
    """(G, C*Q, F) -> (G, T, F), the padding dropped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.total = x.shape[1]
        return x.index_select(1, place)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        return grad.new_zeros(grad.shape[0], ctx.total, grad.shape[2]).index_copy_(1, place, grad), None


def to_chunks(x: Tensor, layout: Chunks) -> Tensor:
    """Packed (T, G, F) to chunks (G, C, Q, F), zeros in the padding."""
    flat: Tensor = _Scatter.apply(x.transpose(0, 1), layout.place, layout.total * layout.size)
    return flat.view(x.shape[1], layout.total, layout.size, x.shape[2])


def from_chunks(x: Tensor, layout: Chunks) -> Tensor:
    """Chunks (G, C, Q, F) to packed (T, G, F); memory stays head-major."""
    G, C, Q, F = x.shape
    packed: Tensor = _Gather.apply(x.reshape(G, C * Q, F), layout.place)
    return packed.transpose(0, 1)
