"""One event at a time, from states that have seen much or little."""

import pytest
import torch

from hydrarec.bench import figures, stepping


def test_a_state_has_seen_as_many_events_as_the_name_says(tiny):
    encoder = stepping._encoder(tiny)
    assert not encoder.training
    assert stepping._after(encoder, 7, tiny).position.tolist() == [7]


def test_steps_go_on_from_the_state_that_is_measured(tiny, monkeypatch):
    monkeypatch.setattr(stepping, "_SINGLE_STEPS", 8)
    encoder = stepping._encoder(tiny)
    states = {"few": encoder.initial_state(1), "users": encoder.initial_state(4)}
    found = stepping._timed(encoder, states, tiny)
    assert states["few"].position.tolist() == [8 * 3]  # steps of a measurement, rounds with the one that warms up
    assert states["users"].position.tolist() == [2 * 3] * 4
    assert torch.isfinite(states["users"].ssm).all()
    assert [row.shape for row in found.rows] == ["1 user, d 8", "4 users, d 8"]


def test_values_are_a_time_a_rate_and_a_quotient_of_times(tiny):
    value, (row,) = figures.measure("step_us_batch1", tiny)
    assert value == row.us_per_call_wall == pytest.approx(1e6 / row.events_per_s)
    value, (row,) = figures.measure("steps_per_s_batch1024", tiny)
    assert value == row.events_per_s == pytest.approx(4e6 / row.us_per_call_wall)
    value, (many, few) = figures.measure("step_50000_over_10", tiny)
    assert value == pytest.approx(many.us_per_call_wall / few.us_per_call_wall)
    assert (many.name, few.name) == ("Hydra after 9", "Hydra after 2")
    assert {row.threads for row in (many, few)} == {1}
