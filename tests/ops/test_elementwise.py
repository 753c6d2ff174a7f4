"""What is left beside matrix products, against PyTorch in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import ISAS, LOADED, near, needs_kernels, outcome, using

from hydrarec.ops import dropout, dropout_add, elementwise, rms_norm, silu_mul

pytestmark = needs_kernels
shapes = st.tuples(st.sampled_from([0, 1, 2, 150]), st.one_of(st.integers(1, 40), st.sampled_from([64, 128])))


def rows(T, d, seed=0):
    return torch.randn(T, d, generator=torch.Generator().manual_seed(seed))


def compare(run, parts, problem):
    got, expected = outcome(run, problem, torch.float32), outcome(parts, problem, torch.float64)
    for place, (one, other) in enumerate(zip(got, expected, strict=True)):
        near(one, other, 1e-5 if place else 1e-6, 1 if place else 0)  # gradients are sums of terms near 1


@pytest.mark.parametrize("isa", ISAS)
@given(shape=shapes, threads=st.sampled_from([1, 2]))
@settings(max_examples=20)
def test_rms_norm(isa, shape, threads):
    problem = {"x": rows(*shape), "weight": rows(1, shape[1], 1)[0] + 2}
    with using(isa, threads):
        compare(
            lambda x, weight: (rms_norm(x, weight, 1e-3),),
            lambda x, weight: (x / (x.square().mean(1, keepdim=True) + 1e-3).sqrt() * weight,),
            problem,
        )


@pytest.mark.parametrize("isa", ISAS)
@given(shape=shapes, threads=st.sampled_from([1, 2]))
@settings(max_examples=20)
def test_silu_mul(isa, shape, threads):
    T, d = shape
    with using(isa, threads):
        compare(
            lambda gate_up: (silu_mul(gate_up),),
            lambda gate_up: (F.silu(gate_up[:, :d]) * gate_up[:, d:],),
            {"gate_up": rows(T, 2 * d) * 3},
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_scaled_and_its_gradient_has_the_same_mask(isa, p):
    x, base = rows(300, 37), rows(300, 37, 1)
    x.requires_grad_(), base.requires_grad_()
    with using(isa):
        out = dropout_add(base, x, p, True)
        dx, dbase = torch.autograd.grad(out.sum(), [x, base])
    kept = (out - base).detach() != 0
    assert abs(kept.double().mean() - (1 - p)) < 4 * (p * (1 - p) / kept.numel()) ** 0.5  # four standard deviations
    torch.testing.assert_close(out, base + x * kept / (1 - p))
    torch.testing.assert_close(dx, kept / (1 - p))
    assert torch.equal(dbase, torch.ones_like(base))
    assert len({tuple(row) for row in kept.tolist()}) > 250  # no pattern that rows share
    assert abs(kept.double().mean(0) - (1 - p)).max() < 6 * (p * (1 - p) / 300) ** 0.5


def test_dropout_follows_the_seed_and_not_the_threads_nor_the_instruction_set():
    masks = []
    for isa, threads in [*((isa, 1) for isa in ISAS), (LOADED.isa, 2)]:
        torch.manual_seed(5)
        with using(isa, threads):
            masks.append(dropout(torch.ones(200, 21), 0.3, True))
    assert all(torch.equal(masks[0], mask) for mask in masks)
    assert not torch.equal(masks[0], dropout(torch.ones(200, 21), 0.3, True))


def test_dropout_of_nothing_and_of_everything():
    x, base = rows(5, 7), rows(5, 7, 1)
    assert torch.equal(dropout_add(base, x, 0.5, False), base + x)
    assert torch.equal(dropout_add(base, x, 0.0, True), base + x)
    assert torch.equal(dropout_add(base, x, 1.0, True), base)


@pytest.mark.parametrize("lay", [lambda x: x.T.contiguous().T, lambda x: torch.cat([x, x], 1)[:, : x.shape[1]]])
def test_where_the_numbers_lie_does_not_matter(lay):
    x, weight = rows(9, 20), rows(1, 20)[0]
    assert torch.equal(rms_norm(lay(x), weight, 1e-5), rms_norm(x, weight, 1e-5))
    assert torch.equal(silu_mul(lay(x)), silu_mul(x))
    assert torch.equal(elementwise._dropout_add(lay(x), lay(x), 0.5, 3), elementwise._dropout_add(x, x, 0.5, 3))


@pytest.mark.parametrize("isa", ISAS)
def test_not_a_number_is_not_swallowed(isa):
    x = rows(4, 20)
    x[1, 18] = torch.nan
    with using(isa):
        for out in (rms_norm(x, torch.ones(20), 1e-5), silu_mul(x), dropout_add(x, x, 0.5, True)):
            assert out[1].isnan().any()
            assert out[[0, 2, 3]].isfinite().all()


def test_half_precision_is_computed_in_float32():
    x, weight = rows(4, 20).bfloat16(), rows(1, 20)[0].bfloat16()
    assert torch.equal(rms_norm(x, weight, 1e-5), rms_norm(x.float(), weight.float(), 1e-5))
    assert torch.equal(silu_mul(x), silu_mul(x.float()))
