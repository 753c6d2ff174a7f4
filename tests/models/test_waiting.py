"""A stream with events that wait gives what the whole history gives."""

from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import small_config

from hydrarec.data.batch import REQUEST_TIMES, Batch, pack
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.models.waiting import hidden_states, observe

N_ITEMS = 11


def make(**changes):
    torch.manual_seed(3)
    plain = {key: getattr(small_config(), key) for key in ("d_model", "n_layers", "n_heads", "d_state")}
    model = Hydra(HydraConfig(**{**plain, "time": True, **changes}), N_ITEMS).eval()
    with torch.no_grad():  # times must matter as much as items
        for table in (
            model.items.weight,
            *([model.encoder.time.since, model.encoder.time.until] if model.encoder.time else []),
        ):
            table.normal_()
    return model


def asked(histories, times, at):
    """Whole histories with the times at which each event's hidden state is asked."""
    batch = pack(histories, times)
    later = [moment for each, end in zip(times, at, strict=True) for moment in [*each[1:], end]]
    return Batch(
        items=batch.items,
        times=batch.times,
        offsets=batch.offsets,
        columns={REQUEST_TIMES: torch.tensor(later, dtype=torch.int64)},
    )


streams = st.lists(
    st.lists(st.tuples(st.integers(0, N_ITEMS - 1), st.integers(0, 10**6)), min_size=1, max_size=7),
    min_size=1,
    max_size=4,
)


@given(streams, st.integers(0, 2**31), st.integers(0, 10**6))
@settings(max_examples=40)
@torch.no_grad()
def test_observed_in_any_pieces_a_stream_is_its_history(streams, seed, wait):
    random = Random(seed)
    model = make()
    items = [[item for item, _ in stream] for stream in streams]
    times = [np.cumsum([gap for _, gap in stream]).tolist() for stream in streams]
    at = [each[-1] + wait for each in times]
    whole = model.encode(batch := asked(items, times, at))[batch.last]

    state = model.initial_state(len(streams))
    done = [0] * len(streams)
    while any(upto < len(each) for upto, each in zip(done, items, strict=True)):
        ends = [min(len(each), upto + random.randint(0, 3)) for upto, each in zip(done, items, strict=True)]
        piece = [each[a:b] for each, a, b in zip(items, done, ends, strict=True)]
        when = [each[a:b] for each, a, b in zip(times, done, ends, strict=True)]
        state = observe(model, pack(piece, when), state)
        done = ends
    torch.testing.assert_close(hidden_states(model, state, torch.tensor(at)), whole, rtol=1e-4, atol=1e-5)
    assert state.waiting.tolist() == [each[-1] for each in items]
    assert state.waiting_time.tolist() == [each[-1] for each in times]
    assert state.position.tolist() == [len(each) - 1 for each in items]


@torch.no_grad()
def test_a_request_leaves_the_state_as_it_was():
    model = make()
    state = observe(model, pack([[1, 2, 3], [4]], [[5, 6, 90], [7]]), model.initial_state(2))
    before = state.clone()
    early, late = (hidden_states(model, state, torch.tensor([moment, moment])) for moment in (90, 10**6))
    assert not torch.allclose(early, late)
    for name, value in before.tensors().items():
        assert torch.equal(value, state.tensors()[name]), name


@torch.no_grad()
def test_nothing_observed_changes_nothing():
    model = make()
    state = observe(model, pack([[1, 2], [4]], [[5, 6], [7]]), model.initial_state(2))
    after = observe(model, pack([[], []], [[], []]), state)
    for name, value in state.tensors().items():
        assert torch.equal(value, after.tensors()[name]), name


@torch.no_grad()
def test_without_time_no_event_waits():
    model = make(time=False)
    state = observe(model, pack([[1, 2], [4]]), model.initial_state(2))
    assert state.waiting.tolist() == [-1, -1]
    torch.testing.assert_close(hidden_states(model, state, torch.tensor([0, 0])), state.hidden)
    assert not model.sees_request_time


@torch.no_grad()
def test_the_single_step_is_the_pass_over_the_history():
    model = make()
    times = [[10, 15, 15], [3, 900, 40_000]]
    batch = asked([[1, 2, 3], [4, 5, 6]], times, [20, 50_000])
    whole = model.encode(batch).unflatten(0, (2, 3))
    state = model.initial_state(2)
    for t in range(3):
        one = Batch(
            items=batch.items[t::3],
            times=batch.times[t::3],
            offsets=torch.arange(3),
            columns={REQUEST_TIMES: batch.request_times[t::3]},
        )
        torch.testing.assert_close(model.step_(one, state), whole[:, t], rtol=1e-4, atol=1e-5)
    assert state.time.tolist() == [15, 40_000]


@pytest.mark.parametrize("size", [1, 2, 5])
@torch.no_grad()
def test_pieces_of_a_batch_are_the_batch(size):
    """Each piece ends with an event whose next one is known: so windows and segments go on exactly."""
    model = make()
    batch = asked([[1, 2, 3, 4, 5], [6, 7]], [[1, 4, 4, 99, 500], [8, 10**5]], [600, 10**6])
    whole = model.encode(batch)
    model.read_events = size
    torch.testing.assert_close(model.read(batch)[0], whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3])
def test_recomputed_segments_have_the_gradients_of_the_whole(size):
    """Of the learned scales of time heads too, through the state that segments hand on."""
    model = make(d_model=16, time_heads=4)
    batch = asked([[1, 2, 3, 4, 5], [6, 7]], [[1, 4, 4, 99, 500], [8, 10**5]], [600, 10**6])
    weight = torch.randn(7, 16)
    found = []
    for hidden in (model.resume(batch, None)[0], model.resume_recomputing(batch, None, size)[0]):
        model.zero_grad()
        (hidden * weight).sum().backward()
        found.append({name: each.grad.clone() for name, each in model.named_parameters()})
    assert found[0]["encoder.time_heads.0.log_scale"].abs().max() > 0
    for name, whole in found[0].items():
        torch.testing.assert_close(found[1][name], whole, rtol=1e-3, atol=1e-4)
