import pytest

from hydrarec.bench import rates
from hydrarec.bench.rates import seconds_per_billion_events
from hydrarec.items.plan import PlanConfig


@pytest.mark.parametrize("encoder", ["table", "float32", "int8", "quotient_remainder"])
def test_every_encoder_has_a_rate(encoder, monkeypatch):
    for name, value in {"_ITEMS": 500, "_ROUNDS": 1, "_WINDOWS": 1, "_LENGTH": 20}.items():
        monkeypatch.setattr(rates, name, value)
    found = seconds_per_billion_events(encoder, PlanConfig(items=10**9, dim=32, events=64, negatives=64))
    assert set(found) == {"items", "encoder"}
    assert all(value > 0 for value in found.values())


def test_rates_are_for_a_billion_events_on_all_gpus(monkeypatch):
    monkeypatch.setattr(rates, "_seconds", lambda run: 0.25)
    one = seconds_per_billion_events("float32", PlanConfig(items=10**9, dim=32, events=1000, negatives=1000))
    assert one == {"items": 0.25 * 10**6, "encoder": 0.25 * 10**9 / 3200}
    eight = seconds_per_billion_events("float32", PlanConfig(items=10**9, dim=32, gpus=8, events=1000, negatives=1000))
    assert eight == {name: value / 8 for name, value in one.items()}
