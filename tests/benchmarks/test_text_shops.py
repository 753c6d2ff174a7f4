"""The data sets of benchmarks/text: who is who, what is held back, who is asked."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
import shops
from hypothesis import given
from hypothesis import strategies as st
from small_shops import ROOT, SHOPS, USERS
from targets import shared, targets_of

from hydrarec.compare.choices import points, settings_of
from hydrarec.compare.spec import read_spec
from hydrarec.data.prefix import training_events
from hydrarec.data.split import split
from hydrarec.data.store import Dataset


def opened(name):
    return Dataset.open(shops.made(name))


def histories(dataset):
    users, ids = dataset.user_table["user"].to_pylist(), np.array(dataset.item_table["item"].to_pylist())
    offsets = dataset.offsets
    return {user: ids[dataset.items[offsets[row] : offsets[row + 1]]].tolist() for row, user in enumerate(users)}


def test_a_reviewer_of_two_shops_has_one_history_with_both_in_their_order(sources):
    two = histories(opened("two"))
    alone = {shop: histories(opened(shop)) for shop in ("beauty", "toys")}
    both = set(alone["beauty"]) & set(alone["toys"])
    assert len(both) == USERS // 3
    assert len(two) == 2 * USERS - len(both)
    for user, history in two.items():
        for shop, own in alone.items():
            assert [item for item in history if item.startswith(f"{shop}:")] == own.get(user, [])


def test_others_are_told_apart_by_their_shop(sources):
    four = opened("four")
    users = four.user_table["user"].to_pylist()
    assert {user.partition(":")[0] for user in users if ":" in user} == {"health", "clothing"}
    assert four.domains == sorted(SHOPS)
    assert four.item_table.column_names == ["item", "events", "domain", "title"]  # codes are no text
    assert shops.shops_of("without-toys") == ("beauty", "health", "clothing")
    assert opened("without-toys").domains == ["beauty", "clothing", "health"]
    assert shops.made("four").samefile(sources / "runs/text/four")


def test_most_questions_of_a_shop_are_asked_in_all_shops_too(sources):
    alone, both = (targets_of(data, data.protocol) for data in (opened("beauty"), opened("two")))
    here, there = shared(alone, both)
    assert USERS * 2 // 3 <= len(here) < USERS
    assert set(both.domains[there]) == {"beauty"}


def test_apart_the_questions_are_those_of_the_single_shops(sources):
    apart = opened("two-apart")
    assert apart.n_users == 2 * USERS
    assert shops.shops_of("four-apart") == shops.SHOPS
    for part in ("valid", "test"):
        both = targets_of(apart, apart.protocol, part)
        for shop in ("beauty", "toys"):
            own = targets_of(opened(shop), apart.protocol, part)
            asked = sorted(zip(both.items.to_pylist(), both.events.tolist(), strict=True))
            expected = sorted(zip(own.items.to_pylist(), own.events.tolist(), strict=True))
            assert [each for each in asked if each[0].startswith(f"{shop}:")] == expected


def test_chances_are_those_of_the_hash_and_even():
    digest = hashlib.sha256(b"cold beauty:100").hexdigest()
    assert shops.chances("cold", ["beauty:100"])[0] == int(digest[:16], 16) / 2**64
    many = shops.chances("cold", [f"toys:{i}" for i in range(20_000)])
    assert np.histogram(many, 10, (0, 1))[0] == pytest.approx(np.full(10, 2000), abs=200)
    assert abs(np.corrcoef(many, shops.chances("adapt", [f"toys:{i}" for i in range(20_000)]))[0, 1]) < 0.03


HISTORIES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=6)


@given(HISTORIES, st.sets(st.integers(0, 5)))
def test_what_is_held_back_is_asked_for_and_never_learned(lists, chosen):
    dataset = Dataset.from_arrays(
        np.concatenate(lists), np.cumsum([0, *map(len, lists)]), item_ids=np.arange(6), protocol=shops.PROTOCOL
    )
    cold = np.isin(np.arange(6), list(chosen))
    stay = shops.without_cold(dataset, cold)
    if not stay.any() or max(map(len, lists)) < 3:
        return
    left = shops.kept(dataset, stay)
    ends = np.asarray(left.offsets)[1:]
    trained = ends if np.diff(left.offsets).max() < 3 else split(left).train_ends
    assert not cold[training_events(left, trained)[0]].any()
    # Whatever is not held back stays, and so do the last two events where one is left to learn from.
    warm = ~cold[np.asarray(dataset.items)]
    assert stay[warm].all()
    for first, end in zip(dataset.offsets, dataset.offsets[1:], strict=False):
        learned = warm[first : max(first, end - 2)].any()
        assert not learned or stay[end - 2 : end].all()


def test_the_cold_shop(sources, monkeypatch):
    monkeypatch.setattr(shops, "COLD", 0.3)
    whole, cold = opened("two"), opened("cold-two")
    assert cold.item_table["item"].equals(whole.item_table["item"])
    held = shops.is_cold(cold.item_table["item"])
    counts = np.bincount(training_events(cold, split(cold).train_ends)[0], minlength=cold.n_items)
    assert 0 < held.sum() < cold.n_items
    assert not counts[held].any()
    assert held[np.asarray(cold.items)[split(cold).test]].any()


def test_shares_of_users_lie_in_each_other_and_apart_from_the_rest(sources, monkeypatch):
    monkeypatch.setattr(shops, "SHARES", (10, 30, 50))
    found = {name: opened(name) for name in ("adapt-health-10", "adapt-health-30", "adapt-health-50", "rest-health")}
    users = [set(each.user_table["user"].to_pylist()) for each in found.values()]
    assert users[0] < users[1] < users[2]
    assert not users[2] & users[3]
    assert len(users[2] | users[3]) == USERS
    catalog = opened("health").item_table
    for each in found.values():
        assert each.item_table.select(["item", "domain", "title"]).equals(catalog.select(["item", "domain", "title"]))
        mine, whole = histories(each), histories(opened("health"))
        assert all(whole[user] == history for user, history in mine.items())


def test_kept_leaves_times_and_ids_where_they_belong():
    dataset = Dataset.from_arrays(
        np.array([0, 1, 2, 1, 0]),
        np.array([0, 2, 3, 5]),
        times=np.array([5, 6, 7, 8, 9]),
        user_ids=["a", "b", "c"],
        item_columns={"title": pa.array(["x", "y", "z"])},
    )
    left = shops.kept(dataset, np.array([True, True, False, False, True]))
    assert left.user_table["user"].to_pylist() == ["a", "c"]
    assert (left.items.tolist(), left.times.tolist(), left.offsets.tolist()) == ([0, 1, 0], [5, 6, 9], [0, 2, 3])
    assert left.item_table["title"].to_pylist() == ["x", "y", "z"]
    assert left.item_table["events"].to_pylist() == [2, 1, 0]


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks" / "text").glob("*.toml")), ids=lambda file: file.stem)
def test_comparisons_ask_for_what_there_is(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    spec = read_spec(file)
    for found in spec.tables():
        assert found.protocol == shops.PROTOCOL
        assert set(shops.shops_of(str(found.data.source).split("/")[-1].removeprefix("cold-"))) <= set(SHOPS)
        for model in spec.model:
            for point in points(spec, model):
                settings = settings_of(spec, found, model, point, 1)
                assert settings.train.max_len == 50
                assert settings.loss.precision == "bfloat16"
