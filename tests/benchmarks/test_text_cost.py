"""Bar 4: costs read off curves, and their ratio."""

import cost
import numpy as np
import pytest

SHOPS = ("beauty", "toys")


def made_record(values, *, flops=120.0, seconds=10.0, training=1.0):
    """A run whose validation in each shop went as ``values`` by shop say, one an epoch."""
    overall = np.mean(list(values.values()), axis=0).tolist()
    n = len(overall)
    return {
        "curve": [[e + 1, value, seconds * (e + 1), 0.5 * seconds * (e + 1)] for e, value in enumerate(overall)],
        "domain_curves": values,
        "cost": {"flops": flops},
        "epochs": n,
        "best_epoch": int(np.argmax(overall)) + 1,
        "seconds": seconds * n,
        "events": 1000,
        "events_per_second": 1000 / (seconds * n) / training,
    }


@pytest.mark.parametrize(
    ("quality", "expected"),
    [(0.05, 10.0), (0.1, 10.0), (0.15, 15.0), (0.2, 20.0), (0.25, 35.0), (0.3, 40.0), (0.31, None)],
)
def test_cost_to_a_quality_lies_straight_between_validations(quality, expected):
    costs, values = np.array([10.0, 20, 30, 40]), np.array([0.1, 0.2, 0.2, 0.3])
    found = cost.cost_to(costs, values[None] / quality)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_a_curve_that_falls_again_counts_where_it_first_got_there():
    assert cost.cost_to(np.array([1.0, 2, 3]), np.array([[0.5, 1.5, 1.0]])) == pytest.approx(1.5)


def test_costs_of_a_run_in_each_unit():
    record = made_record({"beauty": [0.1, 0.2, 0.3]}, flops=90.0, training=0.8)  # a fifth of the time validates
    for unit, expected in (("flops", [30, 60, 90]), ("seconds", [8, 16, 24]), ("cpu_seconds", [4, 8, 12])):
        costs, values = cost.points(record, "beauty", unit)
        assert costs == pytest.approx(expected)
        assert values.tolist() == [0.1, 0.2, 0.3]


def test_one_model_must_be_good_enough_everywhere_and_with_every_seed():
    slow = made_record({"beauty": [0.3, 0.3, 0.3], "toys": [0.1, 0.1, 0.3]}, flops=30.0)
    fast = made_record({"beauty": [0.3, 0.3, 0.3], "toys": [0.3, 0.3, 0.3]}, flops=30.0)
    never = made_record({"beauty": [0.1, 0.1, 0.1], "toys": [0.3, 0.3, 0.3]}, flops=30.0)
    want = {"beauty": 0.3, "toys": 0.3}
    assert cost.cheapest({3: [slow]}, want, "flops") == (30.0, 3)
    assert cost.cheapest({3: [slow, fast]}, want, "flops") == (20.0, 3)  # the mean of 30 and 10
    assert cost.cheapest({3: [slow, never]}, want, "flops") is None
    assert cost.cheapest({3: [slow, never]}, {"toys": 0.3}, "flops") == (20.0, 3)
    assert cost.cheapest({3: [never], 6: [slow], 12: [fast]}, want, "flops") == (10.0, 12)


def test_what_is_good_in_one_shop_after_another_is_not_good_in_all():
    crossing = {"beauty": [0.3, 0.2, 0.2, 0.2], "toys": [0.1, 0.2, 0.3, 0.3]}
    want = {"beauty": 0.3, "toys": 0.3}
    assert cost.cheapest({4: [made_record(crossing)]}, want, "flops") is None
    meeting = {**crossing, "beauty": [0.3, 0.2, 0.2, 0.4]}
    assert cost.cheapest({4: [made_record(meeting, flops=40.0)]}, want, "flops") == (pytest.approx(35.0), 4)


def test_equal_steps_are_no_gain_and_transfer_is():
    """Four models to the same quality in the same number of epochs cost as much as one that reads all they read."""
    alone = {shop: {3: [made_record({shop: [0.1, 0.2, 0.3]}, flops=30.0)]} for shop in SHOPS}
    alone = {shop: {**own, 6: own[3], 12: own[3]} for shop, own in alone.items()}

    def of(values):
        record = [made_record(dict.fromkeys(SHOPS, values), flops=60.0)]
        return cost.found_of(dict.fromkeys(cost.BUDGETS, record), alone)

    same = of([0.1, 0.2, 0.3])
    assert same["ratios"]["operations"] == pytest.approx(1.0)
    assert same["met"] is False
    assert same["lower"] == dict.fromkeys(cost.LOWER, pytest.approx(1.0))
    assert same["equal"] == {"flops": 60.0, "epochs": 3, "beauty": 0.3, "toys": 0.3}
    sooner = of([0.3, 0.4, 0.5])
    assert sooner["qualities"]["toys"] == pytest.approx(0.98 * 0.3)
    assert sooner["ratios"]["operations"] == pytest.approx(20 / (2 * (20 + 10 * (0.294 - 0.2) / 0.1)))
    assert sooner["met"] is True
    assert sooner["equal"]["toys"] == 0.5
    never = of([0.1, 0.1, 0.1])
    assert never["joint"]["flops"] is None
    assert set(never["lower"].values()) == {None}
    assert never["ratios"]["seconds"] is None
    assert never["met"] is None


def test_equal_compute_takes_no_more_than_there_is():
    long = made_record({shop: [0.1, 0.2, 0.3, 0.9] for shop in SHOPS}, flops=400.0)
    short = made_record({"beauty": [0.2, 0.4], "toys": [0.2, 0.2]}, flops=200.0)
    assert cost.at_most({4: [long], 2: [short]}, 150.0, SHOPS) == {"epochs": 2, "beauty": 0.2, "toys": 0.2}
    assert cost.at_most({4: [long], 2: [short]}, 250.0, SHOPS) == {"epochs": 2, "beauty": 0.4, "toys": 0.2}
    assert cost.at_most({4: [long], 2: [short]}, 400.0, SHOPS) == {"epochs": 4, "beauty": 0.9, "toys": 0.9}
    assert cost.at_most({4: [long]}, 350.0, SHOPS) == {"epochs": 4, "beauty": 0.3, "toys": 0.3}
    assert cost.at_most({4: [long]}, 50.0, SHOPS) == {"epochs": None}


def test_reading_titles_counts_on_both_sides():
    found = {"joint": {"flops": (40.0, 3)}, "alone": {"flops": {"beauty": (50.0, 3), "toys": (50.0, 6)}}}
    titles = {"flops_per_token": 2, "shops": {"beauty": {"tokens": 20}, "toys": {"tokens": 30}}}
    assert cost.ratio(found["joint"]["flops"], list(found["alone"]["flops"].values())) == 0.4
    assert cost.with_titles(found, titles) == (40 + 100) / (100 + 100)


def test_screens_are_80_columns(capsys):
    records = {e: [made_record({"beauty": [0.1, 0.2], "clothing": [0.1, 0.3]}, flops=9e15)] for e in cost.BUDGETS}
    alone = {
        shop: {e: [made_record({shop: [0.1, 0.2]}, flops=8e15)] for e in cost.BUDGETS}
        for shop in ("beauty", "clothing")
    }
    found = cost.found_of(records, alone)
    cost.show(found)
    cost.show({"missing": ["beauty, 3 epochs"]})
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert "R, operations: 0." in shown
    assert "reached" in shown
    assert "runs are missing: beauty, 3 epochs" in shown
