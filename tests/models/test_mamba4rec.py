import contract_checks as checks
import pytest
import torch

from hydrarec.errors import InputError
from hydrarec.models.mamba4rec import Mamba4Rec, Mamba4RecConfig
from hydrarec.models.registry import model_classes
from hydrarec.train.settings import resolve


def test_registry():
    assert model_classes("mamba4rec") == (Mamba4RecConfig, Mamba4Rec)


@pytest.mark.parametrize("changes", [{"d_state": 3}, {"d_state": 3, "n_layers": 2}])
def test_it_keeps_the_contract(changes):
    model = checks.made("mamba4rec", **changes)
    checks.check_each_history_is_alone(model)
    checks.check_causal(model)
    checks.check_no_event_at_all(model)
    checks.check_there_and_back(model)
    checks.check_learns(model)


def test_dropout_is_on_in_training_alone():
    batch, model = checks.timed_batch(), checks.made("mamba4rec", d_state=3, dropout=0.5)
    assert torch.equal(model.encode(batch), model.encode(batch))
    model.train()
    assert not torch.equal(model.encode(batch), model.encode(batch))


def test_parameters_of_the_published_size():
    # Mamba: in 64 x 256, conv 128 x (4 + 1), x 128 x (4 + 64), step 4 x 128 + 128, A 128 x 32, D 128, out 128 x 64.
    mamba = 16_384 + 640 + 8_704 + 640 + 4_096 + 128 + 8_192
    layer = mamba + 2 * 64 + (64 * 256 + 256 + 256 * 64 + 64 + 2 * 64)
    for n_layers in (1, 2):
        counts = Mamba4Rec(Mamba4RecConfig(n_layers=n_layers), 3_416).parameter_counts()
        assert counts == {"items": 3_416 * 64, "encoder": 2 * 64 + n_layers * layer}
    assert Mamba4Rec(Mamba4RecConfig(), 1).parameter_counts()["encoder"] == 72_256


def test_weight_decay_falls_on_matrices():
    names = {name.removeprefix("encoder.layers.0.") for name in checks.decayed(checks.made("mamba4rec"))}
    maps = {f"mamba.{name}_proj" for name in ("in", "x", "dt", "out")}
    assert names == maps | {"ffn.up.weight", "ffn.down.weight"}


def test_whole_histories_need_no_table_of_positions():
    assert resolve(model="mamba4rec", overrides=["train.max_len=0"])[0].train.reads == 0
    assert checks.made("mamba4rec", d_state=3).encode(checks.timed_batch([1000])).shape == (1000, 8)


def test_times_are_looked_at_where_that_is_asked_for():
    for time in (False, True):
        model = checks.made("mamba4rec", d_state=3, time=time)
        assert model.sees_request_time is time
        assert checks.follows_request_time(model) is time


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"n_layers": 0}, "n_layers must be at least 1"),
        ({"d_state": 0}, "d_state must be at least 1"),
        ({"ffn": 0.0}, "ffn must be positive"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Mamba4RecConfig(**changes)
