"""The projections' kernels against the same composed of PyTorch's parts, in float64."""

import pytest
import torch
import torch.nn.functional as F
from kernel_cases import needs_kernels
from support import close

from hydrarec.ops.projection import (
    linear_residual,
    linear_residual_backward,
    norm_linear,
    norm_linear_backward,
)

pytestmark = needs_kernels
EPS = 1e-6
SIZES = [(1, 2, 1), (5, 3, 2), (97, 16, 33), (200, 64, 128), (96, 50, 7), (193, 130, 40)]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask_of(T, d, p, seed):
    return torch.ops.hydrarec.dropout_add(None, torch.ones(T, d), p, seed)


def agree(run, exact, given, output):
    """Values and all gradients of ``run`` on float32 are those of ``exact`` on float64."""
    mine, theirs = [t.clone().requires_grad_() for t in given], [t.double().requires_grad_() for t in given]
    y, expected = run(*mine), exact(*theirs)
    close(y, expected, 1e-6)
    dy = normal(*output, seed=9)
    gradients = torch.autograd.grad(y, mine, dy), torch.autograd.grad(expected, theirs, dy.double())
    for one, other in zip(*gradients, strict=True):
        close(one, other, 1e-5)


@pytest.mark.parametrize(("T", "d", "n"), SIZES)
def test_norm_linear(T, d, n):
    given = [normal(T, d), normal(d, seed=1), normal(n, d, seed=2) / d**0.5]
    agree(
        lambda h, g, w: norm_linear(h, g, w, EPS),
        lambda h, g, w: F.rms_norm(h, g.shape, g, EPS) @ w.T,
        given,
        (T, n),
    )


@pytest.mark.parametrize(("T", "n", "d"), SIZES)
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_linear_residual(T, n, d, p):
    given = [normal(T, d), normal(T, n, seed=1), normal(d, n, seed=2) / n**0.5]
    mask = mask_of(T, d, p, 5).double()
    agree(
        lambda h, u, w: linear_residual(h, u, w, p, 5),
        lambda h, u, w: h + u @ w.T * mask,
        given,
        (T, d),
    )


def test_no_rows():
    assert norm_linear(torch.empty(0, 8), torch.ones(8), torch.ones(4, 8), EPS).shape == (0, 4)
    assert linear_residual(torch.empty(0, 8), torch.empty(0, 4), torch.ones(8, 4), 0.1, 1).shape == (0, 8)
    dh, dnorm, dweight = norm_linear_backward(
        torch.empty(0, 4), torch.empty(0, 8), torch.ones(8), torch.ones(4, 8), EPS
    )
    assert dh.shape == (0, 8)
    assert not dnorm.any()
    assert not dweight.any()


def test_rows_may_be_strided():
    h, g, w = normal(40, 16), normal(16, seed=1), normal(8, 16, seed=2)
    wide = torch.cat([h, h], dim=1)[:, :16]
    dy = torch.cat([normal(40, 8), normal(40, 8)], dim=1)[:, 8:]
    assert torch.equal(norm_linear(wide, g, w, EPS), norm_linear(h, g, w, EPS))
    for one, other in zip(
        norm_linear_backward(dy, wide, g, w, EPS), norm_linear_backward(dy.contiguous(), h, g, w, EPS), strict=True
    ):
        assert torch.equal(one, other)
    u, back = normal(40, 8), normal(16, 8, seed=3)
    turned = u.T.contiguous().T
    assert torch.equal(linear_residual(wide, turned, back, 0.2, 3), linear_residual(h, u, back, 0.2, 3))


def test_threads_agree():
    h, g, w = normal(700, 32), normal(32, seed=1), normal(48, 32, seed=2)
    u, back, results = normal(700, 48, seed=3), normal(32, 48, seed=4), []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            leaves = [t.clone().requires_grad_() for t in (h, g, w, u, back)]
            y = norm_linear(*leaves[:3], EPS).sum() + linear_residual(leaves[0], *leaves[3:], 0.3, 2).square().sum()
            results.append(torch.autograd.grad(y, leaves))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            close(a, b, 1e-5)


def test_operators():
    h, g, w = normal(20, 8), normal(8, seed=1), normal(6, 8, seed=2)
    torch.library.opcheck(norm_linear, (*(t.clone().requires_grad_() for t in (h, g, w)), EPS))
    torch.library.opcheck(norm_linear_backward, (normal(20, 6), h, g, w, EPS))
    u, back = normal(20, 6, seed=3), normal(8, 6, seed=4)
    torch.library.opcheck(linear_residual, (*(t.clone().requires_grad_() for t in (h, u, back)), 0.2, 1))
    torch.library.opcheck(linear_residual_backward, (h, u, back, 0.2, 1))


def test_wrong_arguments_raise():
    h, g, w, u = normal(20, 8), normal(8), normal(6, 8), normal(20, 6)
    for wrong in ((h[:, :7], g, w), (h, g[:7], w), (h, g, w[:, :7]), (h.double(), g, w), (h[:, :0], g[:0], w[:, :0])):
        with pytest.raises(ValueError, match="expected"):
            norm_linear(*wrong, EPS)
    for wrong in ((h[:-1], u, w.T), (h, u[:, :5], w.T), (h, u, w), (h, u.double(), w.T)):
        with pytest.raises(ValueError, match="expected"):
            linear_residual(*wrong, 0.1, 1)
