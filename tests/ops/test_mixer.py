"""The mixer against the same composed of PyTorch's parts, in float64."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import ISAS, LOADED, gradients_of, lengths, near, needs_kernels, outcome, stretches, using
from support import close, offsets_of

from hydrarec.ops import causal_conv
from hydrarec.ops.mixer import mixer
from hydrarec.ops.reference import scan_reference

pytestmark = needs_kernels
SCALE = 0.7
RESULTS = ("u", "conv_final", "final")
BY_EVENT = ("xz", "conv_state", "state")  # the other inputs' gradients are sums over all events


def problem(sizes, G=2, c=6, E=10, N=3, K=4, seed=0):
    """Random float32 inputs of about the size that they have in a layer."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    T, U, width = sum(sizes), len(sizes), E + 2 * N
    return {
        "xz": normal(T, 2 * G * c),
        "in_proj": normal(G, c, E + width + 1) / c**0.5,
        "out_proj": normal(G, E, c) / E**0.5,
        "conv_weight": normal(G, width, K) / K**0.5,
        "conv_bias": normal(G, width) * 0.1,
        "skip": normal(G, E),
        "norm": normal(G, E) * 0.1 + 1,
        "A": -torch.exp(normal(G, 1)),
        "dt_bias": normal(G, 1) - 1,
        "conv_state": normal(U, K - 1, G, width),
        "state": normal(U, G, E, N),
    }


def kernel(sizes):
    def run(xz, conv_state=None, state=None, **weights):
        return mixer(xz, *weights.values(), offsets_of(sizes), conv_state, state, SCALE, True)[:3]

    return run


def composed(sizes):
    def run(xz, in_proj, out_proj, conv_weight, conv_bias, skip, norm, A, dt_bias, conv_state=None, state=None):
        (G, c, _), (_, width, _), E = in_proj.shape, conv_weight.shape, skip.shape[1]
        N, offsets = (width - E) // 2, offsets_of(sizes)
        x, z = F.silu(xz).unflatten(1, (2, G, c)).unbind(1)
        gate, joint, step = torch.einsum("tgc,gcn->tgn", x, in_proj).split([E, width, 1], dim=2)
        joint, conv_final = causal_conv(joint, conv_weight, conv_bias, offsets, conv_state)
        values, B, C = F.silu(joint).split([E, N, N], dim=2)
        start = xz.new_zeros(len(sizes), G, E, N) if state is None else state
        y, final = scan_reference(values, F.softplus(step + dt_bias), A, B, C, offsets, start)
        gated = (y + values * skip) * F.silu(gate)
        normed = gated / (gated.square().mean(2, keepdim=True) + 1e-5).sqrt() * norm
        u = torch.einsum("tge,gec->tgc", normed, out_proj) * (1 + z) * SCALE
        return u.flatten(1), conv_final, final

    return run


def compare(given_problem, sizes, forward=1e-6, backward=1e-5, expected=None):
    got = outcome(kernel(sizes), given_problem, torch.float32)
    expected = expected or outcome(composed(sizes), given_problem, torch.float64)
    for name, one, other in zip((*RESULTS, *given_problem), got, expected, strict=True):
        sums = 0 if name in (*RESULTS, *BY_EVENT) else sum(sizes) ** 0.5
        near(one, other, forward if name in RESULTS else backward, sums)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    ("G", "c", "E", "N", "K"),
    [(2, 8, 16, 16, 4), (1, 16, 32, 8, 3), (3, 7, 10, 3, 2), (2, 1, 5, 17, 1), (1, 34, 48, 33, 4)],
)
def test_values_and_gradients_are_those_of_the_parts(isa, G, c, E, N, K):
    sizes = [65, 0, 1, 2, 130]
    with using(isa):
        compare(problem(sizes, G, c, E, N, K), sizes)


shapes = st.tuples(
    st.integers(1, 3),
    st.integers(1, 20).map(lambda n: 2 * n),
    st.integers(1, 40),
    st.integers(1, 20),
    st.integers(1, 4),
).map(lambda n: dict(zip(("G", "c", "E", "N", "K"), n, strict=True)))


@pytest.mark.parametrize("isa", ISAS)
@given(sizes=lengths(), shape=shapes, seed=st.integers(0, 99), begun=st.booleans())
@settings(max_examples=25)
def test_any_shape_is_right(isa, sizes, shape, seed, begun):
    """Looser than above: where all channels are near 0, RMSNorm makes small errors of single precision large."""
    given_problem = problem(sizes, **shape, seed=seed)
    if not begun:
        del given_problem["conv_state"], given_problem["state"]
    with using(isa):
        compare(given_problem, sizes, 2e-5, 1e-3)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_gradient_through_one_result_alone(part):
    sizes = [70, 0, 2, 1]
    given_problem = problem(sizes)
    got = outcome(lambda **inputs: (kernel(sizes)(**inputs)[part],), given_problem, torch.float32)
    expected = outcome(lambda **inputs: (composed(sizes)(**inputs)[part],), given_problem, torch.float64)
    for one, other in zip(got, expected, strict=True):
        near(one, other, 2e-5, 1)


@pytest.mark.parametrize("isa", ISAS)
def test_decays_that_forget_everything(isa):
    sizes = [130, 5]
    given_problem = problem(sizes)
    given_problem["A"] = torch.full_like(given_problem["A"], -100.0)
    with using(isa):
        compare(given_problem, sizes)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", problem([1]))
def test_not_a_number_is_not_swallowed(isa, name):
    sizes = [70, 66]
    given_problem = problem(sizes)
    first = 66 if name == "xz" else 0
    given_problem[name][first] = torch.nan
    with using(isa):
        u, _, final = kernel(sizes)(**given_problem)
    assert u[first].isnan().any()
    if name in BY_EVENT:
        assert u[70:].isfinite().all()
        assert u[:first].isfinite().all()
        assert final[1].isfinite().all()


def test_where_the_numbers_lie_does_not_matter():
    sizes = [70, 3]
    given_problem = problem(sizes, c=16, E=32, N=16)
    twice = {name: torch.stack([v, torch.full_like(v, torch.nan)], -1)[..., 0] for name, v in given_problem.items()}
    wide = {**given_problem, "xz": torch.cat([given_problem["xz"], torch.full((73, 5), torch.nan)], 1)[:, :-5]}
    turned_round = {name: v.mT.contiguous().mT for name, v in given_problem.items()}
    results = []
    for inputs in (given_problem, twice, wide, turned_round):
        leaves = {name: value.detach().requires_grad_() for name, value in inputs.items()}
        outputs = kernel(sizes)(**leaves)
        results.append([*outputs, *gradients_of(list(outputs), list(leaves.values()))])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert torch.equal(one, two)


@given(sizes=lengths())
@settings(max_examples=8)
def test_packed_is_each_history_alone(sizes):
    given_problem = problem(sizes)
    u, _, final = kernel(sizes)(**given_problem)
    for user, (first, end) in enumerate(pairwise(offsets_of(sizes).tolist())):
        alone = {**given_problem, "xz": given_problem["xz"][first:end]}
        alone |= {name: given_problem[name][user : user + 1] for name in ("conv_state", "state")}
        u_alone, _, final_alone = kernel([end - first])(**alone)
        assert torch.equal(u_alone, u[first:end])
        assert torch.equal(final_alone, final[user : user + 1])


@pytest.mark.parametrize("cuts", [[1] * 70, [64, 6], [3, 0, 61, 6]])
def test_pieces_and_steps_with_the_state_carried_are_the_whole(cuts):
    given_problem = problem([70])
    whole = kernel([70])(**given_problem)
    xz, states, parts = given_problem["xz"], (given_problem["conv_state"], given_problem["state"]), []
    for first, end in pairwise(offsets_of(cuts).tolist()):
        piece = {**given_problem, "xz": xz[first:end], "conv_state": states[0], "state": states[1]}
        part, *states = kernel([end - first])(**piece)
        parts.append(part)
    for one, other in zip((torch.cat(parts), *states), whole, strict=True):
        close(one, other, 2e-6)


@pytest.mark.parametrize("sizes", [[70, 0, 3, 129], [500]])
def test_threads_agree(sizes):
    given_problem = problem(sizes, G=3)
    results = []
    for threads in (1, 2, 5):
        with using(LOADED.isa, threads):
            results.append(outcome(kernel(sizes), given_problem, torch.float32))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            close(one, two, 2e-6)


@pytest.mark.parametrize(
    ("K", "sizes", "cut", "begun"),
    [
        (1, [1000], [5], True),
        (2, [1025], [5], True),
        (3, [30, 1000], [1, 4], True),
        (4, [1000], [5], False),
        (4, [1025], [5], True),
    ],
)
def test_few_long_histories_in_stretches(K, sizes, cut, begun):
    """A history of 1,025: its last event is a stretch of the backward, and less than the convolution's final state."""
    assert stretches(sizes, 1, 4) == [cut]
    given_problem = problem(sizes, 1, 6, 20, 5, K)
    given_problem["A"] *= 1e-2  # what enters a stretch is still there when it leaves
    if not begun:
        del given_problem["conv_state"], given_problem["state"]
    with using(LOADED.isa):  # many small steps: on one thread
        expected = outcome(composed(sizes), given_problem, torch.float64)
    for isa in ISAS:
        with using(isa, 4):
            compare(given_problem, sizes, 3e-6, 2e-5, expected)


def test_stretches_of_several_heads():
    sizes = [900]
    assert stretches(sizes, 2, 4) == [[3], [3]]
    with using(LOADED.isa, 4):
        compare(problem(sizes, G=2), sizes, 3e-6, 2e-5)


@pytest.mark.parametrize("sizes", [[], [0], [0, 0]])
def test_no_events_and_no_histories(sizes):
    given_problem = problem(sizes)
    u, conv_final, final, *gradients = outcome(kernel(sizes), given_problem, torch.float32)
    assert u.shape == (0, 12)
    assert torch.equal(conv_final, given_problem["conv_state"])
    assert torch.equal(final, given_problem["state"])
    assert not any(gradient.any() for gradient in gradients[1:9])


def test_what_the_backward_needs_must_have_been_kept():
    given_problem = problem([3])
    xz, *weights = (given_problem[name].requires_grad_() for name in list(given_problem)[:9])
    u, *_ = mixer(xz, *weights, offsets_of([3]), None, None, 1.0, False)
    with pytest.raises(RuntimeError, match="keep=True"):
        u.sum().backward()
