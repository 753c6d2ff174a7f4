"""Columns, ids and times: what is recognised and what is refused."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hydrarec.data.prepare import prepare
from hydrarec.data.reading.columns import choose_columns
from hydrarec.data.reading.times import instant
from hydrarec.errors import InputError


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (["user_id", "item_id", "timestamp"], ("user_id", "item_id", "timestamp")),
        (["UserId", "MovieID", "Rating", "Timestamp"], ("UserId", "MovieID", "Timestamp")),
        (["visitorid", "event", "itemid", "ts"], ("visitorid", "itemid", "ts")),
        (["customer id", "sku", "created_at", "x"], ("customer id", "sku", "created_at")),
        (["asin", "reviewer_id", "unix_timestamp"], ("reviewer_id", "asin", "unix_timestamp")),
    ],
)
def test_guesses(available, expected):
    columns = choose_columns(available)
    assert (columns.user, columns.item, columns.time) == expected
    assert f"user = {expected[0]}" in columns.describe()


def test_named_columns_win_and_optional_ones_are_found():
    available = ["a", "B", "c", "user_id", "item_id", "time", "Stars", "domain"]
    columns = choose_columns(available, user="a", item="b", time=False)
    assert (columns.user, columns.item, columns.time) == ("a", "B", None)
    assert (columns.rating, columns.domain) == ("Stars", "domain")
    assert choose_columns(available, user="a", domain=False).domain is None


@pytest.mark.parametrize(
    ("available", "names", "message"),
    [
        (["x", "item", "time"], {}, r"which column .* is the user\? none .*--user COLUMN.*x, item, time"),
        (["user", "customer_id", "item", "time"], {}, "user and customer_id could each be it.*--user COLUMN"),
        (["user", "item"], {}, "--time COLUMN, or --no-time"),
        (["user", "item"], {"time": True}, r"--time COLUMN\. Its columns"),
        (["user", "item", "time"], {"item": "itme"}, r"no column 'itme' \(--item\)\. Its columns are"),
        (["user", "item", "time"], {"rating": "zzz"}, r"no column 'zzz' \(--rating\)\. Its columns are: user"),
    ],
)
def test_missing_and_ambiguous_columns(available, names, message):
    with pytest.raises(InputError, match=message):
        choose_columns(available, **names)


def events(times, **columns):
    return pd.DataFrame({"user": 1, "item": np.arange(len(times)), "time": times} | columns)


SECONDS = [1_400_000_000, 1_400_000_001, 1_500_000_000]


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (SECONDS, "seconds"),
        ([t * 10**3 + 7 for t in SECONDS], "milliseconds"),
        ([t * 10**6 + 7 for t in SECONDS], "microseconds"),
        ([t * 10**9 + 7 for t in SECONDS], "nanoseconds"),
        ([t + 0.75 for t in SECONDS], "decimal seconds"),
        ([t * 1e3 + 0.5 for t in SECONDS], "decimal milliseconds"),
        (pd.to_datetime(SECONDS, unit="s"), "timestamp"),
        (pd.to_datetime(SECONDS, unit="s", utc=True), "timestamp with time zone"),
        ([dt.datetime.fromtimestamp(t, dt.UTC).isoformat() for t in SECONDS], "ISO dates"),
        ([dt.datetime.fromtimestamp(t, dt.timezone(dt.timedelta(hours=2))).isoformat() for t in SECONDS], "ISO dates"),
        ([dt.datetime.fromtimestamp(t, dt.UTC).strftime("%Y-%m-%d %H:%M:%S") for t in SECONDS], "ISO dates"),
        ([str(t) for t in SECONDS], "seconds"),
        ([f"{t}.25" for t in SECONDS], "decimal seconds"),
    ],
)
def test_time_units(times, unit, tmp_path):
    lines = []
    for source in (events(times), tmp_path / "a.csv"):
        events(times).to_csv(tmp_path / "a.csv", index=False)
        dataset = prepare(source, log=lines.append)
        assert dataset.times.tolist() == SECONDS
    assert lines[1].startswith(f"times: {unit}")
    assert dataset.statistics["time_unit"]


def test_dates_and_times_before_1970():
    days = [dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(1970, 1, 2)]
    assert prepare(events(days)).times.tolist() == [-86400, 0, 86400]
    assert prepare(events([str(day) for day in days])).times.tolist() == [-86400, 0, 86400]
    assert prepare(events([-0.5, 0.5])).times.tolist() == [-1, 0]


def test_events_within_a_second_sort_by_the_full_time():
    assert prepare(events([1e9 + 0.9, 1e9 + 0.1, 1e9 + 0.5])).items.tolist() == [1, 2, 0]
    assert prepare(events([1_400_000_000_900, 1_400_000_000_100])).items.tolist() == [1, 0]


def test_without_time_the_order_of_rows_counts():
    dataset = prepare(events([3, 2, 1]), time=False, protocol="loo")
    assert dataset.items.tolist() == [0, 1, 2]
    assert not dataset.has_times
    with pytest.raises(InputError, match="--protocol loo"):
        prepare(events([3, 2, 1]), time=False)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["5", "6", "seven"], "row 3 after the header, column time: 'seven' is not a number"),
        (["2020-01-01", "2020-01-02", "17"], "row 3 after the header, column time: '17' is not a date"),
        (["a", "b"], "row 1 .*'a' is no time"),
        ([5.0, np.nan], "row 2 .*empty is no time"),
        ([5.0, np.inf], "row 2 .*inf is no time"),
        (["5", None], "row 2 .*empty is no time"),
        (["5.5", "nan"], "row 2"),
        ([1_400_000_000_000, 1_400_000_000], "row 2 .*1400000000 is not in milliseconds"),
        ([True, False], "type BOOLEAN"),
    ],
)
def test_bad_times(times, message):
    with pytest.raises(InputError, match=message):
        prepare(events(times))


DATES = [20240531, 20240601, 19000101, 21001231]


@pytest.mark.parametrize("times", [DATES, [float(t) for t in DATES], [str(t) for t in DATES]])
def test_dates_written_as_whole_numbers_are_refused(times, tmp_path):
    events(times).to_csv(tmp_path / "a.csv", index=False)
    for source in (events(times), tmp_path / "a.csv"):
        with pytest.raises(InputError, match=r"column time: 19000101 and all others are dates .*as 1900-01-01"):
            prepare(source)


@pytest.mark.parametrize(
    "times",
    [
        [20240531, 20240532],  # May has 31 days
        [20240531, 20240531],
        [20240531, 20240601, 5],
        [20240531, 20240601, 1_400_000_000],
        [20240531.5, 20240601.0],
    ],
)
def test_numbers_that_are_not_all_dates_are_seconds(times):
    assert sorted(prepare(events(times)).times) == sorted(int(t) for t in times)


def test_one_date_written_as_a_whole_number():
    with pytest.raises(InputError, match=r"'20240531' is .* write 2024-05-31, or 20240531\.0 for seconds"):
        instant("20240531")
    assert instant("20240531.0") == instant(20240531) == 20240531
    assert instant("20240532") == 20240532
    assert instant("2024-05-31") == 1_717_113_600


@pytest.mark.parametrize("role", ["user", "item"])
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2, -1], "row 3 .*-1 is negative"),
        ([1.0, None, 2.0], "row 2 .*empty is no id"),
        (["a", None, "b"], "row 2 .*empty is no id"),
        (["a", "", "b"], "row 2 .*'' is no id"),
        ([1.5, 2, 3], "row 1 .*1.5 is no id"),
    ],
)
def test_bad_ids(role, ids, message):
    with pytest.raises(InputError, match=message):
        prepare(events([1, 2, 3], **{role: ids}))


def test_bad_ids_in_text(tmp_path):
    (tmp_path / "a.csv").write_text("user,item,time\n1,5,3\n-1,5,3\n")
    with pytest.raises(InputError, match=r"a\.csv, row 2 after the header, column user: '-1' is negative"):
        prepare(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("user,item,time\n1,5,3\n1,,3\n")
    with pytest.raises(InputError, match=r"row 2 after the header, column item: empty is no id"):
        prepare(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([10, 9, 100], [9, 10, 100]),
        ([10.0, 9.0, 100.0], [9, 10, 100]),
        (["10", "9", "100"], ["10", "100", "9"]),
        (["b", "a", "c"], ["a", "b", "c"]),
        (pd.Categorical(["b", "a", "c"]), ["a", "b", "c"]),
        (np.array([10, 9, 100], np.uint8), [9, 10, 100]),
    ],
)
def test_ids_of_frames_keep_their_kind(ids, expected):
    dataset = prepare(events([1, 2, 3], item=ids))
    assert dataset.item_table["item"].to_pylist() == expected


@pytest.mark.parametrize(
    ("ids", "expected"), [(["10", "9"], [9, 10]), (["07", "7"], ["07", "7"]), (["10", "9x"], ["10", "9x"])]
)
def test_ids_in_text_are_integers_only_if_all_are_written_so(ids, expected, tmp_path):
    events([1, 2], item=ids).to_csv(tmp_path / "a.csv", index=False)
    assert prepare(tmp_path / "a.csv").item_table["item"].to_pylist() == expected


def test_rating():
    dataset = prepare(events([1, 2, 3], rating=[1.5, None, 3]))
    np.testing.assert_array_equal(dataset.columns["rating"], np.array([1.5, np.nan, 3], np.float32))
    with pytest.raises(InputError, match=r"row 2 .*'good' is no number"):
        prepare(events([1, 2], rating=["1", "good"]))


def test_an_arrow_dictionary_column():
    table = pa.table({"user": [1, 1], "item": pa.array(["b", "a"]).dictionary_encode(), "time": [1, 2]})
    assert prepare(table).item_table["item"].to_pylist() == ["a", "b"]


def test_what_is_no_time_is_not_repeated_without_end():
    with pytest.raises(InputError, match=r"^'\[0, 1, .*\.\.\.' is no time; give seconds") as error:
        instant(list(range(10_000)))
    assert len(str(error.value)) < 200
