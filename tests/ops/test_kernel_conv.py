"""The compiled convolution with SiLU against the one in PyTorch, in float64."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import ISAS, LOADED, gradients_of, lengths, near, needs_kernels, outcome, strided, using
from support import close, offsets_of
from torch.nn.functional import silu

from hydrarec.ops import causal_conv, conv
from hydrarec.ops.conv import causal_conv_silu

pytestmark = needs_kernels
TAPS = [1, 2, 3, 4]


def problem(taps, sizes, G=2, F=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (sum(sizes), G, F), "weight": (G, F, taps), "bias": (G, F), "state": (len(sizes), taps - 1, G, F)}
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


def ours(offsets):
    return lambda **inputs: causal_conv_silu(offsets=offsets, **inputs)


def reference(offsets):
    def run(**inputs):
        y, after = causal_conv(offsets=offsets, **inputs)
        return silu(y), after

    return run


def compare(given_problem, sizes):
    got = outcome(ours(offsets_of(sizes)), given_problem, torch.float32)
    expected = outcome(reference(offsets_of(sizes)), given_problem, torch.float64)
    for name, one, other in zip(("y", "after", *given_problem), got, expected, strict=True):
        assert one.dtype == torch.float32
        sums = sum(sizes) ** 0.5 if name in ("weight", "bias") else 0  # of so many terms near 1, of either sign
        near(one, other, 1e-6 if name in ("y", "after") else 1e-5, sums)


@pytest.mark.parametrize("isa", ISAS)
@given(
    taps=st.sampled_from(TAPS),
    sizes=lengths(),
    G=st.integers(1, 3),
    F=st.one_of(st.integers(1, 70), st.sampled_from([16, 32])),
    seed=st.integers(0, 99),
    begun=st.booleans(),
)
@settings(max_examples=40)
def test_values_state_and_gradients_are_those_of_the_reference(isa, taps, sizes, G, F, seed, begun):
    given_problem = problem(taps, sizes, G, F, seed)
    if not begun:
        del given_problem["state"]
    with using(isa):
        compare(given_problem, sizes)


@pytest.mark.parametrize("part", [0, 1])
def test_gradient_through_one_result_alone(part):
    given_problem, offsets = problem(4, [70, 0, 2, 1]), offsets_of([70, 0, 2, 1])
    got = outcome(lambda **inputs: (ours(offsets)(**inputs)[part],), given_problem, torch.float32)
    expected = outcome(lambda **inputs: (reference(offsets)(**inputs)[part],), given_problem, torch.float64)
    for one, other in zip(got, expected, strict=True):
        close(one, other, 1e-5)


@given(taps=st.sampled_from(TAPS), sizes=lengths(), F=st.sampled_from([3, 16, 32]), seed=st.integers(0, 999))
@settings(max_examples=30)
def test_where_the_numbers_lie_does_not_matter(taps, sizes, F, seed):
    given_problem = problem(taps, sizes, F=F, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    moved = {name: strided(value, generator) for name, value in given_problem.items()}
    results = []
    for inputs in (given_problem, moved):
        leaves = {name: value.requires_grad_() for name, value in inputs.items()}
        outputs = ours(offsets_of(sizes))(**leaves)
        results.append([*outputs, *gradients_of(list(outputs), list(leaves.values()))])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("taps", TAPS)
@given(sizes=lengths())
@settings(max_examples=10)
def test_packed_is_each_history_alone(taps, sizes):
    given_problem = problem(taps, sizes)
    y, after = ours(offsets_of(sizes))(**given_problem)
    x, state = given_problem.pop("x"), given_problem.pop("state")
    for user, (first, end) in enumerate(pairwise(offsets_of(sizes).tolist())):
        alone, rest = ours(offsets_of([end - first]))(x=x[first:end], state=state[user : user + 1], **given_problem)
        assert torch.equal(alone, y[first:end])
        assert torch.equal(rest, after[user : user + 1])


@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("cuts", [[1] * 70, [64, 6], [3, 0, 61, 6]])
def test_pieces_and_steps_with_the_state_carried_are_the_whole(taps, cuts):
    given_problem = problem(taps, [70])
    y, after = ours(offsets_of([70]))(**given_problem)
    x, state = given_problem.pop("x"), given_problem.pop("state")
    parts = []
    for first, end in pairwise(offsets_of(cuts).tolist()):
        part, state = ours(offsets_of([end - first]))(x=x[first:end], state=state, **given_problem)
        parts.append(part)
    assert torch.equal(torch.cat(parts), y)
    assert torch.equal(state, after)


@pytest.mark.parametrize("sizes", [[70, 0, 3, 129], [500]])
def test_threads_agree(sizes):
    given_problem = problem(4, sizes, G=3)
    results = []
    for threads in (1, 2, 5):
        with using(LOADED.isa, threads):
            results.append(outcome(ours(offsets_of(sizes)), given_problem, torch.float32))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            close(one, two, 1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["x", "weight", "bias", "state"])
def test_not_a_number_is_not_swallowed(isa, name):
    given_problem = problem(4, [70, 66], G=1, F=20)
    place = {"x": (69, 0, 3), "weight": (0, 3, 2), "bias": (0, 3), "state": (0, 1, 0, 3)}[name]
    given_problem[name][place] = torch.nan
    with using(isa):
        y, after = ours(offsets_of([70, 66]))(**given_problem)
    touched = y.isnan()
    assert touched.any()
    assert not touched[:, :, torch.arange(20) != 3].any()
    assert touched[69 if name == "x" else 0, 0, 3]
    assert not touched[70:].any() or name in ("weight", "bias")
    assert after.isfinite().all() == (name != "x")


@pytest.mark.parametrize("taps", TAPS)
def test_half_precision_is_computed_in_float32(taps):
    halves = {name: value.bfloat16() for name, value in problem(taps, [70, 3]).items()}
    expected = ours(offsets_of([70, 3]))(**{name: value.float() for name, value in halves.items()})
    for got, value in zip(ours(offsets_of([70, 3]))(**halves), expected, strict=True):
        assert got.dtype == torch.bfloat16
        assert torch.equal(got, value.bfloat16())


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_no_events_and_no_histories(sizes):
    given_problem = problem(3, sizes)
    y, after, dx, dweight, *_ = outcome(ours(offsets_of(sizes)), given_problem, torch.float32)
    assert y.shape == dx.shape == (0, 2, 5)
    assert torch.equal(after, given_problem["state"])
    assert not dweight.any()


def test_double_precision_and_five_taps_are_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(conv, "conv_silu_kernel", None)
    for given_problem in (problem(5, [7]), {name: value.double() for name, value in problem(3, [7]).items()}):
        for got, expected in zip(
            ours(offsets_of([7]))(**given_problem), reference(offsets_of([7]))(**given_problem), strict=True
        ):
            assert torch.equal(got, expected)
