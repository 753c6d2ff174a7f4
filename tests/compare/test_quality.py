"""Time and parameters to quality, by hand."""

import math
from types import SimpleNamespace

import pytest

from hydrarec.compare.quality import share_of_time, shares_of_time, smallest_as_good


def made(*curve, validation=None, on="EPYC"):
    """A result of (NDCG@10, CPU seconds) at each validation."""
    best = max(curve)
    return {
        "curve": [[epoch, value, 99.0, cpu] for epoch, (value, cpu) in enumerate(curve, 1)],
        "validation": {"NDCG@10": best[0]} if validation is None else validation,
        "cpu_seconds_to_best": best[1],
        "machine": {"processor": on, "cores": 2, "threads": 1, "torch": "2.13.0"},
    }


SLOW = made((0.1, 50.0), (0.2, 100.0), (0.19, 150.0))


def test_the_first_time_that_the_goal_is_reached_counts():
    quick = made((0.15, 10.0), (0.2, 20.0), (0.3, 30.0))
    assert share_of_time([quick], [SLOW]) == pytest.approx(0.2)
    assert share_of_time([SLOW], [SLOW]) == pytest.approx(1.0)


def test_means_over_seeds():
    rivals = [SLOW, made((0.4, 300.0))]  # on average .3 after 200 seconds
    own = [made((0.31, 10.0)), made((0.1, 10.0), (0.35, 50.0))]
    assert share_of_time(own, rivals) == pytest.approx(30 / 200)


def test_seconds_are_held_against_those_of_the_same_machine():
    rivals = [SLOW, made((0.2, 400.0), on="Atom"), made((0.2, 600.0), on="Atom")]
    assert share_of_time([made((0.3, 20.0)), made((0.3, 50.0), on="Atom")], rivals) == pytest.approx(0.15)
    assert share_of_time([made((0.3, 20.0)), made((0.3, 1e9), on="Xeon")], rivals) == pytest.approx(0.2)
    assert share_of_time([made((0.3, 20.0)), made((0.1, 1.0), on="Xeon")], rivals) is None  # it never gets there


def test_rows_whose_time_cannot_be_compared_are_left_out():
    at_once = made((0.2, 0.0))
    assert math.isnan(share_of_time([SLOW], [at_once]))
    records = {"hydra": [made((0.3, 25.0))], "slow": [SLOW], "away": [made((0.2, 9.0), on="Xeon")], "quick": [at_once]}
    assert shares_of_time("hydra", records) == {"slow": pytest.approx(0.25)}


def test_a_time_too_short_to_measure():
    at_once = made((0.2, 0.0))
    assert share_of_time([at_once], [SLOW]) == 0.0
    assert share_of_time([at_once, SLOW], [SLOW]) == pytest.approx(0.5)


def test_a_seed_that_never_gets_there():
    assert share_of_time([made((0.3, 1.0)), made((0.19, 1.0))], [SLOW]) is None


def test_rows_without_a_curve_take_no_part():
    counted = {"curve": [], "validation": {"NDCG@10": 0.1}, "cpu_seconds_to_best": 0.1}
    records = {"hydra": [made((0.3, 25.0))], "slow": [SLOW], "markov": [counted], "missing": []}
    assert shares_of_time("hydra", records) == {"slow": pytest.approx(0.25)}
    assert shares_of_time("markov", records) == {}


def row(value, encoder, *, ours=True, sees=False, removed=False):
    return SimpleNamespace(
        ours=ours, removed=removed, sees_request_time=sees, metrics={"NDCG@10": value}, costs={"encoder": encoder}
    )


def test_the_smallest_of_ours_that_is_as_good_and_sees_no_more():
    small, large, timed = row(0.2, 10), row(0.3, 30), row(0.4, 5, sees=True)
    rows = [row(0.9, 1, ours=False), row(0.9, 1, removed=True), timed, large, small]
    assert smallest_as_good(row(0.2, 99, ours=False), rows) is small
    assert smallest_as_good(row(0.21, 99, ours=False), rows) is large
    assert smallest_as_good(row(0.21, 99, ours=False, sees=True), rows) is timed
    assert smallest_as_good(row(0.31, 99, ours=False), rows) is None
