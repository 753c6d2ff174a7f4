"""The numbers of a table against hand-computed ones."""

import json

import numpy as np
import pytest
from comparisons import HEAD, HYDRA, MARKOV, SMALL, made_record

from hydrarec.compare.assemble import assemble
from hydrarec.compare.rows import best_rival
from hydrarec.errors import InputError

# Two rivals and a model of ours, none with a grid.
PLAIN = HYDRA.partition("[model.grid]")[0]
TEXT = HEAD + PLAIN + SMALL + MARKOV


@pytest.fixture
def plan(plan_of):
    return plan_of(TEXT)


def fill(plan, table="shop-loo", **results):
    """Results by ``LABEL_SEED``: the NDCG@10 of the queries, or these with changes."""
    slots = {slot.name: slot for slot in plan.slots()}
    for name, values in results.items():
        values, changes = values if isinstance(values, tuple) else (values, {})
        made_record(plan, slots[f"{table}/{name.replace('_', '-')}"], values, **changes)


def rows_of(plan, place=0):
    return {row.label: row for row in assemble(plan)[place].rows}


def test_means_and_spread_over_seeds_and_the_difference_to_the_rival(plan):
    fill(
        plan,
        hydra_1=[1.0, 0.5, 0.0, 0.5],  # mean .5
        hydra_2=[1.0, 0.5, 0.4, 0.5],  # mean .6
        small_1=([0.5, 0.5, 0.0, 0.0], {"validation": 0.3}),  # mean .25
        small_2=([0.5, 0.0, 0.0, 0.0], {"validation": 0.1}),  # mean .125
        markov_1=([0.0, 0.0, 0.0, 0.5], {"validation": 0.15}),
    )
    (table,) = assemble(plan)
    assert [row.label for row in table.rows] == ["hydra", "small", "markov"]
    rows = {row.label: row for row in table.rows}
    hydra, small, markov = (rows[label] for label in ("hydra", "small", "markov"))
    assert hydra.metrics == pytest.approx({"HR@10": 0.875, "NDCG@10": 0.55}, abs=1e-7)
    assert hydra.spread == pytest.approx({"HR@10": np.sqrt(0.03125), "NDCG@10": np.sqrt(0.005)}, abs=1e-7)
    assert (hydra.seeds, markov.seeds, markov.spread) == ([1, 2], [1], {})
    assert small.validation == pytest.approx(0.2)
    assert hydra.rival == markov.rival == "small"
    assert hydra.difference == pytest.approx(0.55 / 0.1875 - 1)
    assert markov.difference == pytest.approx(0.125 / 0.1875 - 1)
    assert (small.rival, small.difference, small.p) == (None, None, None)
    # Differences .5, .25, .2, .5: of the 16 choices of signs, the two with equal signs are as large.
    assert hydra.p == pytest.approx(2 / 16, abs=0.02)
    low, high = hydra.intervals["NDCG@10"]
    assert 0.2 <= low < 0.55 < high <= 1.0
    low, high = hydra.intervals["HR@10"]
    assert 0.5 <= low < 0.875 < high <= 1.0
    assert table.missing == []
    assert (table.data["users"], table.targets) == (6040, {"users": 4, "queries": 4})


def test_results_without_hits_have_one_interval(plan):
    fill(plan, hydra_1=[0.5, 0.25], hydra_2=[0.5, 0.0])
    slot = next(slot for slot in plan.slots() if slot.name == "shop-loo/hydra-2")
    found = json.loads(plan.file(slot).read_text())
    del found["hr10"]
    plan.file(slot).write_text(json.dumps(found))
    assert list(rows_of(plan)["hydra"].intervals) == ["NDCG@10"]


def test_costs_are_means_but_memory_is_the_largest(plan):
    fill(plan, hydra_1=[1.0], hydra_2=([1.0], {"seconds": 300.0, "peak_memory_bytes": 2**30}))
    costs = rows_of(plan)["hydra"].costs
    assert costs["seconds_to_best"] == pytest.approx(160)
    assert costs["cpu_seconds_to_best"] == pytest.approx(140)
    assert (costs["peak_memory_bytes"], costs["encoder"], costs["items"]) == (2**30, 93_648, 640)


def test_the_rival_is_the_best_on_validation_not_on_test(plan):
    fill(plan, hydra_1=[0.5, 0.5], small_1=([0.1, 0.1], {"validation": 0.3}), markov_1=[0.4, 0.4])
    assert rows_of(plan)["hydra"].rival == "small"
    assert assemble(plan)[0].rivals_by == "validation"


def test_without_validation_the_other_table_tells_the_rival_or_else_the_test(plan):
    none = {"validation": None}
    fill(plan, "shop-hstu", hydra_1=([0.5], none), small_1=([0.2], none), markov_1=([0.3], none))
    (table,) = assemble(plan)
    assert (table.rivals_by, table.chosen_on, table.rows[0].rival) == ("test", "shop-loo", "markov")
    fill(plan, small_1=([0.2], {"validation": 0.4}), markov_1=[0.3])
    _, table = assemble(plan)
    assert (table.rivals_by, table.rows[0].rival) == ("validation", "small")


def test_who_does_not_see_the_time_of_the_request_is_not_held_against_who_does(plan):
    seeing = {"validation": 0.9, "sees_request_time": True}
    fill(plan, hydra_1=[0.5, 0.4], small_1=([0.6, 0.6], seeing), markov_1=[0.1, 0.3])
    rows = rows_of(plan)
    assert (rows["hydra"].rival, rows["small"].rival, rows["markov"].rival) == ("markov", None, None)
    assert best_rival(rows["small"], list(rows.values()), {"small": 0.1, "markov": 0.2}).label == "markov"


def test_queries_of_one_user_count_as_one_in_the_test(plan):
    users = np.repeat([3, 8], 50)
    one, other = np.full(100, 0.5), np.full(100, 0.25)
    fill(plan, hydra_1=(one, {"users": users}), markov_1=(other, {"users": users}))
    row = rows_of(plan)["hydra"]
    assert row.difference == pytest.approx(1.0)
    assert row.p == pytest.approx(0.5, abs=0.02)
    assert assemble(plan)[0].targets == {"users": 2, "queries": 100}


def test_a_part_of_the_rows_is_held_against_the_rival_all_the_same(plan, plan_of):
    fill(plan, hydra_1=[0.5], small_1=([0.25], {"validation": 0.3}), markov_1=[0.1])
    part = plan_of(TEXT, labels=("hydra",), tables=("shop-loo",))
    (table,) = assemble(part)
    (row,) = table.rows
    assert (row.label, row.rival, row.difference) == ("hydra", "small", pytest.approx(1.0))
    assert table.missing == ["shop-loo/hydra-2"]


def test_without_results_there_is_no_table(plan):
    assert assemble(plan) == []


def test_results_of_different_data_are_not_put_side_by_side(plan):
    fill(plan, hydra_1=[0.5], markov_1=([0.1], {"fingerprint": "e" * 64}))
    with pytest.raises(InputError, match="shop-loo are of different data"):
        assemble(plan)


def test_results_with_different_targets_are_not_put_side_by_side(plan):
    fill(plan, hydra_1=[0.5, 0.1], hydra_2=[0.5])
    with pytest.raises(InputError, match="hydra have different numbers of targets"):
        assemble(plan)
    fill(plan, hydra_2=[0.5, 0.1], markov_1=[0.1])
    with pytest.raises(InputError, match="hydra and markov have different targets"):
        assemble(plan)
