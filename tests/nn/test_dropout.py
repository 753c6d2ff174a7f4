import pytest
import torch
from torch import nn

from hydrarec.nn.dropout import QuickDropout, quick_dropout
from hydrarec.nn.ligr import LiGR
from hydrarec.nn.rival import RivalConfig


@pytest.mark.parametrize("shape", [(40, 50, 16), (2000, 16), (4, 5, 100, 16)])
def test_it_drops_that_share_and_scales_the_rest(shape):
    torch.manual_seed(1)
    x = torch.ones(shape, requires_grad=True)
    out = QuickDropout(0.3)(x)
    assert out.shape == x.shape
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(out[out != 0].detach(), torch.full_like(out[out != 0], 1 / 0.7).detach())
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())


def test_without_training_it_is_nothing():
    x = torch.randn(3, 4, 5)
    assert torch.equal(QuickDropout(0.9).eval()(x), x)


def test_every_dropout_is_replaced_and_nothing_else():
    encoder = LiGR(RivalConfig(d_model=8, dropout=0.4))
    before = {name: type(module) for name, module in encoder.named_modules()}
    parameters = list(encoder.parameters())
    assert quick_dropout(encoder) is encoder
    after = {name: type(module) for name, module in encoder.named_modules()}
    assert after == {name: QuickDropout if kind is nn.Dropout else kind for name, kind in before.items()}
    assert list(after.values()).count(QuickDropout) == 7
    assert all(module.p == 0.4 for module in encoder.modules() if isinstance(module, QuickDropout))
    assert all(one is other for one, other in zip(parameters, encoder.parameters(), strict=True))
