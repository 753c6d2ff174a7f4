"""When events happen, as vectors: how long after the event before, and how long until the answer is asked for."""

import torch
from torch import Tensor, nn

from hydrarec.data.batch import Batch
from hydrarec.nn.state import EncoderState

PER_OCTAVE = 2  # buckets a doubling of the gap
BUCKETS = 64  # the last one begins after 2**31 seconds; bucket 0 is for what no event came before


def gap_buckets(gaps: Tensor) -> Tensor:
    """Gaps in seconds, int64 of any shape, to buckets from 1 on; a negative gap counts as none."""
    octaves = torch.log2(gaps.clamp(min=0).double() + 1)
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

    def forward(self, batch: Batch, state: EncoderState | None = None) -> Tensor:
        """(T, d), to be added to the item vectors.

        Args:
            batch: events with ``times`` and ``request_times``.
            state: of the users before these events; None means that the histories begin here.

        Raises:
            InputError: the batch has no request times.
        """
        asked = batch.request_times
        since = gap_buckets(gaps_before(batch, state))
        begins = batch.offsets[:-1][batch.lengths > 0]
        if state is None:
            since[begins] = 0
        else:
            fresh = (state.position == 0)[batch.lengths > 0]
            since[begins[fresh]] = 0
        return self.since[since] + self.until[gap_buckets(asked - batch.times)]


def gaps_before(batch: Batch, state: EncoderState | None) -> Tensor:
    """(T,) int64 seconds since the event before; without meaning where there is none."""
    before = torch.cat([batch.times[:1], batch.times[:-1]])
    if state is not None:
        some = batch.lengths > 0
        before[batch.offsets[:-1][some]] = state.time[some]
    return batch.times - before
