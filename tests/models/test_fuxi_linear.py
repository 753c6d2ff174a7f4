import contract_checks as checks
import pytest
import torch

from hydrarec.errors import InputError
from hydrarec.models.fuxi_linear import FuXiLinear, FuXiLinearConfig
from hydrarec.models.registry import model_classes

# The times of the checks lie days apart.
SMALL = {"n_heads": 2, "periods": 2, "shortest_period": 100_000, "d_position": 4}
PUBLISHED = [(64, 2, 2, 200), (256, 8, 8, 211), (128, 4, 4, 1035)]  # the first is ours, then MovieLens-20M, KuaiRand


def test_registry():
    assert model_classes("fuxi_linear") == (FuXiLinearConfig, FuXiLinear)


@pytest.mark.parametrize("changes", [{**SMALL, "time": True}, {**SMALL, "time": False}])
def test_it_keeps_the_contract(changes):
    model = checks.made("fuxi_linear", **changes)
    checks.check_each_history_is_alone(model)
    checks.check_causal(model)
    checks.check_no_event_at_all(model)
    checks.check_there_and_back(model)
    checks.check_learns(model)


def test_dropout_is_on_in_training_alone():
    batch, model = checks.timed_batch(), checks.made("fuxi_linear", **SMALL, dropout=0.5)
    assert torch.equal(model.encode(batch), model.encode(batch))
    model.train()
    assert not torch.equal(model.encode(batch), model.encode(batch))


def test_it_trains_in_half_precision():
    batch, model = checks.timed_batch(), checks.made("fuxi_linear", **SMALL)
    exact = model.encode(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.encode(batch)
    torch.testing.assert_close(half.float(), exact, atol=0.05, rtol=0.05)
    half.float().square().sum().backward()
    assert all(each.grad.isfinite().all() for each in model.encoder.parameters())


def test_it_says_whether_it_sees_the_request():
    for time in (False, True):
        model = checks.made("fuxi_linear", **SMALL, time=time)
        assert model.sees_request_time is time
        assert checks.follows_request_time(model) is time


@pytest.mark.parametrize(("d", "n_heads", "n_layers", "max_len"), PUBLISHED)
def test_parameters(d, n_heads, n_layers, max_len):
    # u (3 d), q, k, v; a decay a head; values of time and two weights for each of 16 heads; values of place, its
    # vectors and two weights; the map back; SwiGLU of width d.
    layer = 6 * d * d + n_heads + (d * d + 32) + (d * d + 32 * max_len + 2) + 3 * d * d + 3 * d * d
    sizes = {"d_model": d, "n_heads": n_heads, "n_layers": n_layers, "max_len": max_len}
    counts = FuXiLinear(FuXiLinearConfig(**sizes), 50).parameter_counts()
    assert counts == {"items": 50 * d, "encoder": n_layers * layer + max_len * d + 8}


def test_a_blind_model_has_no_temporal_channel():
    layer = 5 * 64 * 64 + 2 + (64 * 64 + 32 * 200 + 2) + 2 * 64 * 64 + 3 * 64 * 64
    counts = FuXiLinear(FuXiLinearConfig(time=False), 50).parameter_counts()
    assert counts["encoder"] == 2 * layer + 200 * 64


def test_weight_decay_falls_on_matrices():
    model = checks.made("fuxi_linear", **SMALL, n_layers=1)
    names = {name.removeprefix("encoder.layers.0.") for name in checks.decayed(model)}
    maps = ("uqkv", "temporal.proj", "positional.proj", "w_o", "ffn.gate_up", "ffn.down")
    assert names == {f"{name}.weight" for name in maps}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"temperature": 0.0}, "temperature must be positive"), ({"max_len": 0}, "max_len must be at least 1")],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        FuXiLinearConfig(**changes)
