"""One event of each of many users through the model, to the same bits whichever users come together."""

import torch
from torch import Tensor

from hydrarec.data.batch import REQUEST_TIMES, Batch
from hydrarec.models.recurrent import RecurrentModel
from hydrarec.nn.state import EncoderState

# Users of one call. Matrix products of other sizes round differently in the last bits; so that a user's state depends
# on nothing but the user's events, a call always has this many, the last one repeated where there are fewer.
BLOCK = 32


@torch.inference_mode()
def step_(model: RecurrentModel, state: EncoderState, users: Tensor, items: Tensor, times: Tensor) -> None:
    """An event of each of ``users``, places (n,) in ``state`` that differ, with its item row and time (n,).

    The state is updated where it lies. With a model that reads the time until the next event, the new event waits
    (``models/waiting.py``), and the one that waited is read.
    """
    if not model.sees_request_time:
        _in_blocks(model, state, users, items, times, times)
        return
    waited = state.waiting[users] >= 0
    old = users[waited]
    _in_blocks(model, state, old, state.waiting[old], state.waiting_time[old], times[waited])
    state.waiting[users], state.waiting_time[users] = items, times


def _in_blocks(
    model: RecurrentModel, state: EncoderState, users: Tensor, items: Tensor, times: Tensor, asked: Tensor
) -> None:
    offsets = torch.arange(BLOCK + 1, device=users.device)
    for first in range(0, len(users), BLOCK):
        count = min(BLOCK, len(users) - first)
        chosen = first + offsets[:BLOCK].clamp(max=count - 1)
        block = state.select(users[chosen])
        batch = Batch(items=items[chosen], times=times[chosen], offsets=offsets, columns={REQUEST_TIMES: asked[chosen]})
        model.step_(batch, block)
        for name, value in state.tensors().items():
            value[users[first : first + count]] = block.tensors()[name][:count]
