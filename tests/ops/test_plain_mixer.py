"""The mixer in plain PyTorch against the same composed of PyTorch's parts, in float64."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import near, outcome
from support import close, offsets_of, ragged
from test_mixer import SCALE, composed, problem

from hydrarec.ops.plain import mixer as module
from hydrarec.ops.plain.mixer import plain_mixer

SHAPES = [(2, 8, 16, 16, 4), (1, 16, 32, 8, 3), (3, 7, 10, 3, 2), (2, 1, 5, 17, 1), (1, 34, 48, 33, 4)]


def plain(sizes):
    def run(xz, conv_state=None, state=None, **weights):
        return plain_mixer(xz, *weights.values(), offsets_of(sizes), conv_state, state, SCALE)

    return run


def compare(given_problem, sizes, dtype=torch.float64, forward=1e-12, backward=1e-9):
    got = outcome(plain(sizes), given_problem, dtype)
    expected = outcome(composed(sizes), given_problem, torch.float64)
    names = ("u", "conv_final", "final", *given_problem)
    for name, one, other in zip(names, got, expected, strict=True):
        assert one.dtype == dtype, name
        if name == "A":  # zero for a single event, which is what is left of terms that cancel
            near(one, other, backward, sum(sizes) ** 0.5)
        else:
            close(one, other, forward if name in names[:3] else backward)


@pytest.mark.parametrize(("G", "c", "E", "N", "K"), SHAPES)
def test_values_and_gradients_are_those_of_the_parts(G, c, E, N, K):
    sizes = [65, 0, 1, 2, 130]
    compare(problem(sizes, G, c, E, N, K), sizes)


@given(sizes=ragged(150, users=9), taps=st.integers(1, 5), rows=st.integers(1, 200), begun=st.booleans())
@settings(max_examples=30)
def test_wherever_tiles_end(sizes, taps, rows, begun):
    given_problem = problem(sizes, G=2, c=2, E=4, N=2, K=taps)
    if not begun:
        del given_problem["conv_state"], given_problem["state"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FLOATS", rows * 2 * 8)
        compare(given_problem, sizes)


def test_single_precision():
    sizes = [65, 0, 1, 2, 130]
    compare(problem(sizes), sizes, torch.float32, 2e-6, 2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_decays_that_forget_everything(dtype):
    sizes = [130, 5]
    given_problem = problem(sizes)
    given_problem["A"] = torch.full_like(given_problem["A"], -100.0)
    got = outcome(plain(sizes), given_problem, dtype)
    expected = outcome(composed(sizes), given_problem, torch.float64)
    for one, other in zip(got, expected, strict=True):  # that of A is what is left of terms that cancel
        near(one, other, 5e-5 if dtype == torch.float32 else 1e-10, 2 * sum(sizes) ** 0.5)


def test_gradcheck():
    sizes = [2, 0, 5]
    given_problem = problem(sizes, G=1, c=2, E=2, N=2, K=3)
    leaves = [value.double().requires_grad_() for value in given_problem.values()]
    assert torch.autograd.gradcheck(
        lambda *values: plain(sizes)(**dict(zip(given_problem, values, strict=True))), leaves
    )


@pytest.mark.parametrize("part", [0, 1, 2])
def test_gradient_through_one_result_alone(part):
    sizes = [70, 0, 2, 1]
    got = outcome(lambda **inputs: (plain(sizes)(**inputs)[part],), problem(sizes), torch.float64)
    expected = outcome(lambda **inputs: (composed(sizes)(**inputs)[part],), problem(sizes), torch.float64)
    for one, other in zip(got, expected, strict=True):
        close(one, other, 1e-9)


@pytest.mark.parametrize("cuts", [[1] * 70, [64, 6], [3, 0, 61, 6]])
def test_pieces_and_steps_with_the_state_carried_are_the_whole(cuts):
    given_problem = {name: value.double() for name, value in problem([70]).items()}
    whole = plain([70])(**given_problem)
    xz, states, parts = given_problem["xz"], (given_problem["conv_state"], given_problem["state"]), []
    for first, end in pairwise(offsets_of(cuts).tolist()):
        piece = {**given_problem, "xz": xz[first:end], "conv_state": states[0], "state": states[1]}
        part, *states = plain([end - first])(**piece)
        parts.append(part)
    for one, other in zip((torch.cat(parts), *states), whole, strict=True):
        close(one, other, 1e-12)


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_no_events_and_no_histories(sizes):
    given_problem = problem(sizes)
    u, conv_final, final, *gradients = outcome(plain(sizes), given_problem, torch.float32)
    assert u.shape == (0, 12)
    assert torch.equal(conv_final, given_problem["conv_state"])
    assert torch.equal(final, given_problem["state"])
    assert not any(gradient.any() for gradient in gradients[1:9])
