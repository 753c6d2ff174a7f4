"""Mamba4Rec's encoder against its equations, event by event in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from support import close, offsets_of

from hydrarec.errors import InputError
from hydrarec.nn.mamba4rec import Mamba4RecEncoder, Mamba4RecSizes

D, LENGTHS = 6, [5, 1, 0, 8]


def shaken(model):
    """Every parameter moved: nothing is hidden by what starts at zero or one."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def norm(module, x):
    return F.layer_norm(x, x.shape[-1:], module.weight.double(), module.bias.double(), 1e-12)


def affine(linear, x):
    return x @ linear.weight.double().T + linear.bias.double()


def mamba_by_event(block, x):
    """Algorithm 2 of Gu & Dao 2023 within their block, for one history (L, d)."""
    E, N, R = block.inner, block.d_state, block.rank
    p = {name: parameter.double().squeeze(0) for name, parameter in block.named_parameters()}
    K = p["conv_weight"].shape[1]
    state, taps, rows = torch.zeros(E, N).double(), torch.zeros(E, K).double(), []
    for event in x:
        values, gate = (event @ p["in_proj"]).split(E)
        taps = torch.cat([taps[:, 1:], values.unsqueeze(1)], 1)
        u = F.silu((taps * p["conv_weight"]).sum(1) + p["conv_bias"])
        step, B, C = (u @ p["x_proj"]).split([R, N, N])
        dt = F.softplus(step @ p["dt_proj"] + p["dt_bias"])
        state = torch.exp(-dt[:, None] * p["A_log"].exp()) * state + (dt * u)[:, None] * B
        y = state @ C + p["skip"] * u
        rows.append((y * F.silu(gate)) @ p["out_proj"])
    return torch.stack(rows) if rows else x


def encoder_by_event(encoder, x):
    h = norm(encoder.norm, x)
    for layer in encoder.layers:
        update = mamba_by_event(layer.mamba, h)
        h = norm(layer.norm, update + h if len(encoder.layers) > 1 else update)
        inner = affine(layer.ffn.up, h)
        inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
        h = norm(layer.ffn.norm, h + affine(layer.ffn.down, inner))
    return h


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 5e-5)])
def test_encoder_is_the_papers_equations(n_layers, dtype, tolerance):
    torch.manual_seed(0)
    encoder = shaken(Mamba4RecEncoder(Mamba4RecSizes(d_model=D, n_layers=n_layers, d_state=4))).to(dtype)
    x = torch.randn(sum(LENGTHS), D, dtype=dtype)
    with torch.no_grad():
        got = encoder(x, offsets_of(LENGTHS))
        expected = torch.cat([encoder_by_event(encoder, part) for part in x.double().split(LENGTHS)])
    close(got, expected, tolerance)


def test_the_block_is_the_one_of_its_authors():
    block = Mamba4RecEncoder(Mamba4RecSizes()).layers[0].mamba
    assert {name: tuple(parameter.shape[1:]) for name, parameter in block.named_parameters()} == {
        "in_proj": (64, 256),
        "conv_weight": (128, 4),
        "conv_bias": (128,),
        "x_proj": (128, 4 + 32 + 32),  # step rank ceil(64 / 16)
        "dt_proj": (4, 128),
        "dt_bias": (128,),
        "A_log": (128, 32),
        "skip": (128,),
        "out_proj": (128, 64),
    }


def test_linear_maps_start_as_the_authors_do():
    torch.manual_seed(0)
    encoder = Mamba4RecEncoder(Mamba4RecSizes())
    layer = encoder.layers[0]
    for weight in (layer.mamba.in_proj, layer.mamba.x_proj, layer.mamba.out_proj, layer.ffn.up.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not layer.ffn.up.bias.any()
    assert layer.mamba.A_log.exp()[0, 0].tolist() == pytest.approx(list(range(1, 33)))


@pytest.mark.parametrize("bad", [{"d_state": 0}, {"expand": 0}, {"d_conv": 0}, {"dropout": -0.1}])
def test_bad_sizes(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Mamba4RecSizes(**bad)
