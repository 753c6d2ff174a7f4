from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, offsets_of, ragged
from torch.nn.functional import conv1d

from hydrarec.ops import causal_conv

TAPS = [1, 2, 3, 4]


def problem(taps, lengths, seed=0, G=2, F=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "x": (sum(lengths), G, F),
        "weight": (G, F, taps),
        "bias": (G, F),
        "state": (len(lengths), taps - 1, G, F),
    }
    return {name: torch.randn(*s, generator=generator, dtype=torch.float64) for name, s in shapes.items()}


def reference(x, weight, bias, state, lengths):
    """torch's convolution, history by history, the state laid before each."""
    G, F, taps = weight.shape
    outputs, states = [x[:0]], []
    for user, (first, end) in enumerate(pairwise(offsets_of(lengths).tolist())):
        row = torch.cat([state[user], x[first:end]])  # (K-1+L, G, F)
        if end > first:
            y = conv1d(row.flatten(1).T[None], weight.reshape(G * F, 1, taps), bias.flatten(), groups=G * F)
            outputs.append(y[0].T.unflatten(1, (G, F)))
        states.append(row[len(row) - (taps - 1) :])
    return torch.cat(outputs), torch.stack(states)


@given(taps=st.sampled_from(TAPS), lengths=ragged(9), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_values_state_and_gradients_are_those_of_conv1d(taps, lengths, seed):
    given_problem = problem(taps, lengths, seed)
    outcomes = []
    for ours in (True, False):
        leaves = {name: value.clone().requires_grad_() for name, value in given_problem.items()}
        results = causal_conv(**leaves, offsets=offsets_of(lengths)) if ours else reference(**leaves, lengths=lengths)
        loss = sum((value.sin() * (i + 1)).sum() for i, value in enumerate(results))
        gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        outcomes.append([*results, *gradients])
    for got, expected in zip(*outcomes, strict=True):
        close(got, expected, 1e-12)


@pytest.mark.parametrize("taps", TAPS)
def test_gradcheck(taps):
    given_problem = problem(taps, [2, 0, 5], G=1, F=2)
    assert torch.autograd.gradcheck(
        lambda x, w, b, s: causal_conv(x, w, b, offsets_of([2, 0, 5]), s),
        tuple(value.requires_grad_() for value in given_problem.values()),
    )


@pytest.mark.parametrize("taps", TAPS)
def test_event_by_event_with_the_state_carried(taps):
    given_problem = problem(taps, [7])
    x, state = given_problem.pop("x"), given_problem.pop("state")
    whole, last = causal_conv(x, offsets=offsets_of([7]), state=state, **given_problem)
    for t in range(7):
        y, state = causal_conv(x[t : t + 1], offsets=offsets_of([1]), state=state, **given_problem)
        close(y, whole[t : t + 1], 1e-12)
    assert torch.equal(state, last)


def test_no_state_is_zeros_and_no_events_keep_the_state():
    given_problem = problem(3, [2, 4])
    zeros = {**given_problem, "state": torch.zeros_like(given_problem["state"])}
    for got, expected in zip(
        causal_conv(**{**given_problem, "state": None}, offsets=offsets_of([2, 4])),
        causal_conv(**zeros, offsets=offsets_of([2, 4])),
        strict=True,
    ):
        assert torch.equal(got, expected)
    nothing = problem(3, [0, 0])
    y, state = causal_conv(**nothing, offsets=offsets_of([0, 0]))
    assert len(y) == 0
    assert torch.equal(state, nothing["state"])
