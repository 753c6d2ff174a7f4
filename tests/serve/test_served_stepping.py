"""Whichever users come together, a user's state is the same bits; and it is the state of the whole history."""

import pytest
import torch

from hydrarec.data.batch import pack
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.models.waiting import observe
from hydrarec.serve.stepping import BLOCK, step_

USERS, EVENTS = 2 * BLOCK + 5, 4


@pytest.fixture(params=[False, True], ids=["plain", "time"])
def model(request):
    torch.manual_seed(1)
    config = HydraConfig(d_model=16, n_layers=2, n_heads=2, d_state=4, dropout=0.0, time=request.param)
    return Hydra(config, 50).eval()


@pytest.fixture(scope="module")
def streams():
    number = torch.Generator().manual_seed(2)
    items = torch.randint(0, 50, (EVENTS, USERS), generator=number)
    return items, torch.randint(0, 10**5, (EVENTS, USERS), generator=number).cumsum(0)


def stepped(model, streams, groups):
    """States after all events, the users of each group in one call."""
    items, times = streams
    state = model.initial_state(USERS).clone()
    for t in range(EVENTS):
        for group in groups(t):
            step_(model, state, group, items[t, group], times[t, group])
    return state


def test_groups_of_any_size_and_order_give_the_same_bits(model, streams):
    everybody = stepped(model, streams, lambda t: [torch.arange(USERS)])
    one_by_one = stepped(model, streams, lambda t: torch.arange(USERS).split(1))
    number = torch.Generator().manual_seed(3)
    shuffled = stepped(
        model, streams, lambda t: torch.randperm(USERS, generator=number).split([1, BLOCK, 7, USERS - 8 - BLOCK])
    )
    for other in (one_by_one, shuffled):
        for name, value in everybody.tensors().items():
            assert torch.equal(value, other.tensors()[name]), name


@torch.no_grad()
def test_steps_are_the_pass_over_the_history(model, streams):
    items, times = streams
    state = stepped(model, streams, lambda t: [torch.arange(USERS)])
    whole = observe(model, pack(list(items.T.numpy()), list(times.T.numpy())), model.initial_state(USERS))
    for name, value in whole.tensors().items():
        if name != "time" or model.sees_request_time:
            torch.testing.assert_close(state.tensors()[name], value, rtol=1e-4, atol=1e-5)


def test_others_are_left_alone(model, streams):
    items, times = streams
    state = model.initial_state(3).clone()
    step_(model, state, torch.tensor([2, 0]), items[0, :2], times[0, :2])
    before = state.clone()
    step_(model, state, torch.tensor([0]), items[1, :1], times[1, :1])
    for name, value in state.tensors().items():
        assert torch.equal(value[1:], before.tensors()[name][1:]), name
    assert not torch.equal(state.ssm[0], before.ssm[0]) or model.sees_request_time
    assert (state.waiting[1], state.position[1]) == (-1, 0)
