import contract_checks as checks
import pytest
import torch
from support import close

from hydrarec.errors import InputError
from hydrarec.models.esasrec import ESASRec, ESASRecConfig
from hydrarec.models.registry import model_classes


def test_registry():
    assert model_classes("esasrec") == (ESASRecConfig, ESASRec)


@pytest.mark.parametrize("changes", [{}, {"ffn": 1.0, "n_heads": 1}])
def test_it_keeps_the_contract(changes):
    model = checks.made("esasrec", **changes)
    checks.check_each_history_is_alone(model)
    checks.check_causal(model)
    checks.check_no_event_at_all(model)
    checks.check_there_and_back(model)
    checks.check_learns(checks.made("esasrec", max_len=12, **changes))


def test_an_event_does_not_know_how_many_follow():
    model = checks.made("esasrec")
    batch = checks.timed_batch([9])
    whole, begun = model.encode(batch), model.encode(checks.part(batch, slice(4), [0, 4]))
    torch.testing.assert_close(whole[:4], begun, rtol=1e-4, atol=1e-5)


def test_item_vectors_are_scaled_before_positions_are_added():
    model = checks.made("esasrec")
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = checks.timed_batch([5])
    model.encode(batch)
    close(seen[0][0], model.items.weight[batch.items] * 8**0.5, 1e-6)


def test_parameter_count():
    d, length = 64, 200
    attention = 2 * d + 3 * (d * d + d) + d * d + d + d * d + d  # norm; Q, K, V; output; gate
    feed_forward = 2 * d + 3 * d * 4 * d + d * d + d  # norm; SwiGLU; gate
    model = ESASRec(ESASRecConfig(d_model=d), 7)
    assert model.parameter_counts() == {"items": 7 * d, "encoder": length * d + 2 * (attention + feed_forward)}
    assert model.parameter_counts()["encoder"] == 161_536


def test_weight_decay_spares_positions_norms_and_biases():
    names = checks.decayed(checks.made("esasrec"))
    assert {name.split(".", 3)[-1] for name in names} == {
        "qkv.weight", "w_o.weight", "ffn.gate_up.weight", "ffn.down.weight",
        "residual.gate.weight", "ffn_residual.gate.weight",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"n_heads": 3}, "n_heads=3 must divide d_model=64"),
        ({"ffn": 0.0}, "ffn must be positive"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        ESASRecConfig(**changes)
