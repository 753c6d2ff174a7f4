from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, offsets_of, ragged

from hydrarec.ops import backends, chunked, selective_scan

NAMES = ("x", "dt", "A", "B", "C", "state")
FAST = [name for name in backends if name != "reference"]
# The kernel computes in float32 alone; test_kernel_scan.py has more of it.
DTYPES = {name: (torch.float32,) if name == "kernel" else (torch.float32, torch.float64) for name in backends}
TIGHT = {torch.float32: 1e-6, torch.float64: 1e-11}
kinds = st.tuples(st.sampled_from([1, 2]), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 4))


def problem(mamba, G, m, P, N, lengths, seed=0, dtype=torch.float64, step=1.0):
    """Random inputs of a scan with E = m * P channels."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    T, E = sum(lengths), m * P
    return {
        "x": normal(T, G, E),
        "dt": torch.nn.functional.softplus(normal(T, G, E if mamba == 1 else m) * 2 - 2) * step,
        "A": -torch.exp(normal(G, E, N) if mamba == 1 else normal(G, m)),
        "B": normal(T, G, N),
        "C": normal(T, G, N),
        "state": normal(len(lengths), G, E, N),
    }


def run(given, lengths, backend):
    return selective_scan(offsets=offsets_of(lengths), backend=backend, **given)


@pytest.mark.parametrize("mamba", [1, 2])
def test_reference_is_the_formula(mamba):
    """Against loops over single numbers, in numpy."""
    lengths = [3, 0, 5, 1]
    given = problem(mamba, 2, 2, 2, 3, lengths)
    x, dt, A, B, C, state = (given[name].numpy() for name in NAMES)
    y, final = np.zeros_like(x), state.copy()
    for u, (first, end) in enumerate(pairwise(offsets_of(lengths).tolist())):
        for g in range(2):
            for e in range(4):
                step = dt[:, g, e if mamba == 1 else e // 2]
                for n in range(3):
                    rate = A[g, e, n] if mamba == 1 else A[g, e // 2]
                    h = state[u, g, e, n]
                    for t in range(first, end):
                        h = np.exp(step[t] * rate) * h + step[t] * x[t, g, e] * B[t, g, n]
                        y[t, g, e] += h * C[t, g, n]
                    final[u, g, e, n] = h
    for got, expected in zip(run(given, lengths, "reference"), (y, final), strict=True):
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", backends)
@pytest.mark.parametrize("mamba", [1, 2])
def test_constant_inputs_give_a_geometric_sum(backend, mamba):
    T, dt, rate, dtype = 75, 0.1, -0.7, DTYPES[backend][-1]
    one = torch.ones(T, 1, 1, dtype=dtype)
    A = torch.full((1, 1, 1) if mamba == 1 else (1, 1), rate, dtype=dtype)
    y, final = selective_scan(one, dt * one, A, one, one, offsets_of([T]), backend=backend)
    decay = np.exp(dt * rate)
    expected = dt * (1 - decay ** np.arange(1, T + 1)) / (1 - decay)
    np.testing.assert_allclose(y.flatten().numpy(), expected, rtol=TIGHT[dtype])
    np.testing.assert_allclose(final.item(), expected[-1], rtol=TIGHT[dtype])


@pytest.mark.parametrize("backend", FAST)
@given(kind=kinds, lengths=ragged(110), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_back_ends_agree(backend, kind, lengths, seed):
    for dtype in DTYPES[backend]:
        relative = 1e-5 if dtype == torch.float32 else 1e-12
        given_problem = problem(*kind, lengths, seed, dtype)
        expected = run({name: value.double() for name, value in given_problem.items()}, lengths, "reference")
        for got, value in zip(run(given_problem, lengths, backend), expected, strict=True):
            assert got.dtype == dtype
            close(got, value, relative)


@pytest.mark.parametrize("backend", [name for name in FAST if name != "kernel"])
@given(kind=kinds, lengths=ragged(70, users=3), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_gradients_of_every_input(backend, kind, lengths, seed):
    """Through the outputs and through the final state, in float64."""
    given_problem = problem(*kind, lengths, seed)
    weights = [torch.randn_like(v) for v in run(given_problem, lengths, "reference")]

    def gradients(backend):
        leaves = {name: value.clone().requires_grad_() for name, value in given_problem.items()}
        y, final = run(leaves, lengths, backend)
        loss = (y * weights[0]).sum() + (final * weights[1]).sum()
        return torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)

    for name, got, expected in zip(NAMES, gradients(backend), gradients("reference"), strict=True):
        assert got.shape == given_problem[name].shape
        close(got, expected, 1e-6)


@pytest.mark.parametrize("part", ["outputs", "final"])
@pytest.mark.parametrize("mamba", [1, 2])
def test_gradient_through_one_result_alone(mamba, part):
    lengths = [40, 0, 3]
    given_problem = problem(mamba, 2, 2, 1, 2, lengths)

    def gradients(backend):
        leaves = {name: value.clone().requires_grad_() for name, value in given_problem.items()}
        loss = run(leaves, lengths, backend)[part == "final"].sin().sum()
        return torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)

    for got, expected in zip(gradients("chunked"), gradients("reference"), strict=True):
        close(got, expected, 1e-6)


@pytest.mark.parametrize("mamba", [1, 2])
def test_gradcheck(mamba):
    lengths = [2, 0, 5]
    given_problem = {name: v.requires_grad_() for name, v in problem(mamba, 1, 2, 1, 2, lengths).items()}
    assert torch.autograd.gradcheck(
        lambda *values: run(dict(zip(NAMES, values, strict=True)), lengths, "chunked"), tuple(given_problem.values())
    )


@pytest.mark.parametrize("backend", backends)
@given(kind=kinds, lengths=ragged(60))
@settings(max_examples=10)
def test_packed_is_each_history_alone(backend, kind, lengths):
    dtype = DTYPES[backend][-1]
    given_problem = problem(*kind, lengths, dtype=dtype)
    y, final = run(given_problem, lengths, backend)
    for user, (first, end) in enumerate(pairwise(offsets_of(lengths).tolist())):
        alone = {name: v if name == "A" else v[first:end] for name, v in given_problem.items() if name != "state"}
        y_alone, final_alone = run({**alone, "state": given_problem["state"][user : user + 1]}, [end - first], backend)
        close(y_alone, y[first:end], TIGHT[dtype])
        close(final_alone, final[user : user + 1], TIGHT[dtype])


@pytest.mark.parametrize("backend", backends)
@given(kind=kinds, length=st.integers(0, 80), cuts=st.lists(st.integers(0, 80), max_size=4))
@settings(max_examples=10)
def test_chunks_with_the_state_carried_are_the_whole(backend, kind, length, cuts):
    dtype = DTYPES[backend][-1]
    given_problem = problem(*kind, [length], dtype=dtype)
    y, final = run(given_problem, [length], backend)
    state, parts = given_problem["state"], []
    for first, end in pairwise(sorted({0, length, *(min(cut, length) for cut in cuts)})):
        piece = {name: v if name == "A" else v[first:end] for name, v in given_problem.items()}
        part, state = run({**piece, "state": state}, [end - first], backend)
        parts.append(part)
    close(torch.cat([y[:0], *parts]), y, TIGHT[dtype])
    close(state, final, TIGHT[dtype])


@pytest.mark.parametrize("mamba", [1, 2])
def test_no_state_is_a_state_of_zeros(mamba):
    given_problem = problem(mamba, 2, 2, 2, 3, [4, 7])
    zeros = {**given_problem, "state": torch.zeros_like(given_problem["state"])}
    for got, expected in zip(
        run({**given_problem, "state": None}, [4, 7], None), run(zeros, [4, 7], None), strict=True
    ):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("mamba", [1, 2])
def test_a_step_of_zero_keeps_the_state_and_a_huge_one_forgets_it(mamba):
    given_problem = problem(mamba, 1, 2, 2, 3, [50], dtype=torch.float32)
    still = {**given_problem, "dt": torch.zeros_like(given_problem["dt"])}
    close(run(still, [50], "chunked")[1], given_problem["state"], 1e-6)
    huge = {**given_problem, "dt": torch.full_like(given_problem["dt"], 1e4)}
    y, final = run(huge, [50], "chunked")
    assert y.isfinite().all()
    last = 1e4 * given_problem["x"][-1].unsqueeze(-1) * given_problem["B"][-1].unsqueeze(1)
    close(final[0], last, 1e-5)


@pytest.mark.parametrize("mamba", [1, 2])
@pytest.mark.parametrize("name", ["dt", "A", "B", "C", "state"])
def test_wrong_shapes_are_named(mamba, name):
    given_problem = problem(mamba, 2, 2, 2, 3, [4, 7])
    wrong = {**given_problem, name: given_problem[name][:, :1]}
    with pytest.raises(ValueError, match="expected"):
        run(wrong, [4, 7], None)


def test_decays_must_divide_channels_and_offsets_must_be_whole_numbers():
    given_problem = problem(2, 2, 2, 2, 3, [4])
    thirds = {"A": given_problem["A"][:, :1].repeat(1, 3), "dt": given_problem["dt"][..., :1].repeat(1, 1, 3)}
    with pytest.raises(ValueError, match="divide"):
        run({**given_problem, **thirds}, [4], None)
    with pytest.raises(ValueError, match="int64"):
        selective_scan(**given_problem, offsets=torch.tensor([0.0, 4.0]))


@pytest.mark.parametrize("size", [1, 2, 8, 16, 32, 64])
def test_any_chunk_size_gives_the_same(size, monkeypatch):
    lengths = [70, 0, 1, 16, 33]
    given = problem(2, 2, 2, 2, 3, lengths)
    monkeypatch.setattr(chunked, "chunk_size", lambda lengths: size)
    for got, expected in zip(run(given, lengths, "chunked"), run(given, lengths, "reference"), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-10, atol=1e-12)


def test_chunk_size_follows_the_lengths():
    assert chunked.chunk_size(torch.full((1000,), 5)) == 8  # little padding
    assert chunked.chunk_size(torch.tensor([50_000])) >= 32  # few steps between chunks
    assert chunked.chunk_size(torch.tensor([], dtype=torch.int64)) in (8, 16, 32, 64)


@pytest.mark.parametrize("mamba", [1, 2])
def test_half_precision_is_computed_in_float32(mamba):
    lengths = [40, 3]
    halves = {name: value.bfloat16() for name, value in problem(mamba, 2, 2, 2, 3, lengths).items()}
    expected = run({name: value.float() for name, value in halves.items()}, lengths, "chunked")
    with torch.autocast("cpu", torch.bfloat16):
        got = run(halves, lengths, "chunked")
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
