"""The encoders that Hydra is measured against are what they say they are."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from support import close

from hydrarec.errors import InputError
from hydrarec.nn import hstu as hstu_module
from hydrarec.nn import mamba_py
from hydrarec.nn.gru import GRU
from hydrarec.nn.hstu import HSTU, QueryBlock, query_blocks
from hydrarec.nn.mamba_py import MambaPy
from hydrarec.nn.rival import RivalConfig
from hydrarec.nn.sasrec import SASRec
from hydrarec.ops import causal_conv, selective_scan

D, L = 8, 11
needs_mambapy = pytest.mark.skipif(not mamba_py.available(), reason="mambapy (extra bench) is not installed")
EVERY = [SASRec, HSTU, GRU, pytest.param(MambaPy, marks=needs_mambapy)]


def make(kind, seed=0, **changes):
    torch.manual_seed(seed)
    model = kind(RivalConfig(**{"d_model": D, "max_len": 32, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def inputs(model, batch=3, length=L, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, length, D, generator=generator)
    if not isinstance(model, HSTU):
        return (x,)
    return x, torch.randint(0, 10**6, (batch, length), generator=generator).cumsum(1)


@pytest.mark.parametrize("ffn", [2.0, None])
@pytest.mark.parametrize("kind", EVERY)
def test_a_later_event_never_changes_an_earlier_output(kind, ffn):
    model = make(kind, ffn=ffn)
    given = inputs(model)
    before = model(*given)
    changed = [
        torch.cat([each[:, :6], other[:, 6:]], 1) for each, other in zip(given, inputs(model, seed=2), strict=True)
    ]
    after = model(*changed)
    close(after[:, :6], before[:, :6], 1e-5)
    assert (after[:, 6:] - before[:, 6:]).abs().amax(2).min() > 1e-4


@pytest.mark.parametrize("kind", EVERY)
def test_padding_on_the_right_changes_nothing(kind):
    model = make(kind)
    given = inputs(model)
    padded = [F.pad(each, (0, 0, 0, 9) if each.dim() == 3 else (0, 9), value=7) for each in given]
    close(model(*padded)[:, :L], model(*given), 1e-5)


@pytest.mark.parametrize("kind", EVERY)
def test_every_parameter_learns_and_dropout_drops(kind):
    model = make(kind, dropout=0.5).train()
    given = inputs(model, length=32)
    first, second = model(*given), model(*given)
    assert not torch.equal(first, second)
    (first * torch.randn(first.shape)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def layer_norm(x, norm=None):
    weight, bias = (norm.weight, norm.bias) if norm else (1, 0)
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


def test_sasrec_is_softmax_attention_and_a_feed_forward_part_of_width_d():
    model = make(SASRec, ffn=None, n_layers=1).double()
    (x,) = (each.double() for each in inputs(model))
    h, layer = x + model.positions[:L], model.layers[0]
    q, k, v = layer.qkv(layer_norm(h, layer.norm)).chunk(3, dim=2)
    heads = []
    for head in (slice(0, D // 2), slice(D // 2, D)):
        scores = q[..., head] @ k[..., head].transpose(1, 2) / math.sqrt(D // 2)
        hidden = torch.ones(L, L).triu(1).bool()
        heads.append(scores.masked_fill(hidden, -math.inf).softmax(2) @ v[..., head])
    h = h + layer.w_o(torch.cat(heads, dim=2))
    part = layer.ffn.part
    assert part.up.weight.shape == part.down.weight.shape == (D, D)
    h = h + part.down(part.up(layer_norm(h, layer.ffn.norm)).relu())
    close(model(x), layer_norm(h, model.norm), 1e-12)


def plain_norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


@pytest.mark.parametrize("block", [1, 4, 64])
@pytest.mark.parametrize("time", [True, False])
def test_hstu_is_its_formula(block, time, monkeypatch):
    monkeypatch.setattr(hstu_module, "BLOCK", block)
    model = make(partial(HSTU, time=time), ffn=None, n_layers=1).double()
    x, times = inputs(model)
    asked = times + torch.randint(0, 10**7, times.shape, generator=torch.Generator().manual_seed(5))
    x, layer = x.double(), model.layers[0]
    h = x + model.positions[:L]
    u, v, q, k = F.silu(layer.uvqk(plain_norm(h))).chunk(4, dim=2)
    mixed = torch.zeros_like(x)
    for row in range(len(x)):
        for head in (slice(0, D // 2), slice(D // 2, D)):
            for i in range(L):
                for j in range(i + 1):
                    score = q[row, i, head] @ k[row, j, head] + layer.distance_bias[i - j]
                    if time:
                        gap = int(asked[row, i] - times[row, j])
                        score += layer.time_bias[min(int(math.log(max(gap, 1)) / 0.301), 128)]
                    mixed[row, i, head] += F.silu(score) * v[row, j, head] / 32
    h = h + layer.w_o(plain_norm(mixed) * u)
    close(model(x, *((times, asked) if time else ())), h, 1e-12)


def test_a_hidden_state_of_hstu_is_asked_when_its_event_happens_unless_said_otherwise():
    model = make(HSTU)
    x, times = inputs(model)
    assert torch.equal(model(x, times), model(x, times, times))
    assert (model(x, times, times + 10**5) - model(x, times)).abs().max() > 1e-4


def test_buckets_of_time():
    gaps = torch.tensor([0, 1, 2, 3, 60, 86_400, -86_400, 10**9, 2**62])
    expected = [int(math.log(max(abs(gap), 1)) / 0.301) for gap in gaps.tolist()[:-1]]
    assert hstu_module.bucket(gaps).tolist() == [*expected, 128]  # the last one would be 142


def test_gru_is_its_formula():
    model = make(GRU, ffn=None, n_layers=1).double()
    (x,) = (each.double() for each in inputs(model))
    gru, norm = model.layers[0].gru, model.layers[0].norm
    state, outputs = torch.zeros(3, D, dtype=torch.float64), []
    for event in layer_norm(x, norm).unbind(1):
        r, z, n = (event @ gru.weight_ih_l0.T + gru.bias_ih_l0).chunk(3, dim=1)
        hr, hz, hn = (state @ gru.weight_hh_l0.T + gru.bias_hh_l0).chunk(3, dim=1)
        update = torch.sigmoid(z + hz)
        state = (1 - update) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + update * state
        outputs.append(state)
    close(model(x), layer_norm(x + torch.stack(outputs, dim=1), model.norm), 1e-12)


@needs_mambapy
def test_the_mamba_of_the_registry_agrees_with_ours():
    model = make(MambaPy, ffn=None, n_layers=1)
    (x,) = inputs(model)
    block, B, E = model.layers[0].mamba, len(x), 2 * D
    values, gate = block.in_proj(model.layers[0].norm(x)).chunk(2, dim=2)
    offsets = torch.arange(B + 1) * L
    packed = values.reshape(B * L, 1, E)
    weight, bias = block.conv1d.weight.transpose(0, 1), block.conv1d.bias.unsqueeze(0)
    values = F.silu(causal_conv(packed, weight, bias, offsets)[0])
    step, left, right = block.x_proj(values).split([1, 16, 16], dim=2)
    y, _ = selective_scan(
        values, F.softplus(block.dt_proj(step)), -block.A_log.exp().unsqueeze(0), left, right, offsets
    )
    y = (y + block.D * values).view(B, L, E)
    close(model(x), model.norm(x + block.out_proj(y * F.silu(gate))), 1e-4)


def test_the_gradient_of_hstus_tables_is_that_of_indexing():
    table = torch.randn(5, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, 4, 4], [1, 0, 4]])
    assert torch.autograd.gradcheck(lambda values: hstu_module._Look.apply(values, index), table)


def test_query_blocks_cover_every_pair_of_the_past_once(monkeypatch):
    monkeypatch.setattr(hstu_module, "BLOCK", 4)
    blocks = query_blocks(L, torch.empty(0), None, None)
    assert all(isinstance(block, QueryBlock) for block in blocks)
    assert [(block.first, block.end) for block in blocks] == [(0, 4), (4, 8), (8, 11)]
    assert sum(int((block.hidden == 0).sum()) for block in blocks) == L * (L + 1) // 2


def test_only_the_feed_forward_part_differs_from_the_paper():
    own = {name for name, _ in make(HSTU, ffn=None).named_parameters()}
    both = {name for name, _ in make(HSTU).named_parameters()}
    assert {name.split(".", 2)[2] for name in both - own} == {
        "ffn.norm.weight",
        "ffn.norm.bias",
        "ffn.part.gate_up.weight",
        "ffn.part.down.weight",
    }
    assert own < both


@pytest.mark.parametrize("kind", [SASRec, HSTU])
def test_histories_beyond_the_table_of_positions_are_refused(kind):
    model = make(kind)
    with pytest.raises(InputError, match="33 events, but max_len=32; raise it"):
        model(*inputs(model, length=33))


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(mamba_py, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'hydrarec\[bench\]'"):
        MambaPy(RivalConfig())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layers": 0}, "n_layers must be at least 1"),
        ({"n_heads": 3}, "n_heads=3 must divide d_model=64"),
        ({"ffn": 0.0}, "ffn must be positive"),
        ({"dropout": 1.0}, "dropout must lie"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        RivalConfig(**changes)
