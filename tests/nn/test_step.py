"""One event at a time, in place, is the history read whole."""

import pytest
import torch
from hypothesis import given, settings
from support import close
from test_encoder import FIELDS, configs, encode, histories, make

from hydrarec.nn.config import EncoderConfig
from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.step import Stepper, fits, step_by_layers
from hydrarec.ops import kernels
from hydrarec.ops.step import run_step, step_

needs_kernels = pytest.mark.skipif(kernels() is None, reason="the compiled kernels are not used here")


def agree(state, expected):
    for name in FIELDS:
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


@pytest.mark.parametrize("users", [0, 1, 23, 24, 25, 100])
def test_any_number_of_users(users):
    config = EncoderConfig(d_model=12, n_heads=2, d_state=20)
    encoder = make(config)
    states = [encoder.initial_state(users) for _ in range(2)]
    for x in torch.randn(3, users, 12).unbind(0):
        encoder.step_(x, states[0])
        step_by_layers(encoder, x, states[1])
    agree(*states)


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


def test_a_position_below_zero_stays_inside_the_table():
    encoder = make(EncoderConfig(d_model=8, n_heads=2, period=5))
    state = encoder.initial_state(1)
    state.position.fill_(-3)
    assert torch.isfinite(encoder.step_(torch.randn(1, 8), state)).all()


def test_what_the_kernel_does_not_take_goes_through_the_layers():
    weight = torch.zeros(1)
    assert not fits(EncoderConfig(d_model=130, n_heads=65), weight)
    assert not fits(EncoderConfig(d_conv=5), weight)
    assert not fits(EncoderConfig(), weight.double())


@needs_kernels
@pytest.mark.parametrize("broken", range(7))
@pytest.mark.parametrize("how", ["short", "dtype", "strided"])
def test_wrong_tensors_raise(broken, how):
    encoder = make(EncoderConfig(d_model=8, n_heads=2))
    stepper, state = Stepper(encoder), encoder.initial_state(2)
    stepper(torch.randn(2, 8), state)
    tensors = [
        stepper._packed,
        torch.randn(2, 8),
        stepper.table,
        *(getattr(state, n) for n in ("position", "conv", "ssm", "hidden")),
    ]
    wrong = {
        "short": lambda t: t.flatten()[:-1] if broken != 1 else torch.randn(2, 7),
        "dtype": lambda t: t.half(),
        "strided": lambda t: torch.stack([t, t], -1)[..., 0],
    }
    tensors[broken] = wrong[how](tensors[broken])
    with pytest.raises(ValueError, match=r"numbers|dense"):
        run_step(tuple(tensors), stepper.sizes, stepper.scale)


TOO_MANY_HEADS = [8, 2, 65, 4, 8, 16, 4, 16, 1, 64]
NO_PAIRS = [8, 2, 2, 3, 8, 16, 4, 16, 1, 64]
TOO_MANY_TAPS = [8, 2, 2, 4, 8, 16, 5, 16, 1, 64]


@needs_kernels
@pytest.mark.parametrize("sizes", [[], [0] * 10, TOO_MANY_HEADS, NO_PAIRS, TOO_MANY_TAPS])
def test_wrong_sizes_raise(sizes):
    with pytest.raises(ValueError, match="sizes"):
        run_step((torch.zeros(1),) * 7, sizes, 1.0)


@needs_kernels
def test_the_operator():
    encoder = make(EncoderConfig(d_model=8, n_heads=2))
    stepper, state = Stepper(encoder), encoder.initial_state(2)
    x = torch.randn(2, 8)
    stepper(x, state.clone())
    tensors = (stepper._packed, x, stepper.table, state.position, state.conv, state.ssm, state.hidden)
    torch.library.opcheck(
        step_, (*tensors, stepper.sizes, stepper.scale), test_utils=("test_schema", "test_faketensor")
    )


def test_no_step_while_training_drops_out():
    encoder = HydraEncoder(EncoderConfig(d_model=8, n_heads=2, dropout=0.5))
    x = torch.ones(4, 8)
    hidden = [encoder.step_(x, encoder.initial_state(4)).clone() for _ in range(2)]
    assert not torch.equal(*hidden)  # as the encoder itself in training
