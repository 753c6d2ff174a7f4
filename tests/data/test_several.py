"""Several sources: a domain each, users joined, histories merged by time."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data.describe import describe_domains
from hydrarec.data.prepare import prepare
from hydrarec.data.reading.several import by_name, texts_of
from hydrarec.errors import InputError

AMAZON = Path(__file__).parents[3] / "shared" / "datasets"
NOW = 1_400_000_000
A = pd.DataFrame({"user": [1, 1, 2], "item": [5, 7, 5], "time": [NOW, NOW + 10, NOW + 1]})
B = pd.DataFrame({"user": [1, 3, 1], "item": [5, 6, 6], "time": [NOW + 5, NOW, NOW + 10]})


def histories_of(dataset):
    """User -> item ids, oldest first."""
    ids, users = dataset.item_table["item"].to_pylist(), dataset.user_table["user"].to_pylist()
    bounds = zip(users, dataset.offsets[:-1], dataset.offsets[1:], strict=True)
    return {user: [ids[row] for row in dataset.items[first:end]] for user, first, end in bounds}


def concatenated(sources):
    """The same as one table with a column of domains."""
    named = [frame.assign(item=name + ":" + frame["item"].astype(str), domain=name) for name, frame in sources.items()]
    return pd.concat(named, ignore_index=True)


def test_the_whole_by_hand(tmp_path):
    said = []
    dataset = prepare({"x": A, "b": B}, tmp_path / "set", log=said.append)
    assert dataset.item_table.to_pydict() == {
        "item": ["b:5", "b:6", "x:5", "x:7"],
        "events": [1, 2, 2, 1],
        "domain": ["b", "b", "x", "x"],
    }
    # At the same time, the first source comes first.
    assert histories_of(dataset) == {1: ["x:5", "b:5", "x:7", "b:6"], 2: ["x:5"], 3: ["b:6"]}
    assert dataset.times.tolist() == [NOW, NOW + 5, NOW + 10, NOW + 10, NOW + 1, NOW]
    assert dataset.domains == ["b", "x"]
    assert said[0] == "x: columns: user = user, item = item, time = time"
    assert "1 users with events in several domains" in said
    facts = dataset.statistics
    assert (facts["source_events"], facts["time_unit"]) == (6, "seconds")
    assert facts["columns"]["b"] == {"user": "user", "item": "item", "time": "time"}


@st.composite
def shops(draw):
    """Up to three shops whose users, ids and times overlap, with ties everywhere."""
    names = draw(st.lists(st.sampled_from(["a", "b", "Z", "ü'", "10"]), min_size=1, max_size=3, unique=True))
    row = st.tuples(st.integers(0, 4), st.integers(0, 11), st.integers(NOW, NOW + 6))
    tables = [[(0, 0, NOW), (0, 1, NOW), *draw(st.lists(row, max_size=12))] for _ in names]
    frames = [pd.DataFrame(rows, columns=["user", "item", "time"]) for rows in tables]
    return dict(zip(names, frames, strict=True))


@given(shops(), st.integers(1, 2))
@settings(max_examples=10)
def test_merging_is_preparing_the_concatenation(sources, least):
    merged, expected = (prepare(each, min_user=least) for each in (sources, concatenated(sources)))
    assert merged.fingerprint == expected.fingerprint
    assert merged.item_table.equals(expected.item_table)
    assert merged.user_table.equals(expected.user_table)
    merged.verify()


def test_sources_may_tell_the_time_each_in_its_way(tmp_path):
    columns = {
        "s": [NOW, NOW + 4],
        "ms": [(NOW + 1) * 1000, (NOW + 5) * 1000],
        "iso": pd.to_datetime([NOW + 2, NOW + 6], unit="s"),
        "decimal": [NOW + 3.25, NOW + 7.0],
        "ns": [NOW * 10**9 + 500_000_001, NOW * 10**9 + 500_000_000],
    }
    sources = {
        name: pd.DataFrame({"user": 1, "item": [name + "0", name + "1"], "time": times})
        for name, times in columns.items()
    }
    sources["iso"].to_csv(tmp_path / "iso.csv", index=False)
    sources["iso"] = tmp_path / "iso.csv"
    dataset = prepare(sources)
    order = ["s0", "ns1", "ns0", "ms0", "iso0", "decimal0", "s1", "ms1", "iso1", "decimal1"]
    assert [item.partition(":")[2] for item in histories_of(dataset)[1]] == order
    assert dataset.times.tolist() == [NOW + second for second in (0, 0, 0, 1, 2, 3, 4, 5, 6, 7)]


def test_times_before_1970_and_within_a_second():
    early = pd.DataFrame({"user": 1, "item": [1, 2], "time": [-0.5, 0.5]})
    whole = pd.DataFrame({"user": 1, "item": [1, 2], "time": [-1, 0]})
    dataset = prepare({"a": early, "b": whole}, protocol="loo")
    assert histories_of(dataset)[1] == ["b:1", "a:1", "b:2", "a:2"]
    assert dataset.times.tolist() == [-1, -1, 0, 0]


def test_a_time_that_the_finest_unit_cannot_hold():
    fine = A.assign(time=A["time"] * 10**9)
    far = B.assign(time=[NOW, 20_000_000_000, NOW])  # the year 2603
    prepare({"a": A.assign(time=A["time"] * 1000), "b": far})
    with pytest.raises(InputError, match=r"row 2 after the header, column time: 20000000000 \(seconds\) lies too far"):
        prepare({"a": fine, "b": far})


@pytest.mark.parametrize(
    ("users", "joined"),
    [(["1", "2"], ["1", "2"]), (["01", "x"], ["01", "1", "2", "x"]), ([1.0, 7.0], [1, 2, 7])],
)
def test_users_are_joined_as_their_ids_are_written(users, joined):
    other = pd.DataFrame({"user": users, "item": [1, 2], "time": [NOW, NOW]})
    assert prepare({"a": A, "b": other}).user_table["user"].to_pylist() == joined


def test_ratings_of_one_of_them():
    dataset = prepare({"a": A, "b": B.assign(rating=[1, 2, 3])})
    ids = [item for items in histories_of(dataset).values() for item in items]
    rated = np.isfinite(dataset.columns["rating"])
    assert [item.startswith("b:") for item in ids] == rated.tolist()


def test_item_text_of_each():
    texts = {
        "a": pd.DataFrame({"item": [5, 9], "title": ["five", "nine"], "Brand": ["x", "y"]}),
        "b": pd.DataFrame({"item": ["6"], "name": ["six"], "brand": ["z"], "colour": ["red"]}),
    }
    said = []
    expected = {
        "item": ["a:5", "a:7", "b:5", "b:6"],
        "events": [2, 1, 1, 2],
        "domain": ["a", "a", "b", "b"],
        "title": ["five", None, None, "six"],
        "Brand": ["x", None, None, "z"],
        "colour": [None, None, None, "red"],
    }
    for items in (texts, list(texts.values())):
        assert prepare({"a": A, "b": B}, items=items, log=said.append).item_table.to_pydict() == expected
    assert "2 of 4 items, 1 rows without events" in said[-2]
    assert prepare({"a": A, "b": B}, items=[None, texts["b"]]).item_table["title"].to_pylist() == [None] * 3 + ["six"]
    with pytest.raises(InputError, match="item 5 more than once"):
        prepare({"a": A, "b": B}, items={"a": pd.concat([texts["a"]] * 2)})


def write(path: Path, frame: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    return path


def test_paths_name_their_domains(tmp_path, monkeypatch):
    files = [write(tmp_path / "books.csv.gz", A), write(tmp_path / "toys" / "events.csv.gz", B)]
    dataset = prepare([files[0], str(files[1])])
    assert dataset.domains == ["books", "toys"]
    assert dataset.fingerprint == prepare({"books": A, "toys": B}).fingerprint
    assert prepare([files[0], tmp_path / "toys"]).fingerprint == dataset.fingerprint  # a folder of files
    assert prepare([files[0], tmp_path / "toys" / "e*.gz"]).fingerprint == dataset.fingerprint
    monkeypatch.chdir(tmp_path / "toys")
    assert list(by_name(["events.csv.gz", "../books.csv.gz"])) == ["toys", "books"]
    assert list(by_name(["v1.2.csv", "Interactions.parquet"])) == ["v1.2", "toys"]


def test_one_source_in_a_list_is_no_domain():
    assert prepare([A]).fingerprint == prepare(A).fingerprint
    assert prepare({"a": A}).item_table["item"].to_pylist() == ["a:5", "a:7"]
    assert list(texts_of([A], by_name([B]))) == list(by_name(B))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["a/x.csv", "b/x.csv"], r"a/x\.csv and b/x\.csv would both be domain 'x'; rename one"),
        ([A, B], "DataFrame has no name to call its domain by; give {name: source}"),
        ([], "no source"),
        ({}, "no source"),
        ({"a:b": A, "b": B}, "cannot be called 'a:b'"),
        ({"": A, "b": B}, "cannot be called ''"),
        ({1: A, "b": B}, "cannot be called 1;"),
        ({"a": A, "b": [1]}, "cannot read events from a list"),
    ],
)
def test_bad_sources(source, message):
    with pytest.raises(InputError, match=message):
        prepare(source)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"time": False, "protocol": "loo"}, "merged by time, so all need one; name it with --time"),
        ({"time": "when"}, "no column 'when'"),
        ({"domain": "shop"}, "leave out --domain shop"),
        ({"items": A}, "2 sources and 1 times item text; give --items once per source"),
        ({"items": [A, B, A]}, "2 sources and 3 times item text"),
        ({"items": {"c": A}}, "text for 'c', which is no source; the sources are a, b"),
    ],
)
def test_what_several_sources_do_not_take(how, message):
    with pytest.raises(InputError, match=message):
        prepare({"a": A, "b": B}, **how)


def test_the_source_with_the_bad_row_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,time\n1,5,3\n2,6,4\n")
    bad = tmp_path / "b.csv"
    for text, message in {
        "user,item,time\n1,5,3\n,5,3\n": r"b\.csv, row 2 after the header, column user: empty is no id",
        "user,item,time\n1,5,soon\n": r"b\.csv, row 1 after the header, column time: 'soon' is no time",
        "user,item\n1,5\n": r"which column of .*b\.csv is the time\? .*--time COLUMN\. Its columns",
        "user,item,time\n": r"b\.csv has a header but no events",
    }.items():
        bad.write_text(text)
        with pytest.raises(InputError, match=message):
            prepare([tmp_path / "a.csv", bad], tmp_path / "set")
        assert not (tmp_path / "set").exists()


def test_a_memory_limit_below_the_data():
    n = 200_000
    rng = np.random.default_rng(1)
    shops = {
        name: pd.DataFrame({"user": rng.integers(0, 50, n), "item": np.arange(n) % 999, "time": rng.integers(0, 9, n)})
        for name in ("a", "b")
    }
    limited = prepare(shops, memory="40MB", threads=1)
    assert limited.fingerprint == prepare(concatenated(shops)).fingerprint


@pytest.mark.skipif(not AMAZON.exists(), reason="../shared/datasets is not there")
def test_amazon_beauty_and_toys_share_reviewers():
    shops = {}
    for name in ("beauty", "toys"):
        folder = AMAZON / f"amazon2014-{name}"
        users = pq.read_table(folder / "users.parquet")
        shops[name] = pq.read_table(folder / "interactions.parquet").join(users, "user_id").drop("user_id")
    dataset = prepare(shops, protocol="loo")
    counts = describe_domains(dataset)
    assert (counts["beauty"]["items"], counts["toys"]["items"]) == (12_086, 11_758)
    assert dataset.n_events == counts["beauty"]["events"] + counts["toys"]["events"] == 198_215 + 165_247
    assert counts["beauty"]["users"] + counts["toys"]["users"] - dataset.n_users == 2_054
