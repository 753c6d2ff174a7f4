"""The compiled scans against the reference in float64."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import ISAS, LOADED, gradients_of, lengths, near, needs_kernels, outcome, stretches, strided, using
from support import close, offsets_of

from hydrarec.ops import selective_scan

pytestmark = needs_kernels
NAMES = ("x", "dt", "A", "B", "C", "state")
# Kind, heads, decays of a head, channels of a decay, states.
kinds = st.tuples(st.sampled_from([1, 2]), st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 35))


def problem(mamba, G, m, P, N, lengths, seed=0, strength=0.0):
    """Random float32 inputs of a scan with E = m * P channels; ``strength`` moves log -A."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    T, E = sum(lengths), m * P
    return {
        "x": normal(T, G, E),
        "dt": torch.nn.functional.softplus(normal(T, G, E if mamba == 1 else m) * 2 - 2),
        "A": -torch.exp(normal(G, E, N) + strength if mamba == 1 else normal(G, m) + strength),
        "B": normal(T, G, N),
        "C": normal(T, G, N),
        "state": normal(len(lengths), G, E, N),
    }


def scan(backend, offsets):
    return lambda **inputs: selective_scan(offsets=offsets, backend=backend, **inputs)


def reference(given_problem, sizes):
    return outcome(scan("reference", offsets_of(sizes)), given_problem, torch.float64)


def compare(given_problem, sizes, forward=1e-6, backward=1e-5, expected=None):
    """Relative to the largest value of each result.

    The gradient of Mamba-2's A is one number a decay, a sum over all events whose terms cancel, and which vanishes with
    the decay: it is held to the size of its terms, which are those of the gradient of dt.
    """
    got = outcome(scan("kernel", offsets_of(sizes)), given_problem, torch.float32)
    expected = expected or reference(given_problem, sizes)
    for name, one, other in zip(("y", "final", *given_problem), got, expected, strict=True):
        assert one.dtype == torch.float32
        terms = (expected[3].abs() * given_problem["dt"]).sum((0, 1)).max() if name == "A" and other.dim() == 2 else 0
        near(one, other, forward if name in ("y", "final") else backward, terms)


@pytest.mark.parametrize("isa", ISAS)
@given(kind=kinds, sizes=lengths(), seed=st.integers(0, 99), strength=st.sampled_from([-3.0, 0.0, 3.0]))
@settings(max_examples=25)
def test_values_and_gradients_are_the_references(isa, kind, sizes, seed, strength):
    with using(isa):
        compare(problem(*kind, sizes, seed, strength), sizes)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mamba", [1, 2])
@pytest.mark.parametrize(("m", "P", "N"), [(1, 1, 1), (1, 16, 16), (2, 16, 8), (3, 5, 17), (1, 64, 16), (4, 8, 33)])
def test_shapes_around_the_width_of_vectors(isa, mamba, m, P, N):
    sizes = [65, 0, 1, 64, 3]
    with using(isa):
        compare(problem(mamba, 2, m, P, N, sizes), sizes)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mamba", [1, 2])
def test_without_a_state_and_without_its_gradient(isa, mamba):
    sizes = [70, 2]
    given_problem = problem(mamba, 2, 1, 6, 5, sizes)
    del given_problem["state"]
    with using(isa):
        compare(given_problem, sizes)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("mamba", [1, 2])
def test_gradient_through_one_result_alone(mamba, part):
    sizes = [70, 0, 3]
    given_problem = problem(mamba, 2, 2, 3, 4, sizes)

    def one(backend):
        run = scan(backend, offsets_of(sizes))
        return lambda **inputs: (run(**inputs)[part],)

    got = outcome(one("kernel"), given_problem, torch.float32)
    expected = outcome(one("reference"), given_problem, torch.float64)
    for value, other in zip(got, expected, strict=True):
        close(value, other, 1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mamba", [1, 2])
@pytest.mark.parametrize(("rate", "backward"), [(-100.0, 1e-5), (-1e-6, 1e-5), (-1e4, 1e-4)])
def test_decays_that_forget_all_or_nothing(isa, mamba, rate, backward):
    sizes = [130, 5]
    given_problem = problem(mamba, 2, 2, 4, 3, sizes)
    given_problem["A"] = torch.full_like(given_problem["A"], rate)
    given_problem["dt"] = torch.ones_like(given_problem["dt"])
    given_problem["dt"][::3] = 1e-3  # and events that keep everything in between
    with using(isa):
        compare(given_problem, sizes, backward=backward)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("mamba", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_not_a_number_is_not_swallowed(isa, mamba, name):
    sizes = [70, 66]
    given_problem = problem(mamba, 1, 1, 20, 6, sizes)
    place = {"state": (0, 0, 3, 2), "A": (0,) * (given_problem["A"].dim())}.get(name, (66, 0, 0))
    given_problem[name][place] = torch.nan
    with using(isa):
        y, final = scan("kernel", offsets_of(sizes))(**given_problem)
    assert y[66:70].isnan().any()
    assert final[0].isnan().any() == (name != "C")
    if name != "A":
        assert not y[:66].isnan().any() or name == "state"
        assert y[70:].isfinite().all()  # the other history
        assert final[1].isfinite().all()


@pytest.mark.parametrize("mamba", [1, 2])
@given(sizes=lengths(), seed=st.integers(0, 999))
@settings(max_examples=20)
def test_where_the_numbers_lie_does_not_matter(mamba, sizes, seed):
    given_problem = problem(mamba, 2, 2, 16, 16, sizes, seed)
    generator = torch.Generator().manual_seed(seed)
    moved = {name: strided(value, generator) for name, value in given_problem.items()}
    run = scan("kernel", offsets_of(sizes))
    results = []
    for inputs in (given_problem, moved):
        leaves = {name: value.requires_grad_() for name, value in inputs.items()}
        outputs = run(**leaves)
        results.append([*outputs, *gradients_of(list(outputs), list(leaves.values()))])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("mamba", [1, 2])
@given(sizes=lengths())
@settings(max_examples=8)
def test_packed_is_each_history_alone(mamba, sizes):
    given_problem = problem(mamba, 2, 2, 5, 6, sizes)
    y, final = scan("kernel", offsets_of(sizes))(**given_problem)
    for user, (first, end) in enumerate(pairwise(offsets_of(sizes).tolist())):
        alone = {name: v if name == "A" else v[first:end] for name, v in given_problem.items() if name != "state"}
        alone["state"] = given_problem["state"][user : user + 1]
        y_alone, final_alone = scan("kernel", offsets_of([end - first]))(**alone)
        assert torch.equal(y_alone, y[first:end])
        assert torch.equal(final_alone, final[user : user + 1])


@pytest.mark.parametrize("mamba", [1, 2])
@pytest.mark.parametrize("cuts", [[1] * 70, [64, 6], [3, 0, 61, 6]])
def test_pieces_and_steps_with_the_state_carried_are_the_whole(mamba, cuts):
    given_problem = problem(mamba, 2, 2, 5, 6, [70])
    y, final = scan("kernel", offsets_of([70]))(**given_problem)
    state, parts = given_problem.pop("state"), []
    for first, end in pairwise(offsets_of(cuts).tolist()):
        piece = {name: v if name == "A" else v[first:end] for name, v in given_problem.items()}
        part, state = scan("kernel", offsets_of([end - first]))(**piece, state=state)
        parts.append(part)
    close(torch.cat(parts), y, 1e-6)
    close(state, final, 1e-6)


@pytest.mark.parametrize("mamba", [1, 2])
@pytest.mark.parametrize("sizes", [[70, 0, 3, 129], [500]])
def test_threads_agree(mamba, sizes):
    given_problem = problem(mamba, 3, 2, 5, 6, sizes)
    results = []
    for threads in (1, 2, 5):
        with using(LOADED.isa, threads):
            results.append(outcome(scan("kernel", offsets_of(sizes)), given_problem, torch.float32))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            close(one, two, 2e-6)


@pytest.mark.parametrize("mamba", [1, 2])
@pytest.mark.parametrize(
    ("sizes", "cut", "strength", "forward"),
    [([1000], [5], 0.0, 1e-6), ([30, 1025], [1, 4], -6.0, 3e-6), ([700, 0, 0], [3, 1, 1], -6.0, 3e-6)],
)
def test_few_long_histories_in_stretches(mamba, sizes, cut, strength, forward):
    """Also with decays so slow that what enters a stretch is still there when it leaves: many roundings add up."""
    assert stretches(sizes, 1, 4) == [cut]
    given_problem = problem(mamba, 1, 2, 20, 17, sizes, strength=strength)
    with using(LOADED.isa):  # many small steps: on one thread
        expected = reference(given_problem, sizes)
    for isa in ISAS:
        with using(isa, 4):
            compare(given_problem, sizes, forward, expected=expected)


@pytest.mark.parametrize("mamba", [1, 2])
def test_not_a_number_is_not_swallowed_between_stretches(mamba):
    given_problem = problem(mamba, 1, 1, 20, 6, [1000])
    given_problem["x"][100] = torch.nan
    with using(LOADED.isa, 4):
        y, final = scan("kernel", offsets_of([1000]))(**given_problem)
    assert y[:100].isfinite().all()
    assert y[100:].isnan().all()
    assert final.isnan().all()


@pytest.mark.parametrize("mamba", [1, 2])
def test_half_precision_is_computed_in_float32(mamba):
    sizes = [70, 3]
    halves = {name: value.bfloat16() for name, value in problem(mamba, 2, 2, 5, 6, sizes).items()}
    expected = scan("kernel", offsets_of(sizes))(**{name: value.float() for name, value in halves.items()})
    with torch.autocast("cpu", torch.bfloat16):
        got = scan(None, offsets_of(sizes))(**halves)
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("mamba", [1, 2])
@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_no_events_and_no_histories(mamba, sizes):
    given_problem = problem(mamba, 2, 2, 5, 6, sizes)
    y, final, *gradients = outcome(scan("kernel", offsets_of(sizes)), given_problem, torch.float32)
    assert y.shape == (0, 2, 10)
    assert torch.equal(final, given_problem["state"])
    assert not gradients[2].any()
