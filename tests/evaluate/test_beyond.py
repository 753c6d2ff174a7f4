import numpy as np
import pytest

from hydrarec.evaluate.beyond import coverage, popularity_bias, popularity_percentile
from hydrarec.evaluate.bootstrap import intervals
from hydrarec.evaluate.groups import by_history, by_popularity, grouped


def test_coverage_and_bias_by_hand():
    top = np.array([[0, 1], [0, -1]])
    assert coverage(top, 4) == 0.5
    counts = np.array([10, 5, 5, 0])
    assert popularity_percentile(counts).tolist() == [0.875, 0.5, 0.5, 0.125]
    assert popularity_bias(top, counts) == pytest.approx((0.875 + 0.5 + 0.875) / 3)
    assert popularity_bias(np.full((2, 2), -1), counts) == 0.5


def test_groups_by_hand():
    assert by_history(np.array([1, 4, 5, 500])).tolist() == [
        "history 1-4",
        "history 1-4",
        "history 5-19",
        "history 500+",
    ]
    counts = np.array([5, 50, 30, 0, 15])
    labels = by_popularity(np.array([1, 2, 4, 0, 3]), counts)
    assert labels.tolist() == ["item head", "item mid", "item tail", "item tail", "item cold"]
    groups = grouped({"HR@1": np.array([1.0, 0, 1, 0, 0])}, labels)
    assert list(groups) == ["item head", "item mid", "item tail", "item cold"]
    assert groups["item tail"] == {"queries": 2, "HR@1": 0.5}


def test_the_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        hits = (generator.random(300) < 0.3).astype(float)
        low, high = intervals({"HR@10": hits}, np.arange(300), seed=trial, samples=300)["HR@10"]
        covered += low <= 0.3 <= high
    assert 0.9 <= covered / 200 <= 0.985


def test_users_are_drawn_and_not_queries():
    hits = np.repeat((np.random.default_rng(0).random(100) < 0.5).astype(float), 25)
    as_users = intervals({"x": hits}, np.repeat(np.arange(100), 25))["x"]
    as_queries = intervals({"x": hits}, np.arange(2500))["x"]
    assert np.diff(as_users)[0] > 4 * np.diff(as_queries)[0]
    assert as_users == intervals({"x": hits}, np.repeat(np.arange(100), 25))["x"]
