"""Streams of a model that reads the time until the next event: the last event of each user waits until it is known.

The state holds every event but that one, read with the gap that followed it. A new event settles the gap of the one
that waits; a request settles it on a copy. Both cost one step, whatever the history.
"""

from dataclasses import replace

import torch
from torch import Tensor

from hydrarec.data.batch import REQUEST_TIMES, Batch
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.state import EncoderState


def observe(model: RecurrentModel, batch: Batch, state: EncoderState) -> EncoderState:
    """The state of the batch's users after its events, the last one of each waiting where the model needs that."""
    if not model.sees_request_time:
        return model.read(batch, state)[1]
    settled, waiting, since = _settle(batch, state)
    after = model.read(settled, state)[1] if len(settled.items) else state
    return replace(after, waiting=waiting, waiting_time=since)


def hidden_states(model: RecurrentModel, state: EncoderState, at: Tensor) -> Tensor:
    """(U, d) what a request at ``at`` (U,) int64 seconds is answered from; every user has had an event."""
    if not model.sees_request_time:
        return state.hidden
    users = torch.arange(len(state) + 1, device=state.waiting.device)
    waiting = Batch(items=state.waiting, times=state.waiting_time, offsets=users, columns={REQUEST_TIMES: at})
    return model.read(waiting, state)[0]


def _settle(batch: Batch, state: EncoderState) -> tuple[Batch, Tensor, Tensor]:
    """The events whose next one is known now, and the item and time of the one that waits then."""
    before, new = (state.waiting >= 0).long(), batch.lengths
    ends = (before + new).cumsum(0)  # of each user's events, waiting one first
    old = (ends - before - new)[before > 0]
    total = int(ends[-1]) if len(ends) else 0
    is_new = torch.ones(total, dtype=torch.bool, device=ends.device)
    is_new[old] = False
    items, times = ends.new_empty(total), ends.new_empty(total)
    items[is_new], times[is_new] = batch.items, batch.times
    items[old], times[old] = state.waiting[before > 0], state.waiting_time[before > 0]
    some = before + new > 0
    last = ends[some] - 1
    waiting, since = state.waiting.clone(), state.waiting_time.clone()
    waiting[some], since[some] = items[last], times[last]
    settled = torch.ones_like(is_new)
    settled[last] = False
    counts = torch.where(some, before + new - 1, 0)
    return (
        Batch(
            items=items[settled],
            times=times[settled],
            offsets=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            columns={REQUEST_TIMES: times.roll(-1)[settled]},
        ),
        waiting,
        since,
    )
