"""Days added to a data set, against the data set prepared from all events at once."""

import json
import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv

from hydrarec.cli import main
from hydrarec.data.append import append
from hydrarec.data.days import described, join
from hydrarec.data.prepare import prepare
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError


def table(rows, text=False):
    user, item, when = zip(*rows, strict=True)
    ids = [f"i{each}" for each in item] if text else list(item)
    return pa.table({"user": list(user), "item": ids, "time": list(when)})


def histories(dataset):
    """User id -> [(item id, time), ...], whatever the rows."""
    users, items = dataset.user_table["user"].to_pylist(), dataset.item_table["item"].to_pylist()
    pairs = [(items[row], int(when)) for row, when in zip(dataset.items, dataset.times, strict=True)]
    bounds = zip(dataset.offsets[:-1], dataset.offsets[1:], strict=True)
    return {user: pairs[a:b] for user, (a, b) in zip(users, bounds, strict=True)}


EVENT = st.tuples(st.integers(1, 6), st.integers(1, 9))


@given(st.lists(st.lists(EVENT, min_size=1, max_size=12), min_size=2, max_size=4), st.booleans())
@settings(max_examples=10)
def test_days_one_by_one_are_all_events_at_once(days, late):
    moments = iter(range(10**6, 10**7, 7))
    dated = [[(user, item, next(moments)) for user, item in day] for day in days]
    if late:  # a straggler of an hour before everything
        dated[-1].append((1, 3, 10**6 - 3600))
    parts = [prepare(table(day), least_items=1) for day in dated]
    joined = parts[0]
    for part in parts[1:]:
        joined = join(joined, part)
    expected = prepare(table([event for day in dated for event in day]), least_items=1)
    assert histories(joined) == histories(expected)
    for name, key in (("item_table", "item"), ("user_table", "user")):
        got, wanted = getattr(joined, name), getattr(expected, name)
        assert got.sort_by(key).equals(wanted)
    rows = parts[0].n_items
    assert joined.item_table["item"].to_pylist()[:rows] == parts[0].item_table["item"].to_pylist()
    assert len(joined.lineage) == len(days) - 1
    assert described(joined).statistics == {**expected.statistics, "days": len(days) - 1}


@pytest.mark.parametrize("time", [None, False])
def test_an_appended_data_set_is_described_like_one_of_all_events(tmp_path, time, capsys):
    first, second = [(1, 1, 100), (1, 2, 100), (2, 1, 150)], [(1, 1, 100), (2, 9, 150), (3, 2, 90), (3, 2, 90)]
    options = {"time": time, "protocol": "loo"}
    csv.write_csv(table(first), tmp_path / "events.csv")
    prepare(tmp_path / "events.csv", tmp_path / "days", **options)
    append(table(second), tmp_path / "days", time=time)
    csv.write_csv(table(first + second), tmp_path / "events.csv")
    prepare(tmp_path / "events.csv", tmp_path / "once", **options)
    told = []
    for name in ("days", "once"):
        assert main(["info", str(tmp_path / name), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    days, once = ({k: v for k, v in each.items() if k not in ("dataset", "fingerprint")} for each in told)
    assert days.pop("statistics") == {**once.pop("statistics"), "days": 1}
    assert days == once


FIRST = [(1, 1, 100), (1, 2, 200), (2, 1, 150)]


def test_nothing_that_was_there_is_written_again(tmp_path):
    first = prepare(table(FIRST), tmp_path / "data", protocol="loo")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    second = append(table([(2, 7, 300), (3, 2, 310)]), tmp_path / "data")
    third = append(table([(1, 9, 400)]), tmp_path / "data")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert third.lineage == (first.fingerprint, second.fingerprint)
    assert histories(third) == {1: [(1, 100), (2, 200), (9, 400)], 2: [(1, 150), (7, 300)], 3: [(2, 310)]}
    again = Dataset.open(tmp_path / "data")
    assert again.fingerprint == third.fingerprint
    again.verify()
    assert histories(Dataset.open(tmp_path / "data", upto=second.fingerprint)) == histories(second)
    assert histories(Dataset.open(tmp_path / "data", upto=first.fingerprint)) == histories(first)
    with pytest.raises(InputError, match="never was"):
        Dataset.open(tmp_path / "data", upto="0" * 64)
    assert again.save(tmp_path / "one").n_events == 6  # joined into one folder


def test_a_damaged_day_is_found(tmp_path):
    prepare(table(FIRST), tmp_path / "data", protocol="loo")
    append(table([(2, 7, 300)]), tmp_path / "data")
    day = tmp_path / "data" / "days" / "00001"
    items = np.load(day / "times.npy")
    np.save(day / "times.npy", items + 1)
    with pytest.raises(InputError, match="differs from its fingerprint"):
        Dataset.open(tmp_path / "data").verify()
    os.truncate(day / "items.npy", 10)
    with pytest.raises(InputError, match=r"00001/items\.npy is truncated"):
        Dataset.open(tmp_path / "data")


@pytest.mark.parametrize(
    ("day", "options", "message"),
    [
        (table([(1, 1, 5)], text=True), {}, r"item ids are whole numbers .* text .*, such as 'i1'; give them as whole"),
        (table([(1, 1, 5)]), {"time": False}, "has times"),
        (table([(1, 1, 5)]), {"min_user": 2}, "--min-user cannot be told from one day"),
        (pa.table({"user": [1], "time": [1]}), {}, "item"),
    ],
)
def test_what_does_not_go_with_the_rest_changes_nothing(tmp_path, day, options, message):
    prepare(table(FIRST), tmp_path / "data", protocol="loo")
    with pytest.raises(InputError, match=message):
        append(day, tmp_path / "data", **options)
    assert Dataset.open(tmp_path / "data").lineage == ()


def test_a_day_is_added_once(tmp_path):
    prepare(table(FIRST), tmp_path / "data", protocol="loo")
    days = [table([(1, 5, 900), (2, 5, 905)]), table([(1, 7, 950)])]
    for day in days:
        append(day, tmp_path / "data")
    lineage = Dataset.open(tmp_path / "data").lineage
    for again, what in (
        (days[0], "those of day 1"),
        (days[1], "those of day 2"),
        (table(FIRST), "that it was made of"),
    ):
        with pytest.raises(InputError, match=f"has these events already, .*{what}; nothing was added"):
            append(again, tmp_path / "data")
    assert Dataset.open(tmp_path / "data").lineage == lineage
    assert append(table([(1, 5, 901), (2, 5, 905)]), tmp_path / "data").n_events == len(FIRST) + 5


def test_without_times_the_same_may_happen_again(tmp_path):
    prepare(table(FIRST).drop("time"), tmp_path / "data", protocol="loo", time=False)
    for _ in range(2):
        append(table([(1, 5, 900)]).drop("time"), tmp_path / "data", time=False)
    assert Dataset.open(tmp_path / "data").n_events == len(FIRST) + 2


def test_the_command(tmp_path, capsys):
    csv.write_csv(table(FIRST), tmp_path / "base.csv")
    csv.write_csv(table([(1, 5, 900)]), tmp_path / "day.csv")
    words = ["prepare", str(tmp_path / "base.csv"), "--out", str(tmp_path / "data"), "--protocol", "loo"]
    assert main(words) == 0
    capsys.readouterr()
    more = ["prepare", str(tmp_path / "day.csv"), "--out", str(tmp_path / "data"), "--append"]
    assert main([*more, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["events"], found["items"], found["protocol"]) == (4, 3, "loo")
    assert main([*more, "--overwrite"]) == 2
    assert main(["prepare", str(tmp_path / "day.csv"), "--out", str(tmp_path / "none"), "--append"]) == 2


def test_a_day_whose_ids_all_look_like_numbers_has_text_where_the_data_set_has(tmp_path):
    base = [("u1", "a", 100), ("7", "b", 110), ("u1", "5", 120), ("7", "007", 130)]
    csv.write_csv(table(base), tmp_path / "base.csv")
    csv.write_csv(table([(7, 5, 200), (8, 6, 210)]), tmp_path / "day.csv")
    prepare(tmp_path / "base.csv", tmp_path / "data", protocol="loo")
    joined = append(tmp_path / "day.csv", tmp_path / "data")
    assert histories(joined) == {
        "7": [("b", 110), ("007", 130), ("5", 200)],
        "8": [("6", 210)],
        "u1": [("a", 100), ("5", 120)],
    }
    assert joined.item_table["item"].to_pylist() == ["007", "5", "a", "b", "6"]
    assert joined.item_table["events"].to_pylist() == [1, 2, 1, 1, 1]
    Dataset.open(tmp_path / "data").verify()


def test_text_that_comes_later(tmp_path):
    events = {"user": [1, 2, 1], "item": [1, 2, 3], "time": [5, 6, 7]}
    text = pa.table({"item": [1, 2], "title": ["One", None], "colour": [None, None]})
    prepare(pa.table(events), tmp_path / "set", items=text)
    day = pa.table({"item": [3, 2, 1, 4], "title": ["Three", "Two", "Uno", "Four"]})
    more = pa.table({"user": [1, 2, 3, 3], "item": [1, 2, 3, 4], "time": [8, 9, 10, 11]})
    joined = append(more, tmp_path / "set", items=day)
    assert joined.item_table["title"].to_pylist() == ["One", "Two", "Three", "Four"]
    assert joined.item_table["events"].to_pylist() == [2, 2, 2, 1]


def test_domains_that_were_not_there_are_named(tmp_path):
    events = {"user": [1, 2], "item": [1, 2], "time": [5, 6]}
    prepare({"books": pa.table(events), "tea": pa.table(events)}, tmp_path / "set")
    lines = []
    day = {"books": pa.table(events), "toys": pa.table(events)}
    joined = append(day, tmp_path / "set", log=lines.append)
    assert joined.domains == ["books", "tea", "toys"]
    assert [line for line in lines if line.startswith("warning: toys are domains that were not there before")]


def test_one_of_several_files_is_of_the_domain_of_its_name(tmp_path):
    for name, rows in (("books", FIRST), ("tea", [(1, 1, 120), (2, 3, 170)])):
        csv.write_csv(table(rows), tmp_path / f"{name}.csv")
    files = [tmp_path / "books.csv", tmp_path / "tea.csv"]
    prepare(files, tmp_path / "set", protocol="loo")
    csv.write_csv(table([(2, 1, 300), (2, 7, 310)]), tmp_path / "tea.csv")
    joined = append(tmp_path / "tea.csv", tmp_path / "set")
    assert joined.domains == ["books", "tea"]
    assert histories(joined)[2] == [("books:1", 150), ("tea:3", 170), ("tea:1", 300), ("tea:7", 310)]
    words = ["prepare", str(tmp_path / "tea.csv"), "--out", str(tmp_path / "set"), "--append"]
    csv.write_csv(table([(2, 1, 400)]), tmp_path / "tea.csv")
    assert main(words) == 0
    assert Dataset.open(tmp_path / "set").n_items == joined.n_items
    csv.write_csv(table(FIRST), tmp_path / "toys.csv")  # nobody knows whether that is another one
    assert main([*words[:1], str(tmp_path / "toys.csv"), *words[2:]]) == 2


def test_a_file_called_as_a_domain_of_a_column_does_not_change_its_ids(tmp_path):
    shops = table(FIRST).append_column("domain", pa.array(["books", "tea", "books"]))
    prepare(shops, tmp_path / "set", protocol="loo")
    csv.write_csv(table(FIRST), tmp_path / "tea.csv")
    with pytest.raises(InputError, match="the data set has domains, and the day has none"):
        append(tmp_path / "tea.csv", tmp_path / "set")
    csv.write_csv(shops.slice(1), tmp_path / "tea.csv")
    assert append(tmp_path / "tea.csv", tmp_path / "set").n_items == 2
