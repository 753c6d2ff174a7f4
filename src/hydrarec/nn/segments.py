"""Long histories a segment at a time, the state carried from one to the next: memory of a segment, not of a history.

Segment s of a batch holds the events s*S to (s+1)*S of every history that is that long. The same walk reads (nothing
is kept for a backward), and trains with recomputation (Chen et al. 2016, arXiv 1604.06174): gradients flow through the
carried state, and a segment's activations exist only while its own forward or backward runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hydrarec.data.batch import Batch
from hydrarec.nn.state import EncoderState, join

Step = Callable[[Batch, EncoderState | None], tuple[Tensor, EncoderState]]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of the A longest histories of a batch.

    Attributes:
        batch: those histories' events in the stretch, longest history first.
        places: (n,) int64, where these events lie in the whole batch.
    """

    batch: Batch
    places: Tensor


def segments(batch: Batch, size: int) -> Iterator[Segment]:
    """Cut every history of ``batch`` each ``size`` events. The histories of a segment begin those of the one before."""
    lengths, order = batch.lengths, longest_first(batch)
    longest = int(lengths.max()) if len(lengths) else 0
    for start in range(0, longest, size):
        alive = order[: int((lengths > start).sum())]
        counts = (lengths[alive] - start).clamp(max=size)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        skipped = batch.offsets[alive] + start - offsets[:-1]
        places = torch.arange(int(offsets[-1]), device=offsets.device) + skipped.repeat_interleave(counts)
        yield Segment(
            batch=Batch(
                items=batch.items[places],
                times=batch.times[places],
                offsets=offsets,
                columns={name: column[places] for name, column in batch.columns.items()},
            ),
            places=places,
        )


def longest_first(batch: Batch) -> Tensor:
    """(B,) int64, the histories of a batch by falling length."""
    return torch.argsort(batch.lengths, descending=True, stable=True)


def in_segments(step: Step, batch: Batch, state: EncoderState, size: int) -> tuple[Tensor, EncoderState]:
    """The same as ``step(batch, state)``, with at most ``size`` events of a history in any call.

    Args:
        step: encodes a batch from a state: hidden states (T, d) in the order of the events, and the new state.
        batch: B histories of T events; state: of its B users, before them.
    """
    order = longest_first(batch)
    state = state.select(order)
    hidden, places, ended = [], [], []
    for segment in segments(batch, size):
        alive = segment.batch.n_users
        ended.append(state.select(slice(alive, None)))
        h, state = step(segment.batch, state.select(slice(alive)))
        hidden.append(h)
        places.append(segment.places)
    final = join([state, *reversed(ended)]).select(order.argsort())  # the longest ended last
    if not hidden:
        return step(batch, final)  # no event at all
    together = torch.cat(hidden)
    if batch.n_users > 1:  # one history, and so the longest of all, is in its order already
        together = together.index_select(0, torch.cat(places).argsort())
    return together, final


def recomputed(step: Step) -> Step:
    """``step`` with its activations dropped after the forward and computed again, dropout included, in the backward."""
    return partial(checkpoint, step, use_reentrant=False)
