"""Rivals whose own papers have no time, given the times that Hydra sees."""

from dataclasses import replace

import contract_checks as checks
import pytest

from hydrarec.errors import InputError

timed = pytest.mark.parametrize("name", ["sasrec", "esasrec", "gru4rec", "mamba4rec", "lrurec"])


@timed
def test_times_are_not_looked_at(name):
    model = checks.made(name)
    assert not model.sees_request_time
    assert not checks.follows_request_time(model)


@timed
def test_with_time_it_answers_for_the_moment_of_the_request_and_says_so(name):
    model = checks.made(name, time=True)
    assert model.sees_request_time
    assert checks.follows_request_time(model)
    checks.check_each_history_is_alone(model)
    checks.check_causal(model)
    checks.check_there_and_back(model)
    with pytest.raises(InputError, match="give the times of the events and of the request"):
        model.encode(replace(checks.timed_batch(), columns={}))
