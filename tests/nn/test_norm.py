"""Vectors of length 1 against torch's own."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from hydrarec.nn.norm import unit


@given(rows=st.integers(0, 20), width=st.integers(1, 30), exponent=st.integers(-8, 8), seed=st.integers(0, 99))
def test_value_and_gradient(rows, width, exponent, seed):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(rows, width, generator=generator, dtype=torch.float64) * 10.0**exponent).requires_grad_()
    weights = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    results = []
    for f in (unit, lambda x: F.normalize(x, dim=-1)):
        y = f(x)
        results.append((y.detach(), *torch.autograd.grad((y * weights).sum(), x)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * 10.0 ** max(0, -exponent))


def test_nothing_stays_nothing_with_a_finite_gradient():
    x = torch.zeros(3, 4, requires_grad=True)
    y = unit(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad.isfinite().all()


def test_gradcheck():
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit, x)
