"""FuXi-Linear's encoder against its attention written out, pair by pair of events in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import close

from hydrarec.data.batch import REQUEST_TIMES, pack
from hydrarec.errors import InputError
from hydrarec.nn.fuxi_linear import FuXiLinearEncoder, FuXiLinearSizes

HISTORIES = [[1, 2, 3, 9, 4, 1], [10], [5, 5, 0, 7], [8, 6, 2, 2, 2, 3, 1]]


def batch_of(histories, times=None, requests=None):
    """A packed batch; without given times, seconds that differ by everything from a tie to months."""
    if times is None:
        gaps = [np.resize([0, 5, 90_000, 0, 3_600, 6_000_000], len(each)) for each in histories]
        times = [10**9 + user * 977 + np.cumsum(gap) for user, gap in enumerate(gaps)]
    if requests is None:
        requests = [np.append(each[1:], each[-1] + 40_000) for each in times]
    batch = pack([np.asarray(each) for each in histories], [np.asarray(each) for each in times])
    return replace(batch, columns={REQUEST_TIMES: torch.from_numpy(np.concatenate(requests).astype(np.int64))})


def shaken(model):
    """Every parameter moved: nothing is hidden by what starts at zero or one."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


SMALL = {"d_model": 8, "n_layers": 2, "n_heads": 2, "max_len": 9, "periods": 2, "d_position": 4}


def plain_norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def rms(x):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def retention(layer, q, k, v):
    """sum_{j <= i} (q_i . k_j) exp(-g_h (i - j + 1)) v_j."""
    out = torch.zeros_like(v)
    width = v.shape[1] // layer.n_heads
    total = 0.0
    for head in range(layer.n_heads):
        total += F.softplus(layer.decay_logit[head]).item()
        g, part = math.exp(-total), slice(head * width, (head + 1) * width)
        for i in range(len(v)):
            for j in range(i + 1):
                out[i, part] += (q[i, part] @ k[j, part]) * math.exp(-g * (i - j + 1)) * v[j, part]
    return out


def temporal(channel, gammas, seconds, n, times, requests):
    """Sine heads first: sum_{j <= i} sin(w s) gamma^(w s) v_j with s = request_i - time_j, w = 2 pi / period."""
    v = n @ channel.proj.weight.T
    mixed = torch.zeros_like(v)
    width = channel.width
    for head in range(2 * len(seconds)):
        period, gamma = seconds[head % len(seconds)], gammas[head % len(seconds)].item()
        part = slice(head * width, (head + 1) * width)
        wave = math.sin if head < len(seconds) else math.cos
        for i in range(len(v)):
            for j in range(i + 1):
                s = int(requests[i] - times[j])
                weight = wave(2 * math.pi * (s % period) / period) * gamma ** (2 * math.pi * s / period)
                mixed[i, part] += weight * v[j, part]
    alpha, beta = (weight.repeat_interleave(width) for weight in (channel.alpha, channel.beta))
    return alpha * mixed + beta * v


def positional(channel, n):
    v, p = n @ channel.proj.weight.T, channel.positions
    mixed = torch.zeros_like(v)
    for i in range(len(v)):
        for j in range(i + 1):
            mixed[i] += (p[i] @ p[j]) / (p.shape[1] / 2) * v[j]
    return channel.alpha * mixed + channel.beta * v


def layer_by_pairs(layer, encoder, h, times, requests):
    d = h.shape[1]
    n = plain_norm(h)
    joint = F.silu(n @ layer.uqkv.weight.T)
    u, (q, k, v) = joint[:, : -3 * d], joint[:, -3 * d :].split(d, 1)
    channels = [retention(layer, q, k, v)]
    if layer.temporal is not None:
        gammas = torch.sigmoid(encoder.periods.gamma_logit)
        channels.append(temporal(layer.temporal, gammas, encoder.periods.seconds, n, times, requests))
    channels.append(positional(layer.positional, n))
    m = h + (u * torch.cat([plain_norm(each) for each in channels], 1)) @ layer.w_o.weight.T
    gate, up = (rms(m) @ layer.ffn.gate_up.weight.T).chunk(2, 1)
    return m + (F.silu(gate) * up) @ layer.ffn.down.weight.T


def encoder_by_pairs(encoder, x, batch):
    rows = []
    for first, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        h = x[first:end] * math.sqrt(x.shape[1]) + encoder.positions[: end - first]
        for layer in encoder.layers:
            h = layer_by_pairs(layer, encoder, h, batch.times[first:end], batch.request_times[first:end])
        rows.append(h)
    return torch.cat(rows)


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return shaken(FuXiLinearEncoder(FuXiLinearSizes(**{**SMALL, **changes})))


@pytest.mark.parametrize("time", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_encoder_is_the_papers_attention(time, dtype, tolerance):
    encoder, batch = make(time=time).to(dtype), batch_of(HISTORIES)
    x = torch.randn(batch.items.numel(), 8, dtype=dtype)
    with torch.no_grad():
        got = encoder(x, batch)
        expected = encoder_by_pairs(encoder.double(), x.double(), batch)
    close(got, expected, tolerance)


def test_gradients_are_those_of_the_attention():
    batch = batch_of(HISTORIES)
    x = torch.randn(batch.items.numel(), 8, dtype=torch.float64)
    gradients = []
    for form in (lambda encoder: encoder(x, batch), lambda encoder: encoder_by_pairs(encoder, x, batch)):
        encoder = make().double()
        out = form(encoder)
        (out * torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in encoder.named_parameters()})
    for name, expected in gradients[1].items():
        if expected is None or "decay_logit" in name or "gamma_logit" in name:
            continue  # plain numbers in the loops above; the next test has these
        torch.testing.assert_close(gradients[0][name], expected, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("name", ["layers.0.decay_logit", "periods.gamma_logit"])
def test_gradients_of_the_decays_are_differences(name):
    encoder = make().double()
    batch = batch_of(HISTORIES, times=[[0, 1, 2, 7, 9, 30], [4], [0, 0, 3, 9], list(range(7))])
    x = torch.randn(batch.items.numel(), 8, dtype=torch.float64)
    weights = torch.randn(x.shape, dtype=torch.float64)
    parameter = encoder.get_parameter(name)
    (encoder(x, batch) * weights).sum().backward()
    for place in range(parameter.numel()):
        ends = []
        for step in (1e-4, -2e-4):
            with torch.no_grad():
                parameter[place] += step
                ends.append((encoder(x, batch) * weights).sum().item())
        parameter.data[place] += 1e-4
        assert parameter.grad[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)


def test_time_moves_what_it_should():
    encoder, blind = make(), make(time=False)
    plain = batch_of(HISTORIES, times=[[0, 1, 2, 7, 9, 30], [4], [0, 0, 3, 9], range(7)])
    asked_later = replace(plain, columns={REQUEST_TIMES: plain.request_times + 3})
    shifted = replace(plain, times=plain.times + 10**9, columns={REQUEST_TIMES: plain.request_times + 10**9})
    x = torch.randn(plain.items.numel(), 8)
    with torch.no_grad():
        assert (encoder(x, plain) - encoder(x, asked_later)).abs().max() > 1e-3
        assert torch.equal(encoder(x, plain), encoder(x, shifted))  # only differences of times count
        assert torch.equal(blind(x, plain), blind(x, asked_later))


def test_a_request_before_the_last_event_counts_as_at_once():
    encoder, batch = make(), batch_of(HISTORIES)
    x = torch.randn(batch.items.numel(), 8)
    at_once = batch_of(HISTORIES, requests=[batch.times.numpy()])
    before = batch_of(HISTORIES, requests=[batch.times.numpy() - 7])
    with torch.no_grad():
        assert torch.equal(encoder(x, before), encoder(x, at_once))


def test_phases_of_short_periods_survive_large_times():
    encoder = make(periods=1, shortest_period=16)
    near, far = (batch_of([[1, 2]], times=[[0, gap]], requests=[[gap, gap + 4]]) for gap in (16 * 10**7 + 5, 5))
    with torch.no_grad():
        encoder.periods.gamma_logit.fill_(40.0)  # nothing is forgotten
        x = torch.randn(2, 8)
        close(encoder(x, near), encoder(x, far), 1e-5)


def test_a_time_blind_encoder_needs_no_times():
    batch = replace(batch_of(HISTORIES), columns={})
    x = torch.randn(batch.items.numel(), 8)
    with torch.no_grad():
        assert make(time=False)(x, batch).isfinite().all()
        with pytest.raises(InputError, match="moment"):
            make()(x, batch)


def test_a_history_longer_than_the_positions():
    batch = batch_of([list(range(10))])
    with pytest.raises(InputError, match="max_len=9"):
        make()(torch.zeros(10, 8), batch)


BAD = [{"periods": 0}, {"periods": 3}, {"ffn": None}, {"d_position": 5}, {"shortest_period": 0}, {"n_heads": 3}]


@pytest.mark.parametrize("bad", BAD)
def test_bad_sizes(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        FuXiLinearSizes(**{**SMALL, **bad})
