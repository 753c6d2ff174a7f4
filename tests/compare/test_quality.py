"""Time to quality against curves by hand."""

import pytest

from hydrarec.compare.quality import share_of_time, shares_of_time


def made(*curve, validation=None):
    """A result of (NDCG@10, CPU seconds) at each validation."""
    best = max(curve)
    return {
        "curve": [[epoch, value, 99.0, cpu] for epoch, (value, cpu) in enumerate(curve, 1)],
        "validation": {"NDCG@10": best[0]} if validation is None else validation,
        "cpu_seconds_to_best": best[1],
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


def test_a_seed_that_never_gets_there():
    assert share_of_time([made((0.3, 1.0)), made((0.19, 1.0))], [SLOW]) is None


def test_rows_without_a_curve_take_no_part():
    counted = {"curve": [], "validation": {"NDCG@10": 0.1}, "cpu_seconds_to_best": 0.1}
    records = {"hydra": [made((0.3, 25.0))], "slow": [SLOW], "markov": [counted], "missing": []}
    assert shares_of_time("hydra", records) == {"slow": pytest.approx(0.25)}
    assert shares_of_time("markov", records) == {}
