import contract_checks as checks
import pytest
import torch

from hydrarec.errors import InputError
from hydrarec.models.lrurec import LRURec, LRURecConfig
from hydrarec.models.registry import model_classes
from hydrarec.train.settings import resolve


def test_registry():
    assert model_classes("lrurec") == (LRURecConfig, LRURec)


@pytest.mark.parametrize("changes", [{}, {"n_layers": 1, "normalize": False}])
def test_it_keeps_the_contract(changes):
    model = checks.made("lrurec", **changes)
    checks.check_each_history_is_alone(model)
    checks.check_causal(model)
    checks.check_no_event_at_all(model)
    checks.check_there_and_back(model)
    checks.check_learns(model)


def test_dropout_is_on_in_training_alone():
    batch, model = checks.timed_batch(), checks.made("lrurec", dropout=0.5)
    assert torch.equal(model.encode(batch), model.encode(batch))
    model.train()
    assert not torch.equal(model.encode(batch), model.encode(batch))


def test_parameters_of_the_published_size():
    # nu, theta, gamma; complex maps 64 -> 128 with a complex bias and 128 -> 64 with a real one, in real numbers.
    lru = 3 * 128 + (64 * 256 + 256) + (256 * 64 + 64)
    layer = lru + 2 * 64 + (64 * 256 + 256 + 256 * 64 + 64 + 2 * 64)
    counts = LRURec(LRURecConfig(), 3_416).parameter_counts()
    assert counts == {"items": 3_416 * 64, "encoder": 2 * 64 + 2 * layer}
    assert counts["encoder"] == 133_760


def test_weight_decay_falls_on_matrices():
    names = {name.removeprefix("encoder.layers.0.") for name in checks.decayed(checks.made("lrurec", n_layers=1))}
    assert names == {"lru.in_proj.weight", "lru.out_proj.weight", "ffn.up.weight", "ffn.down.weight"}


def test_whole_histories_need_no_table_of_positions():
    assert resolve(model="lrurec", overrides=["train.max_len=0"])[0].train.reads == 0
    assert checks.made("lrurec").encode(checks.timed_batch([1000])).shape == (1000, 8)


def test_times_are_looked_at_where_that_is_asked_for():
    for time in (False, True):
        model = checks.made("lrurec", time=time)
        assert model.sees_request_time is time
        assert checks.follows_request_time(model) is time


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"temperature": 0.0}, "temperature must be positive"), ({"n_layers": 0}, "n_layers must be at least 1")],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        LRURecConfig(**changes)
