"""The domain of every item: from a column of the events, in the item table, counted."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data.describe import describe_domains
from hydrarec.data.domains import domains_of
from hydrarec.data.prepare import prepare
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError

FRAME = pd.DataFrame(
    {
        "user": [1, 1, 2, 2, 2, 3],
        "item": [7, 5, 9, 7, 5, 8],
        "time": [1, 2, 3, 4, 5, 6],
        "domain": ["toys", "books", "games", "toys", "books", "games"],
    }
)


def test_a_column_of_the_events_gives_every_item_its_domain(tmp_path):
    said = []
    dataset = prepare(FRAME, tmp_path / "set", log=said.append)
    assert dataset.domains == ["books", "games", "toys"]
    assert dataset.item_domains.tolist() == [0, 2, 1, 1]  # items 5, 7, 8, 9
    assert dataset.item_domains.dtype == np.int16
    assert dataset.item_table.column_names == ["item", "events", "domain"]
    assert dataset.columns == {}
    assert "2 users with events in several domains" in said
    back = dataset.save(tmp_path / "again")
    assert (back.domains, back.item_domains.tolist()) == (dataset.domains, dataset.item_domains.tolist())


def test_without_domains():
    plain = prepare(FRAME.drop(columns="domain"))
    assert (plain.domains, plain.item_domains) == ([], None)
    assert describe_domains(plain) == {}
    assert prepare(FRAME, domain=False).fingerprint == plain.fingerprint  # and no column is guessed


def test_the_column_may_have_any_name_and_type(tmp_path):
    numbers = FRAME.assign(shop=FRAME["domain"].map({"books": 10, "toys": 9, "games": 2})).drop(columns="domain")
    assert prepare(numbers).domains == []
    assert prepare(numbers, domain="shop").domains == ["10", "2", "9"]
    numbers.to_csv(tmp_path / "events.csv", index=False)
    assert prepare(tmp_path / "events.csv", domain="shop").fingerprint == prepare(numbers, domain="shop").fingerprint


def test_a_domain_without_items_in_the_core_is_gone():
    dataset = prepare(FRAME, min_item=2)
    assert dataset.domains == ["books", "toys"]
    assert dataset.item_domains.tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["frame", "file"])
def test_an_item_in_two_domains_is_refused(kind, tmp_path):
    frame = pd.concat([FRAME, pd.DataFrame({"user": [9], "item": [5], "time": [9], "domain": ["toys"]})])
    frame.to_csv(tmp_path / "events.csv", index=False)
    place = {"frame": "the pandas DataFrame", "file": r"events\.csv"}[kind]
    message = f"{place}: item 5 has events in two domains, 'books' and 'toys'.*such as 'books:5'.*leave the column out"
    with pytest.raises(InputError, match=message):
        prepare(frame if kind == "frame" else tmp_path / "events.csv")


@pytest.mark.parametrize("bad", [None, ""])
def test_an_event_without_a_domain_is_refused(bad):
    with pytest.raises(InputError, match=r"row 2 after the header, column domain: .* is no domain"):
        prepare(FRAME[:2].assign(domain=["a", bad]))


def test_text_of_items_does_not_become_their_domain():
    text = pd.DataFrame({"item": [5, 7], "domain": ["x", "y"]})
    dataset = prepare(FRAME, items=text)
    assert dataset.item_table["domain"].to_pylist() == ["books", "toys", "games", "games"]
    assert dataset.item_table["domain_"].to_pylist() == ["x", "y", None, None]
    assert prepare(FRAME, items=text, domain=False).domains == []


def test_the_fingerprint_sees_domains():
    other = FRAME.replace({"domain": {"games": "jeux"}})
    prints = {prepare(frame).fingerprint for frame in (FRAME, other, FRAME.drop(columns="domain"))}
    assert len(prints) == 3
    prepare(FRAME).verify()


def test_arrays_with_domains(tmp_path):
    names = pa.array(["b", "a", "b"]).dictionary_encode()
    dataset = Dataset.from_arrays([0, 1, 2], [0, 3], item_columns={"domain": names})
    assert (dataset.domains, dataset.item_domains.tolist()) == (["a", "b"], [1, 0, 1])
    dataset.save(tmp_path / "set").verify()


def test_some_items_without_a_domain():
    table = pa.table({"item": ["x", "y"], "events": [1, 1], "domain": ["a", None]})
    with pytest.raises(InputError, match="item 'y' has no domain"):
        domains_of(table)


def test_more_domains_than_codes():
    names = [str(n) for n in range(2**15 + 1)]
    table = pa.table({"item": names, "domain": names})
    with pytest.raises(InputError, match="32,769 domains; at most 32,768"):
        domains_of(table)
    found, codes = domains_of(table.slice(0, 2**15))
    assert [found[code] for code in codes] == names[:-1]


@given(st.lists(st.lists(st.integers(0, 8), max_size=6), min_size=1, max_size=9), st.integers(1, 20))
@settings(max_examples=60)
def test_counts_by_domain(histories, cells):
    names = ["b", "a", "c", "a", "b", "a", "c", "d", "d"]
    offsets = np.cumsum([0, *map(len, histories)])
    items = np.array([item for history in histories for item in history], np.int32)
    dataset = Dataset.from_arrays(items, offsets, item_ids=np.arange(9), item_columns={"domain": names})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hydrarec.data.describe._CELLS", cells)  # a few users at a time
        found = describe_domains(dataset)
    assert list(found) == ["a", "b", "c", "d"]
    for name, counts in found.items():
        inside = [[names[item] == name for item in history] for history in histories]
        assert counts["events"] == sum(map(sum, inside))
        assert counts["users"] == sum(map(any, inside))
        assert counts["items"] == names.count(name)
