"""RMSNorm, SwiGLU's elementwise part and dropout in plain PyTorch, against their formulas."""

import pytest
import torch
import torch.nn.functional as F
from support import close

from hydrarec.ops.plain import elementwise
from hydrarec.ops.plain.elementwise import plain_dropout_add, plain_fits, plain_rms_norm, plain_silu_mul


def matrix(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def agree(got, expected, leaves):
    close(got, expected, 1e-12)
    weight = matrix(*got.shape, seed=9).detach()
    gradients = (torch.autograd.grad((value * weight).sum(), leaves) for value in (got, expected))
    for one, other in zip(*gradients, strict=True):
        close(one, other, 1e-12)


@pytest.mark.parametrize("T", [0, 1, 7, 50])
def test_formulas_across_blocks(T, monkeypatch):
    monkeypatch.setattr(elementwise, "_BLOCK", 40)
    x, weight = matrix(T, 6), matrix(6, seed=1)
    agree(plain_rms_norm(x, weight, 1e-3), F.rms_norm(x, (6,), weight, 1e-3), [x, weight])
    agree(plain_silu_mul(x), F.silu(x[:, :3]) * x[:, 3:], [x])


def test_gradients_that_are_views():
    x, weight = matrix(5, 6), matrix(6, seed=1)
    for run in (lambda: plain_rms_norm(x, weight, 1e-3), lambda: plain_silu_mul(x)):
        one, other = torch.autograd.grad(run().sum(), x)[0], torch.autograd.grad((run() * 1.0).sum(), x)[0]
        assert torch.equal(one, other)


@pytest.mark.parametrize("p", [0.2, 0.75])
def test_dropout_keeps_its_share_and_the_mean(p):
    torch.manual_seed(0)
    x, base = torch.ones(801, 501, requires_grad=True), torch.full((801, 501), 2.0, requires_grad=True)
    y = plain_dropout_add(base, x, p) - 2
    scale = 1 / (1 - p)
    assert ((y == 0) | ((y - scale).abs() < 1e-4)).all()
    assert abs((y == 0).float().mean() - p) < 4e-3
    for dim in (0, 1):  # no row or column stands out
        assert abs(y.mean(dim) - 1).max() < 6 * (p / (1 - p) / 501) ** 0.5
    dx, dbase = torch.autograd.grad(y.sum(), [x, base])
    close(dx, y.detach(), 1e-4)
    assert (dbase == 1).all()


def test_dropout_follows_torch_s_generator():
    x = torch.ones(9, 7)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(plain_dropout_add(None, x, 0.5))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_what_fits():
    x = torch.zeros(2, 3)
    assert plain_fits(x, x[0])
    assert not plain_fits(x, x.double())
    assert not plain_fits(x.bfloat16())
    assert not plain_fits(x.unsqueeze(0))
    assert not plain_fits(x.to("meta"))
