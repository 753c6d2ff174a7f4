"""One Hydra layer against the formulas of its papers, in numpy, event by event."""

import numpy as np
import pytest
import torch
from numpy import exp, log1p
from support import offsets_of, small_config

from hydrarec.errors import InputError
from hydrarec.nn.layer import HydraLayer
from hydrarec.nn.mamba import initial_step_bias
from hydrarec.nn.swiglu import SwiGLU

VARIANTS = {
    "plain": {},
    "no ffn": {"ffn": 0},
    "narrow ffn": {"ffn": 0.5},
    "one head": {"n_heads": 1},
    "wide heads": {"d_head": 6},
    "odd heads": {"d_head": 3},
    "one tap": {"d_conv": 1},
}


def make(seed=0, **changes):
    """A layer in float64 whose every parameter is random."""
    torch.manual_seed(seed)
    config = small_config(**changes)
    layer = HydraLayer(config).double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return config, layer


def sigmoid(x):
    return 1 / (1 + exp(-x))


def silu(x):
    return x * sigmoid(x)


def rms(x, weight, eps):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def mamba(p, head, config, xs):
    """One head over the events xs (L, c): in-projection, convolution, scan, gate, out-projection."""
    E, N, K = config.inner, config.d_state, config.d_conv
    w = {name.removeprefix("heads."): value[head] for name, value in p.items() if name.startswith("heads.")}
    h, past, ys = np.zeros((E, N)), [], []
    for x in xs:
        gate, joint, step = np.split(x @ w["in_proj"], [E, 2 * E + 2 * N])
        past.append(joint)
        seen = past[-K:]
        joint = silu(sum(v * w["conv_weight"][:, K - len(seen) + k] for k, v in enumerate(seen)) + w["conv_bias"])
        value, B, C = np.split(joint, [E, E + N])
        dt = log1p(exp(step + w["dt_bias"]))  # (1,)
        h = exp(-dt * exp(w["A_log"])) * h + np.outer(dt * value, B)
        y = rms((h @ C + w["skip"] * value) * silu(gate), w["norm"], 1e-5)
        ys.append(y @ w["out_proj"])
    return ys


def expected(layer, config, hs):
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    v, c = config.n_heads, config.latent
    normed = [rms(h, p["norm.weight"], 1e-6) for h in hs]
    both = [silu(n @ p["w_xz.weight"].T).reshape(2, v, c) for n in normed]
    Y = [mamba(p, head, config, [paths[0, head] for paths in both]) for head in range(v)]
    out = []
    for t, h in enumerate(hs):
        U = np.concatenate([Y[head][t] for head in range(v)]) * (1 + both[t][1].ravel()) / np.sqrt(v)
        h = h + U @ p["w_o.weight"].T
        if config.ffn:
            n = rms(h, p["ffn_norm.weight"], 1e-6)
            a, b = np.split(n @ p["ffn.gate_up.weight"].T, 2)
            h = h + (silu(a) * b) @ p["ffn.down.weight"].T
        out.append(h)
    return np.stack(out)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("length", [1, 6])
def test_layer_is_the_formula(variant, length):
    config, layer = make(**VARIANTS[variant])
    hs = torch.randn(length, 8, dtype=torch.float64)
    got, _ = layer(hs, offsets_of([length]), None)
    np.testing.assert_allclose(got.detach().numpy(), expected(layer, config, hs.numpy()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(variant):
    _, layer = make(**VARIANTS[variant])
    h, _ = layer.train()(torch.randn(9, 8, dtype=torch.float64), offsets_of([6, 3]), None)
    h.square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_half_precision_stays_close():
    _, layer = make()
    layer.float()
    h = torch.randn(700, 8)
    exact, _ = layer(h, offsets_of([700]), None)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = layer(h.clone().requires_grad_(), offsets_of([700]), None)
        half.float().sum().backward()
    assert (half - exact).abs().max() < 0.03 * exact.abs().max()  # bfloat16 has 8 bits


def test_dropout_only_in_training():
    _, layer = make(dropout=0.5)
    h = torch.randn(4, 8, dtype=torch.float64)
    fixed = [layer.eval()(h, offsets_of([4]), None)[0] for _ in range(2)]
    random = [layer.train()(h, offsets_of([4]), None)[0] for _ in range(2)]
    assert torch.equal(*fixed)
    assert not torch.equal(*random)


def test_swiglu():
    torch.manual_seed(0)
    ffn, x = SwiGLU(3, 5).double(), np.random.default_rng(0).normal(size=(4, 3))
    a, b = np.split(x @ ffn.gate_up.weight.detach().numpy().T, 2, axis=1)
    got = ffn(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(got, (silu(a) * b) @ ffn.down.weight.detach().numpy().T)


def test_initial_steps_lie_between_a_thousandth_and_a_tenth():
    steps = torch.nn.functional.softplus(initial_step_bias(1000))
    assert steps.min() >= 1e-3 * 0.999
    assert steps.max() <= 0.1 * 1.001
    assert 0.4 < (steps < 0.01).float().mean() < 0.6  # evenly on a logarithmic scale


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 3}, "n_heads=3 must divide d_model=8"),
        ({"d_head": 0}, "d_head must be at least 1"),
        ({"d_state": 0}, "d_state must be at least 1"),
        ({"d_conv": -1}, "d_conv must be at least 1"),
        ({"ffn": -1.0}, "ffn must not be negative"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
    ],
)
def test_config_errors_name_the_field(changes, message):
    with pytest.raises(InputError, match=message):
        small_config(**changes)


def test_config_widths():
    assert small_config().latent == 4
    assert small_config(d_head=6, expand=3).inner == 18
