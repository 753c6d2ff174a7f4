import math

import pytest
import torch
import torch.nn.functional as F
from support import close

from hydrarec.errors import InputError
from hydrarec.nn.ligr import GatedResidual, LiGR
from hydrarec.nn.rival import RivalConfig

D, L = 8, 6


def make(**changes):
    torch.manual_seed(2)
    model = LiGR(RivalConfig(**{"d_model": D, "max_len": 10, "ffn": None, "n_layers": 1, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def test_it_is_its_formula():
    model = make().double()
    x = torch.randn(3, L, D, dtype=torch.float64)
    layer = model.layers[0]
    h = x + model.positions[:L]
    q, k, v = layer.qkv(F.layer_norm(h, (D,), layer.norm.weight, layer.norm.bias)).chunk(3, dim=2)
    heads = []
    for head in (slice(0, D // 2), slice(D // 2, D)):
        scores = q[..., head] @ k[..., head].transpose(1, 2) / math.sqrt(D // 2)
        heads.append(scores.masked_fill(torch.ones(L, L).triu(1).bool(), -math.inf).softmax(2) @ v[..., head])
    h = h + torch.sigmoid(layer.residual.gate(h)) * layer.w_o(torch.cat(heads, dim=2))
    gate, up = layer.ffn.gate_up(F.layer_norm(h, (D,), layer.ffn_norm.weight, layer.ffn_norm.bias)).chunk(2, dim=2)
    h = h + torch.sigmoid(layer.ffn_residual.gate(h)) * layer.ffn.down(F.silu(gate) * up)
    close(model(x), h, 1e-12)


@pytest.mark.parametrize(("ffn", "width"), [(None, 32), (1.5, 12)])
def test_the_feed_forward_part_is_four_times_as_wide_unless_said_otherwise(ffn, width):
    assert make(ffn=ffn).layers[0].ffn.down.weight.shape == (D, width)


def test_a_closed_gate_lets_nothing_through_and_an_open_one_everything():
    residual = GatedResidual(D, 0.0)
    h, update = torch.randn(4, D), torch.randn(4, D)
    with torch.no_grad():
        residual.gate.weight.zero_()
        for bias, expected in ((-100.0, h), (100.0, h + update), (0.0, h + update / 2)):
            residual.gate.bias.fill_(bias)
            close(residual(h, update), expected, 1e-6)


def test_dropout_falls_on_positions_inside_and_on_both_updates():
    model = make(dropout=0.5).train()
    places = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Dropout)]
    assert places == [
        "dropout",
        *(f"layers.0.{name}" for name in ("dropout", "residual.dropout", "ffn_residual.dropout")),
    ]
    x = torch.randn(2, L, D)
    for place in places:
        model.train()
        for other in places:
            model.get_submodule(other).p = 0.5 if other == place else 0.0
        assert not torch.equal(model(x), model(x)), place
    assert torch.equal(model.eval()(x), model(x))


def test_matrices_are_drawn_from_glorots_distribution():
    torch.manual_seed(0)
    model = LiGR(RivalConfig(d_model=64, max_len=200))
    for name, shape in (
        ("positions", (200, 64)),
        ("layers.1.qkv.weight", (192, 64)),
        ("layers.0.residual.gate.weight", (64, 64)),
    ):
        parameter = model.get_parameter(name)
        assert parameter.shape == shape
        assert parameter.std().item() == pytest.approx(math.sqrt(2 / sum(shape)), rel=0.05), name


def test_histories_beyond_the_table_of_positions_are_refused():
    with pytest.raises(InputError, match="11 events, but max_len=10; raise it"):
        make()(torch.randn(1, 11, D))
