"""When events happen: the time since the event before, and the time until the answer is asked for."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from hydrarec.data.batch import Batch
from hydrarec.nn.state import EncoderState

PER_OCTAVE = 2  # buckets a doubling of the gap
BUCKETS = 64  # the last one begins after 2**31 seconds; bucket 0 is for what no event came before


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Seconds around each event of a batch.

    Attributes:
        since: (T,) int64, since the same user's event before; 0 where there is none.
        first: (T,) bool, where there is none.
        until: (T,) int64, until its hidden state is asked. Times that fall count as standing still.
    """

    since: Tensor
    first: Tensor
    until: Tensor

    @classmethod
    def of(cls, batch: Batch, state: EncoderState | None = None) -> Self:
        """The gaps of ``batch``, whose users come from ``state``; None: the histories begin here.

        Raises:
            InputError: the batch has no request times.
        """
        until = (batch.request_times - batch.times).clamp(min=0)
        some = batch.lengths > 0
        begins = batch.offsets[:-1][some]
        before = torch.cat([batch.times[:1], batch.times[:-1]])
        first = torch.zeros_like(batch.times, dtype=torch.bool)
        if state is None:
            first[begins] = True
        else:
            first[begins] = state.position[some] == 0
            before[begins] = state.time[some]
        return cls(since=(batch.times - before).clamp(min=0).masked_fill(first, 0), first=first, until=until)


def gap_buckets(gaps: Tensor) -> Tensor:
    """Gaps in seconds, int64 of any shape, to buckets from 1 on."""
    octaves = torch.log2(gaps.double() + 1)
    return (octaves * PER_OCTAVE).long().clamp(max=BUCKETS - 2) + 1


class TimeFeatures(nn.Module):
    """One learned vector a bucket of the gap before an event, and one a bucket of the gap until the request.

    Added to item vectors, they reach everything that Mamba reads from its input: what is written to the state, what is
    read from it, and how fast it decays. The gap until the request is known when the next event or the request comes,
    so that a stream needs the state and one event that waits.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.since = nn.Parameter(0.02 * torch.randn(BUCKETS, d_model))
        self.until = nn.Parameter(0.02 * torch.randn(BUCKETS, d_model))

    def forward(self, gaps: Gaps) -> Tensor:
        """(T, d), to be added to the item vectors."""
        return self.since[gap_buckets(gaps.since).masked_fill(gaps.first, 0)] + self.until[gap_buckets(gaps.until)]
