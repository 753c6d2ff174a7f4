"""One event at a time, in place, is the history read whole."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close
from test_encoder import FIELDS, configs, encode, histories, make

from hydrarec import InputError
from hydrarec.data.batch import REQUEST_TIMES, Batch
from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.step import Stepper, fits, step_by_layers
from hydrarec.nn.time import Gaps
from hydrarec.ops import kernels
from hydrarec.ops.step import run_step, step_

needs_kernels = pytest.mark.skipif(kernels() is None, reason="the compiled kernels are not used here")


def agree(state, expected, names=FIELDS):
    for name in names:
        close(getattr(state, name), getattr(expected, name), 1e-5)


@given(config=configs())
@settings(max_examples=40)
def test_steps_are_the_whole(config):
    encoder = make(config)
    rows = histories(config, [7, 7, 7])
    whole, expected = encode(encoder, rows)
    state = encoder.initial_state(3)
    for t in range(7):
        hidden = encoder.step_(torch.stack([row[t] for row in rows]), state)
        close(hidden, torch.stack([h[t] for h in whole]), 1e-5)
    agree(state, expected)


GAPS = [0, 1, 3600, 10**8, 10**10, -5]  # times that fall count as standing still


@given(config=configs(), heads=st.integers(0, 3), data=st.data())
@settings(max_examples=40)
def test_steps_that_read_time(config, heads, data):
    encoder = make(replace(config, time_heads=heads), time=True)
    states, times = [encoder.initial_state(3) for _ in range(2)], torch.zeros(3, dtype=torch.int64)
    gaps = st.lists(st.sampled_from(GAPS), min_size=3, max_size=3).map(torch.tensor)
    for x in torch.randn(4, 3, config.d_model).unbind(0):
        times = times + data.draw(gaps)
        asked = {REQUEST_TIMES: times + data.draw(gaps)}
        batch = Batch(items=torch.zeros(3, dtype=torch.int64), times=times, offsets=torch.arange(4), columns=asked)
        encoder.step_(x, states[0], batch)
        step_by_layers(encoder, x, states[1], batch)
        agree(*states, names=(*FIELDS, "timed", "time"))


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("users", [0, 1, 23, 24, 25, 100])
def test_any_number_of_users(users, time):
    encoder = make(EncoderConfig(d_model=12, n_heads=2, d_state=20, time_heads=3), time=time)
    states, times = [encoder.initial_state(users) for _ in range(2)], torch.arange(users)
    for x in torch.randn(3, users, 12).unbind(0):
        times = times + torch.randint(0, 10**6, (users,))
        asked = {REQUEST_TIMES: times + torch.randint(0, 10**6, (users,))}
        batch = Batch(items=torch.zeros(users).long(), times=times, offsets=torch.arange(users + 1), columns=asked)
        encoder.step_(x, states[0], batch)
        step_by_layers(encoder, x, states[1], batch)
    agree(*states, names=(*FIELDS, "timed", "time") if time else FIELDS)


@pytest.mark.parametrize(("d_state", "inner"), [(4, 8), (8, 16), (16, 32), (32, 16), (64, 16), (5, 12)])
def test_every_width_of_the_scan(d_state, inner):
    config = EncoderConfig(d_model=8, n_heads=1, d_head=inner // 2, d_state=d_state, n_layers=1)
    encoder = make(config)
    states = [encoder.initial_state(2) for _ in range(2)]
    for x in torch.randn(4, 2, 8).unbind(0):
        encoder.step_(x, states[0])
        step_by_layers(encoder, x, states[1])
    agree(*states)


def test_new_weights_are_noticed():
    encoder = make(EncoderConfig(d_model=8, n_heads=2))
    x = torch.randn(2, 8)
    encoder.step_(x, encoder.initial_state(2))
    with torch.no_grad():
        encoder.layers[0].w_o.weight += 1
    states = [encoder.initial_state(2) for _ in range(2)]
    encoder.step_(x, states[0])
    step_by_layers(encoder, x, states[1])
    agree(*states)


def test_threads_agree():
    encoder, x = make(EncoderConfig(d_model=16, n_heads=2)), torch.randn(90, 16)
    states = []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            states.append(encoder.initial_state(90))
            encoder.step_(x, states[-1])
    finally:
        torch.set_num_threads(threads)
    for name in FIELDS:
        assert torch.equal(getattr(states[0], name), getattr(states[1], name))


def test_what_the_kernel_does_not_take_goes_through_the_layers():
    weight = torch.zeros(1)
    assert not fits(EncoderConfig(d_model=130, n_heads=65), weight)
    assert not fits(EncoderConfig(d_conv=5), weight)
    assert not fits(EncoderConfig(), weight.double())


def arguments_of(x, time=False):
    """The tensors of a step, the sizes and the scale."""
    encoder = make(EncoderConfig(d_model=8, n_heads=2), time=time)
    stepper, state, gaps = Stepper(encoder), encoder.initial_state(len(x)), torch.zeros(len(x) if time else 0)
    stepper(x, state.clone(), Gaps(since=gaps, first=gaps > 0, until=gaps))
    before = [getattr(state, name) for name in ("position", "conv", "ssm", "timed", "hidden")]
    return [stepper._packed, x, gaps, gaps.clone(), *before], stepper.sizes, stepper.scale


@needs_kernels
@pytest.mark.parametrize("broken", range(9))
@pytest.mark.parametrize("how", ["short", "dtype", "strided"])
def test_wrong_tensors_raise(broken, how):
    tensors, sizes, scale = arguments_of(torch.randn(2, 8), time=True)
    wrong = {
        "short": lambda t: t.flatten()[:-1] if broken != 1 else torch.randn(2, 7),
        "dtype": lambda t: t.half(),
        "strided": lambda t: torch.stack([t, t], -1)[..., 0],
    }
    tensors[broken] = wrong[how](tensors[broken])
    with pytest.raises(ValueError, match=r"numbers|dense"):
        run_step(tuple(tensors), sizes, scale)


TOO_MANY_HEADS = [8, 2, 65, 4, 8, 16, 4, 16, 1, 0, 0]
NO_PAIRS = [8, 2, 2, 3, 8, 16, 4, 16, 1, 64, 0, 0]
TOO_MANY_TAPS = [8, 2, 2, 4, 8, 16, 5, 16, 1, 64, 0, 0]
TIME_HEADS_WITHOUT_WIDTH = [8, 2, 2, 4, 8, 16, 4, 16, 1, 64, 2, 0]


@needs_kernels
@pytest.mark.parametrize("sizes", [[], [0] * 12, TOO_MANY_HEADS, NO_PAIRS, TOO_MANY_TAPS, TIME_HEADS_WITHOUT_WIDTH])
def test_wrong_sizes_raise(sizes):
    with pytest.raises(ValueError, match="sizes"):
        run_step((torch.zeros(1),) * 10, sizes, 1.0)


@needs_kernels
@pytest.mark.parametrize("time", [False, True])
def test_the_operator(time):
    tensors, sizes, scale = arguments_of(torch.randn(2, 8), time=time)
    torch.library.opcheck(step_, (*tensors, sizes, scale), test_utils=("test_schema", "test_faketensor"))


def test_time_is_needed_where_it_is_read():
    encoder = make(EncoderConfig(d_model=8, n_heads=2), time=True)
    with pytest.raises(InputError, match="give the times"):
        encoder.step_(torch.randn(1, 8), encoder.initial_state(1))


def test_no_step_while_training_drops_out():
    encoder = HydraEncoder(EncoderConfig(d_model=8, n_heads=2, dropout=0.5))
    x = torch.ones(4, 8)
    hidden = [encoder.step_(x, encoder.initial_state(4)).clone() for _ in range(2)]
    assert not torch.equal(*hidden)  # as the encoder itself in training
