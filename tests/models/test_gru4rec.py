import contract_checks as checks
import pytest
import torch
from support import close

from hydrarec.errors import InputError
from hydrarec.models.gru4rec import GRU4Rec, GRU4RecConfig
from hydrarec.models.registry import model_classes
from hydrarec.train.settings import resolve


def test_registry():
    assert model_classes("gru4rec") == (GRU4RecConfig, GRU4Rec)


@pytest.mark.parametrize("changes", [{}, {"n_layers": 2, "d_hidden": 5}])
def test_it_keeps_the_contract(changes):
    model = checks.made("gru4rec", **changes)
    checks.check_each_history_is_alone(model)
    checks.check_causal(model)
    checks.check_no_event_at_all(model)
    checks.check_there_and_back(model)
    checks.check_learns(model)


def test_it_is_its_formula():
    """Cho et al. 2014, with the reset gate behind the matrix, as torch and cuDNN have it."""
    model = checks.made("gru4rec", d_hidden=5).double()
    batch = checks.timed_batch([6])
    gru, state, states = model.encoder.gru, torch.zeros(5, dtype=torch.float64), []
    for x in model.items.weight[batch.items]:
        r, z, n = (gru.weight_ih_l0 @ x + gru.bias_ih_l0).chunk(3)
        hr, hz, hn = (gru.weight_hh_l0 @ state + gru.bias_hh_l0).chunk(3)
        keep = torch.sigmoid(z + hz)
        state = (1 - keep) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + keep * state
        states.append(model.encoder.w_o(state))
    close(model.encode(batch), torch.stack(states), 1e-12)


def test_dropout_falls_on_inputs_and_between_layers():
    batch = checks.timed_batch()
    model = checks.made("gru4rec", n_layers=2, dropout=0.5)
    assert (model.encoder.dropout.p, model.encoder.gru.dropout) == (0.5, 0.5)
    assert torch.equal(model.encode(batch), model.encode(batch))
    model.train()
    assert not torch.equal(model.encode(batch), model.encode(batch))


def test_parameter_count():
    d, e = 64, 128
    layer = 3 * e * (d + e) + 6 * e  # two matrices and two biases of three gates
    counts = GRU4Rec(GRU4RecConfig(), 7).parameter_counts()
    assert counts == {"items": 7 * d, "encoder": layer + e * d + d}
    assert counts["encoder"] == 82_752


def test_weight_decay_spares_biases():
    names = checks.decayed(checks.made("gru4rec"))
    assert {name.removeprefix("encoder.") for name in names} == {"gru.weight_ih_l0", "gru.weight_hh_l0", "w_o.weight"}


def test_whole_histories_need_no_table_of_positions():
    assert resolve(model="gru4rec", overrides=["train.max_len=0"])[0].train.reads == 0
    assert checks.made("gru4rec").encode(checks.timed_batch([1000])).shape == (1000, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"n_layers": 0}, "n_layers must be at least 1"),
        ({"d_hidden": 0}, "d_hidden must be at least 1"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        GRU4RecConfig(**changes)
