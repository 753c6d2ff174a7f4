"""LRURec's encoder against the recurrence of its paper, event by event in complex128."""

import math

import pytest
import torch
import torch.nn.functional as F
from support import close, offsets_of

from hydrarec.errors import InputError
from hydrarec.nn.lrurec import LRU, R_MAX, R_MIN, LRURecEncoder
from hydrarec.nn.post_norm import PostNormConfig

D, LENGTHS = 6, [5, 1, 0, 8]


def shaken(model):
    """Every parameter moved: nothing is hidden by what starts at zero or one."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def norm(module, x):
    return F.layer_norm(x, x.shape[-1:], module.weight.double(), module.bias.double(), 1e-5)


def affine(linear, x):
    return x @ linear.weight.double().T + linear.bias.double()


def complex_rows(real):
    """Rows real, imaginary, real, ... -> complex rows."""
    return torch.complex(real[0::2].double(), real[1::2].double())


def lru_by_event(lru, x):
    """h_t = exp(-exp(nu) + i exp(theta)) h_{t-1} + exp(gamma) (B x_t + b); y_t = Re(C h_t) + c, for one history."""
    decay = torch.exp(torch.complex(-lru.nu_log.double().exp(), lru.theta_log.double().exp()))
    B, b = complex_rows(lru.in_proj.weight), complex_rows(lru.in_proj.bias)
    C = torch.complex(lru.out_proj.weight[:, 0::2].double(), -lru.out_proj.weight[:, 1::2].double())
    h, rows = torch.zeros_like(decay), []
    for event in x:
        h = decay * h + lru.gamma_log.double().exp() * (B @ event.to(B.dtype) + b)
        rows.append((C @ h).real + lru.out_proj.bias.double())
    return torch.stack(rows) if rows else x


def encoder_by_event(encoder, x):
    h = norm(encoder.norm, x)
    for layer in encoder.layers:
        h = norm(layer.norm, h + lru_by_event(layer.lru, h))
        inner = affine(layer.ffn.up, h)
        inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
        h = norm(layer.ffn.norm, h + affine(layer.ffn.down, inner))
    return h


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_encoder_is_the_papers_recurrence(dtype, tolerance):
    torch.manual_seed(0)
    encoder = shaken(LRURecEncoder(PostNormConfig(d_model=D, n_layers=2, ffn=4.0))).to(dtype)
    x = torch.randn(sum(LENGTHS), D, dtype=dtype)
    with torch.no_grad():
        got = encoder(x, offsets_of(LENGTHS))
        expected = torch.cat([encoder_by_event(encoder, part) for part in x.double().split(LENGTHS)])
    close(got, expected, tolerance)


def test_decays_start_in_the_ring_with_states_of_unit_size():
    torch.manual_seed(0)
    lru = LRU(64)
    modulus = (-lru.nu_log.exp()).exp()
    assert R_MIN <= modulus.min() < 0.82
    assert 0.97 < modulus.max() <= R_MAX
    assert lru.theta_log.exp().min() > 0
    assert 6.0 < lru.theta_log.exp().max() < 2 * math.pi
    # gamma = sqrt(1 - |lambda|^2): white noise of variance 1 makes states of variance 1.
    torch.testing.assert_close(lru.gamma_log.exp() ** 2, 1 - modulus**2)


def test_linear_maps_start_small():
    torch.manual_seed(0)
    lru = LRURecEncoder(PostNormConfig()).layers[0].lru
    for parameter in (lru.in_proj.weight, lru.in_proj.bias, lru.out_proj.weight):
        assert parameter.abs().max() <= 0.04
        assert 0.014 < parameter.std() < 0.021


def test_dropout_is_on_in_training_alone():
    torch.manual_seed(0)
    encoder = LRURecEncoder(PostNormConfig(d_model=D, dropout=0.5))
    x, offsets = torch.randn(4, D), torch.tensor([0, 4])
    assert not torch.equal(encoder.train()(x, offsets), encoder(x, offsets))
    assert torch.equal(encoder.eval()(x, offsets), encoder(x, offsets))


@pytest.mark.parametrize("bad", [{"d_model": 0}, {"n_layers": 0}, {"ffn": 0.0}, {"dropout": 1.0}])
def test_bad_sizes(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        PostNormConfig(**bad)
