"""Packed histories cut into chunks of Q events, in the order of the events, as tables that kernels read.

The chunks of a history follow one another, so that a recurrence over chunks shifts by one, whatever the history; a
table says where a history opens and the recurrence begins anew.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """n chunks of at most Q events.

    Attributes:
        size: Q.
        depth: chunks of the longest history.
        first: (n,) int64, first event of each chunk.
        stop: (n,) int64, one past its last event.
        user: (n,) int64, its history.
        opens: (n,) bool, whether it is the first of its history.
        last: (U,) int64, last chunk of each history; of the one before it where the history is empty, or -1.
        filled: (U,) bool, whether the history has events.
    """

    size: int
    depth: int
    first: Tensor
    stop: Tensor
    user: Tensor
    opens: Tensor
    last: Tensor
    filled: Tensor

    @property
    def total(self) -> int:
        """n."""
        return self.first.numel()

    def places(self, T: int) -> Tensor:
        """(T,) int64, where the events lie among the n * Q places of the chunks."""
        chunk = torch.repeat_interleave(self.stop - self.first, output_size=T)
        event = torch.arange(T, device=chunk.device)
        return event + (torch.arange(self.total, device=chunk.device) * self.size - self.first)[chunk]


def cut(offsets: Tensor, size: int) -> Layout:
    """Chunks of ``size`` events of the histories bounded by ``offsets`` (U+1,)."""
    count = (offsets.diff() + size - 1).div(size, rounding_mode="floor")  # (U,) chunks of each history
    ends = count.cumsum(0)
    # The two numbers that the host must know come in one transfer.
    n, depth = torch.stack([ends[-1], count.amax()]).tolist() if count.numel() else (0, 0)
    user = torch.repeat_interleave(count, output_size=n)
    number = torch.arange(n, device=offsets.device) - (ends - count)[user]
    first = offsets[user] + number * size
    return Layout(
        size=size,
        depth=depth,
        first=first,
        stop=torch.minimum(first + size, offsets[user + 1]),
        user=user,
        opens=number == 0,
        last=ends - 1,
        filled=count > 0,
    )
