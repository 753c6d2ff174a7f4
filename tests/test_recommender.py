import re
import shutil
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from events import DAY, FIRST, ITEMS, LENGTH, TINY, USERS, event_table, history, write_csv

from hydrarec import Dataset, InputError, Protocol, Recommender, prepare
from hydrarec.models.registry import NAMES
from hydrarec.train.run import Run


@pytest.fixture(scope="module")
def hydra(tmp_path_factory):
    return Recommender.fit(event_table(), out=tmp_path_factory.mktemp("hydra") / "run", settings=TINY)


@pytest.fixture(scope="module")
def markov(tmp_path_factory):
    """Learns the events' rule at once: item i is followed by item i + 1."""
    return Recommender.fit(event_table(), out=tmp_path_factory.mktemp("markov") / "run", model="markov")


def lists(answer):
    """User -> recommended items, best first."""
    found = {}
    for row in pa.table(answer).to_pylist():
        found.setdefault(row["user"], []).append(row["item"])
        assert row["rank"] == len(found[row["user"]])
    return found


def scores_by_item(answer):
    return {row["item"]: row["score"] for row in answer.to_pylist()}


LAST = FIRST + (LENGTH - 1) * DAY + USERS - 1  # when the last event of all happened


def moments(user):
    """When the events of a user (from 1) happened."""
    return [FIRST + day * DAY + user - 1 for day in range(LENGTH)]


SOURCES = {
    "pandas": lambda place: event_table().to_pandas(),
    "polars": lambda place: pl.from_arrow(event_table()),
    "arrow": lambda place: event_table(),
    "csv": lambda place: write_csv(place / "events.csv", event_table()),
    "text of a path": lambda place: str(write_csv(place / "events.csv", event_table())),
    "folder": lambda place: prepare(event_table(), place / "dataset").path,
    "dataset": lambda place: prepare(event_table(), place / "dataset"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_fit_reads_any_source(kind, tmp_path, markov):
    fitted = Recommender.fit(SOURCES[kind](tmp_path), out=tmp_path / "run", model="markov")
    assert fitted.run.metrics["test"]["metrics"] == markov.run.metrics["test"]["metrics"]
    assert lists(fitted.recommend([[3]], k=1)) == {0: [4]}
    assert fitted.recommend(users=[3], k=ITEMS).equals(markov.recommend(users=[3], k=ITEMS))


@pytest.mark.parametrize(("name", "text"), [(name, place % 2 == 0) for place, name in enumerate(NAMES)])
def test_every_model_with_ids_of_either_kind(name, text, tmp_path):
    settings = TINY if name == "hydra" else {}
    fitted = Recommender.fit(event_table(text=text), out=tmp_path / "run", model=name, settings=settings)
    user = "u3" if text else 3
    given = [f"i{item}" if text else item for item in history(3)]
    when = {"times": [moments(3)], "at": LAST} if fitted.model.sees_request_time else {}
    known, unseen = fitted.recommend(users=[user], k=4), fitted.recommend([given], k=4, **when)
    assert known.column_names == ["user", "rank", "item", "score"]
    assert known["user"].to_pylist() == [user] * 4
    assert known["rank"].to_pylist() == [1, 2, 3, 4]
    assert unseen["user"].to_pylist() == [0] * 4
    assert known["item"].to_pylist() == unseen["item"].to_pylist()
    assert set(known["item"].to_pylist()) <= {f"i{item}" if text else item for item in range(1, ITEMS + 1)}
    assert known["score"].to_pylist() == sorted(known["score"].to_pylist(), reverse=True)

    everybody = fitted.recommend(users="all", k=4)
    one_by_one = [fitted.recommend(users=[each], k=4) for each in fitted.dataset.user_table["user"].to_pylist()]
    assert everybody.drop("score").equals(pa.concat_tables(one_by_one).drop("score"))
    np.testing.assert_allclose(everybody["score"], pa.concat_tables(one_by_one)["score"], rtol=1e-4, atol=1e-5)

    loaded = Recommender.load(tmp_path / "run")
    assert loaded.recommend(users="all", k=4).equals(everybody)


def test_histories_as_lists_mappings_and_frames(markov):
    histories = {"ann": [1, 2, 3], "zoe": [7], "bob": [11]}
    expected = {"ann": [4], "zoe": [8], "bob": [12]}
    assert lists(markov.recommend(list(histories.values()), k=1)) == {0: [4], 1: [8], 2: [12]}
    assert lists(markov.recommend(tuple(np.array(each) for each in histories.values()), k=1)) == {
        0: [4],
        1: [8],
        2: [12],
    }
    assert lists(markov.recommend(histories, k=1)) == expected
    rows = [(user, item) for user, items in histories.items() for item in items]
    rows = [rows[place] for place in (3, 0, 4, 1, 2)]  # users interleaved, each in order
    columns = {"user": [user for user, _ in rows], "item": [item for _, item in rows]}
    frames = {
        "pandas": pd.DataFrame(columns, index=range(10, 15)),
        "pandas categories": pd.DataFrame(columns).astype({"user": "category"}),
        "polars": pl.DataFrame(columns),
        "polars categories": pl.DataFrame(columns).with_columns(pl.col("user").cast(pl.Categorical)),
        "arrow": pa.table(columns),
    }
    for kind, frame in frames.items():
        answer = markov.recommend(frame, k=1)
        assert type(answer) is type(frame), kind
        assert lists(answer) == expected, kind
        assert list(lists(answer)) == ["zoe", "ann", "bob"], kind  # in the order of the rows


def test_ids_of_text_in_frames(tmp_path):
    fitted = Recommender.fit(event_table(text=True), out=tmp_path / "run", model="markov")
    columns = {"user": ["a", "a", "b"], "item": ["i1", "i2", "i5"]}
    for frame in (pd.DataFrame(columns), pl.DataFrame(columns), pd.DataFrame(columns).astype("category")):
        assert lists(fitted.recommend(frame, k=1)) == {"a": ["i3"], "b": ["i6"]}
    categories = pl.DataFrame(columns).with_columns(pl.col("item").cast(pl.Categorical))
    assert lists(fitted.recommend(categories, k=1)) == {"a": ["i3"], "b": ["i6"]}


@pytest.mark.parametrize(
    "times", [[30, 10, 20], [30.5, 10.0, 30.25], np.array(["2024-03-01", "2024-01-01", "2024-02-01"], "datetime64[ns]")]
)
def test_a_frame_with_time_is_put_in_order(markov, times):
    frame = pd.DataFrame({"user": [1, 1, 1], "item": [9, 1, 5], "time": times})
    assert lists(markov.recommend(frame, k=1)) == {1: [10]}


def test_known_users_come_in_the_order_asked_for_and_as_the_kind_of_frame(markov):
    assert list(lists(markov.recommend(users=[5, 2], k=1))) == [5, 2]
    assert list(lists(markov.recommend(users=["5", "2"], k=1))) == [5, 2]  # as a command line gives them
    assert isinstance(markov.recommend(users=pd.Series([5, 2]), k=1), pd.DataFrame)
    with pytest.raises(InputError, match="user 99 is not in the data set; give the history itself"):
        markov.recommend(users=[5, 99])
    with pytest.raises(InputError, match="users is 'bob'; give a list of user ids, or 'all'"):
        markov.recommend(users="bob")


def test_k_larger_than_the_catalog_gives_all_of_it(hydra):
    answer = hydra.recommend([[1, 2]], k=10**9)
    assert sorted(answer["item"].to_pylist()) == list(range(1, ITEMS + 1))
    assert answer.slice(0, 3).equals(hydra.recommend([[1, 2]], k=3))


def test_exclude_seen_leaves_out_the_whole_history(hydra):
    assert sorted(lists(hydra.recommend([[1, 2, 3]], k=50, exclude_seen=True))[0]) == list(range(4, ITEMS + 1))
    long = [4] + [1, 2, 3] * 20  # item 4 lies before the events that the model reads
    assert len(long) > hydra.run.settings.train.max_len
    assert 4 in lists(hydra.recommend([long], k=50))[0]
    assert sorted(lists(hydra.recommend([long], k=50, exclude_seen=True))[0]) == list(range(5, ITEMS + 1))
    assert hydra.recommend([list(range(1, ITEMS + 1))], exclude_seen=True).num_rows == 0


WHOLE = {"carried": {"train.windows": "carried", "train.max_len": 5}, "recomputed": {"train.max_len": 0}}


@pytest.mark.parametrize("way", WHOLE)
def test_a_model_that_was_trained_on_whole_histories_reads_them_whole(way, tmp_path, monkeypatch):
    settings = {**TINY, "train.recompute": 4, **WHOLE[way]}
    fitted = Recommender.fit(event_table(), out=tmp_path / "run", settings=settings)
    long = [4, *range(1, ITEMS + 1)] * 3
    whole = fitted.recommend([long], k=ITEMS)
    assert not whole.equals(fitted.recommend([long[-5:]], k=ITEMS))
    monkeypatch.setattr(type(fitted.model), "read_events", 7)  # in pieces of it
    state = fitted.observe(fitted.initial_state(2), [long[:20], []])
    state = fitted.observe(state, [long[20:], long])
    expected = scores_by_item(whole)
    for answer in (fitted.recommend([long], k=ITEMS), *(fitted.recommend(states=state.select([u])) for u in (0, 1))):
        assert scores_by_item(answer) == pytest.approx({i: expected[i] for i in scores_by_item(answer)}, abs=1e-4)
    again = fitted.evaluate().metrics
    assert again == pytest.approx(fitted.run.metrics["test"]["metrics"])


def test_candidates_alone_are_ranked(hydra):
    everything = scores_by_item(hydra.recommend([[1, 2]], k=50))
    answer = hydra.recommend([[1, 2]], k=50, candidates=[7, 3, 9])
    assert scores_by_item(answer) == {item: everything[item] for item in answer["item"].to_pylist()}
    assert sorted(answer["item"].to_pylist()) == [3, 7, 9]
    assert lists(hydra.recommend([[7]], k=50, candidates=pd.Series([7, 3], index=[5, 6]), exclude_seen=True)) == {
        0: [3]
    }
    with pytest.warns(UserWarning, match="unknown item ids skipped: 77"):
        assert lists(hydra.recommend([[1]], candidates=[77, 3])) == {0: [3]}
    with pytest.raises(InputError, match="knows none of the candidates"), pytest.warns(UserWarning, match="77"):
        hydra.recommend([[1]], candidates=[77])


def test_at_cuts_a_known_users_history(markov):
    last = history(3)[-1]
    cut = FIRST + 4 * DAY + 2  # the very time of the fifth event of user 3
    assert lists(markov.recommend(users=[3], k=1)) == {3: [last % ITEMS + 1]}
    assert lists(markov.recommend(users=[3], k=1, at=cut)) == {3: [history(3)[4]]}
    assert lists(markov.recommend(users=[3], k=1, at=cut + 1)) == {3: [history(3)[5]]}
    moment = datetime.fromtimestamp(cut, UTC)
    for at in (moment, moment.isoformat(), moment.replace(tzinfo=None), pd.Timestamp(moment), 1000 * cut):
        assert lists(markov.recommend(users=[3], k=1, at=at)) == {3: [history(3)[4]]}
    with pytest.raises(InputError, match=f"user 3 has no event before {FIRST}"):
        markov.recommend(users=[3], at=FIRST)
    with pytest.warns(UserWarning, match="20 users have no event before"):
        assert list(lists(markov.recommend(users="all", at=FIRST + 10))) == list(range(1, 11))


def test_at_cuts_a_frame_with_time(markov):
    times = [FIRST, FIRST + DAY, FIRST + 2 * DAY]
    frame = pa.table({"user": [1, 1, 1], "item": [2, 5, 8], "time": times})
    assert lists(markov.recommend(frame, k=1, at=FIRST + DAY)) == {1: [3]}
    milliseconds = frame.set_column(2, "time", pa.array([1000 * time for time in times]))
    moments = frame.set_column(2, "time", pa.array([1000 * time for time in times], pa.timestamp("ms", "Asia/Tokyo")))
    for each in (frame, milliseconds, moments):
        assert lists(markov.recommend(each, k=1, at=FIRST + DAY + 1)) == {1: [6]}


def test_data_without_time_cannot_be_cut(tmp_path):
    fitted = Recommender.fit(event_table(), out=tmp_path / "run", model="markov", protocol="loo", time=False)
    assert not fitted.dataset.has_times
    with pytest.raises(InputError, match="have no time"):
        fitted.recommend(users=[1], at=5)


def test_unknown_items_are_skipped_with_one_warning_or_refused(markov):
    histories = [[99, 3], [3, 98], [99, 97, 3]]
    with pytest.warns(UserWarning, match="unknown item ids skipped: 99, 98, 97$") as warned:
        assert lists(markov.recommend(histories, k=1)) == {0: [4], 1: [4], 2: [4]}
    assert len(warned) == 1
    assert warned[0].filename == __file__  # points at the caller
    with pytest.raises(InputError, match=r"unknown item ids: 99, 98, 97$"):
        markov.recommend(histories, strict=True)
    with pytest.warns(UserWarning, match="100, 101, 102, 103, 104 and 15 more$"):
        markov.recommend([[1, *range(100, 120)]])
    with pytest.raises(InputError, match="user 1 has no event with an item"), pytest.warns(UserWarning, match="99"):
        markov.recommend([[1], [99]])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "exactly one of"),
        ({"histories": [[1]], "users": [1]}, "exactly one of"),
        ({"histories": [[1]], "k": 0}, "k is 0"),
        ({"histories": [1, 2]}, "list of lists"),
        ({"histories": ["12"]}, "list of lists"),
        ({"histories": {"ann": "12"}}, "list of lists"),
        ({"histories": {"ann": [1], 2: [1]}}, "all be numbers or all be text"),
        ({"histories": "12"}, "not str"),
        ({"histories": [[]]}, "user 0 has no event"),
        ({"histories": [[1.5]]}, "ids of type double"),
        ({"users": 3}, "users is 3; give a list of user ids"),
        ({"users": [3], "at": "late"}, "'late' is no time"),
        ({"histories": pa.table({"user": [1]})}, "no column 'item'; there are user"),
        ({"histories": pa.table({"user": [1, None], "item": [1, 2]})}, "'user' of the histories has empty"),
        ({"histories": pa.table({"user": [1], "item": [1], "time": pa.array([None], pa.int64())})}, "'time' of"),
        ({"histories": pa.table({"user": [1], "item": [1], "time": ["9"]})}, "make it numbers or timestamps"),
        ({"histories": pd.DataFrame({"user": ["a", 1], "item": [1, 1]})}, "cannot be read"),
    ],
)
def test_bad_questions(markov, asked, message):
    with pytest.raises(InputError, match=re.escape(message)):
        markov.recommend(**asked)


def test_nobody_asked_for_gives_an_empty_table(markov):
    empty = pd.DataFrame({"user": pd.Series([], dtype=str), "item": pd.Series([], dtype=int)})
    for given in ([], {}, empty):
        assert len(markov.recommend(given)) == 0


def test_events_observed_one_by_one_give_the_answers_of_the_history(hydra):
    histories = [history(1), history(8), history(5)]
    state = hydra.initial_state(3)
    for step in range(LENGTH):
        state = hydra.observe(state, [[items[step]] for items in histories])
        expected = hydra.recommend([items[: step + 1] for items in histories], k=ITEMS)
        answer = hydra.recommend(states=state, k=ITEMS)
        for user in range(3):
            got, want = (
                scores_by_item(table.filter(pa.compute.equal(table["user"], user))) for table in (answer, expected)
            )
            assert got == pytest.approx(want, rel=1e-5, abs=1e-5)
    at_once = hydra.observe(hydra.initial_state(3), histories)
    torch.testing.assert_close(at_once.hidden, state.hidden, rtol=1e-4, atol=1e-5)
    back = hydra.recommend(states=type(state).from_bytes(state.to_bytes()), k=3)
    assert back.equals(hydra.recommend(states=state, k=3))
    assert len(hydra.recommend(states=state, k=5, candidates=[1, 2])) == 6


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    settings = {**TINY, "model.time": True}
    return Recommender.fit(event_table(), out=tmp_path_factory.mktemp("timed") / "run", settings=settings)


def test_a_model_that_reads_time_answers_for_a_moment(timed):
    given = {"histories": [history(3)], "times": [moments(3)], "k": ITEMS}
    now, later = timed.recommend(**given, at=LAST), timed.recommend(**given, at=LAST + 90 * DAY)
    assert scores_by_item(now) != scores_by_item(later)
    assert timed.recommend(users=[3], k=ITEMS).drop("user").equals(now.drop("user"))  # as of the last event of all
    dates = [datetime.fromtimestamp(time, UTC) for time in moments(3)]
    assert timed.recommend([history(3)], times=[dates], at=datetime.fromtimestamp(LAST, UTC), k=ITEMS).equals(now)
    frame = pd.DataFrame({"user": [0] * LENGTH, "item": history(3), "time": moments(3)})
    assert scores_by_item(pa.table(timed.recommend(frame, k=ITEMS, at=LAST))) == scores_by_item(now)
    named = timed.recommend({"ann": history(3)}, times={"ann": moments(3)}, at=LAST, k=ITEMS)
    assert scores_by_item(named) == scores_by_item(now)


def test_a_stream_of_events_with_times_is_asked_at_any_moment(timed):
    state = timed.initial_state(2)
    for step in range(0, LENGTH, 5):
        events = [history(user)[step : step + 5] for user in (3, 8)]
        state = timed.observe(state, events, times=[moments(user)[step : step + 5] for user in (3, 8)])
    for at in (LAST, LAST + 40 * DAY):
        answer = timed.recommend(states=state, k=ITEMS, at=at)
        expected = timed.recommend([history(3), history(8)], times=[moments(3), moments(8)], k=ITEMS, at=at)
        assert answer["item"].to_pylist() == expected["item"].to_pylist()
        np.testing.assert_allclose(answer["score"], expected["score"], rtol=1e-4, atol=1e-4)
    assert timed.recommend(states=state, k=3).num_rows == 6


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (None, "give the times of the events and of the request"),
        ([[1, 2]], "one time for each item"),
        ([[3, 1, 2]], "times of history 0 do not rise"),
        (5, "one time for each item"),
        ([["yesterday", 1, 2]], "yesterday"),
    ],
)
def test_bad_times(timed, times, message):
    with pytest.raises(InputError, match=message):
        timed.recommend([[1, 2, 3]], times=times)
    if times is None:
        with pytest.raises(InputError, match="give their times"):
            timed.observe(timed.initial_state(1), [[1]])


def test_a_frame_has_its_own_times(timed):
    frame = pd.DataFrame({"user": [1], "item": [1], "time": [FIRST]})
    with pytest.raises(InputError, match="column 'time'"):
        timed.recommend(frame, times=[[FIRST]])


def test_bad_states(hydra, markov):
    state = hydra.initial_state(2)
    with pytest.raises(InputError, match="1 lists of events for the states of 2 users"):
        hydra.observe(state, [[1]])
    with pytest.raises(InputError, match="list of lists"):
        hydra.observe(state, ["1", "2"])
    with pytest.raises(InputError, match="observe an event first"):
        hydra.recommend(states=hydra.observe(state, [[1], []]))
    with pytest.raises(InputError, match="does not list the items seen"):
        hydra.recommend(states=state, exclude_seen=True)
    with pytest.raises(InputError, match="unknown item ids: 99"):
        hydra.observe(state, [[1], [99]], strict=True)
    with pytest.raises(InputError, match="markov keeps no state; only hydra does"):
        markov.initial_state()


def test_a_run_moves_and_is_copied(tmp_path, hydra):
    expected = hydra.recommend(users="all", k=3)
    hydra.save(tmp_path / "copy")
    assert not (tmp_path / "copy" / "checkpoints").exists()
    (tmp_path / "copy").rename(tmp_path / "moved")
    moved = Recommender.load(tmp_path / "moved")
    assert moved.recommend(users="all", k=3).equals(expected)
    assert moved.evaluate().metrics == hydra.evaluate().metrics
    with pytest.raises(InputError, match="exists already"):
        hydra.save(tmp_path / "moved")
    hydra.save(tmp_path / "moved", overwrite=True)


def test_a_run_that_is_replaced_while_it_is_opened_is_opened_again(tmp_path, hydra, markov, monkeypatch):
    hydra.save(tmp_path / "run")
    read, times = Run.model, []

    def model(run):
        if not times:
            markov.save(tmp_path / "run", overwrite=True)
        times.append(run.settings.name)
        return read(run)

    monkeypatch.setattr(Run, "model", model)
    found = Recommender.load(tmp_path / "run")
    assert times == ["hydra", "markov"]
    assert found.run.settings.name == found.model.name == "markov"


def test_a_data_set_that_is_gone_or_another(tmp_path):
    dataset = prepare(event_table(), tmp_path / "dataset")
    fitted = Recommender.fit(dataset.path, out=tmp_path / "run", model="markov")
    expected = fitted.recommend(users=[3], k=2)
    (tmp_path / "dataset").rename(tmp_path / "elsewhere")
    loaded = Recommender.load(tmp_path / "run")
    assert lists(loaded.recommend([[3]], k=1)) == {0: [4]}  # histories need no data set
    for ask in (lambda: loaded.recommend(users=[3]), loaded.evaluate):
        with pytest.raises(InputError, match=r"data set of .*run is not at .*dataset; name it with --dataset"):
            ask()
    found = Recommender.load(tmp_path / "run", dataset=tmp_path / "elsewhere")
    assert found.recommend(users=[3], k=2).equals(expected)
    other = prepare(event_table(users=5), tmp_path / "other")
    with pytest.raises(InputError, match="is not the data set that"):
        Recommender.load(tmp_path / "run", dataset=other.path).recommend(users=[3])


def test_a_data_set_in_memory_serves_while_it_lasts(tmp_path):
    memory = prepare(event_table())
    Recommender.fit(memory, out=tmp_path / "run", model="markov")
    loaded = Recommender.load(tmp_path / "run")
    assert lists(loaded.recommend([[3]], k=1)) == {0: [4]}
    with pytest.raises(InputError, match="--dataset"):
        loaded.recommend(users=[3])


def test_evaluate_again_is_what_training_measured(markov):
    assert markov.evaluate().metrics == markov.run.metrics["test"]["metrics"]
    assert markov.evaluate("valid").queries == USERS
    with pytest.raises(InputError, match="no split 'tset'"):
        markov.evaluate("tset")


def test_titles(tmp_path):
    titles = pa.table({"item": [3, 5], "title": ["three", "five"]})
    fitted = Recommender.fit(event_table(), out=tmp_path / "run", model="popularity", items=titles)
    assert fitted.titles([5, 4, 3, 99]) == ["five", "", "three", ""]


def test_fit_under_other_protocols_and_settings(tmp_path):
    said = []
    fitted = Recommender.fit(
        event_table(),
        out=tmp_path / "run",
        protocol="hstu",
        settings={**TINY, "model.normalize": False, "model.d_head": None, "train.betas": (0.8, 0.9)},
        seed=5,
        log=said.append,
    )
    settings = fitted.run.settings
    assert (settings.model.normalize, settings.train.betas, settings.train.seed) == (False, (0.8, 0.9), 5)
    assert fitted.run.protocol == Protocol.named("hstu")
    assert Dataset.open(tmp_path / "run" / "dataset").protocol.split == "hstu"
    assert any("leaks the future" in line for line in said)
    with pytest.raises(InputError, match="hstu has no valid split"):
        fitted.evaluate("valid")
    tables = {"model": {"smoothing": np.float32(2)}, "protocol": {"cutoffs": [3]}, "train.seed": np.int64(4)}
    other = Recommender.fit(event_table(), out=tmp_path / "tables", model="markov", settings=tables)
    assert (other.run.settings.model.smoothing, other.run.settings.train.seed) == (2, 4)
    assert other.run.protocol == Protocol.named("time", cutoffs=(3,))
    every = Protocol.named("time", target="every", quantile=0.5)
    other = Recommender.fit(event_table(), out=tmp_path / "other", model="markov", protocol=every)
    assert other.run.protocol == every


def test_fit_goes_on_or_refuses(tmp_path):
    out, settings = tmp_path / "run", {"train.seed": 3}
    Recommender.fit(event_table(), out=out, model="markov", settings=settings)
    before = (out / "model.safetensors").stat().st_mtime_ns
    said = []
    Recommender.fit(event_table(), out=out, model="markov", settings=settings, log=said.append)
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    assert said[-1].endswith("was finished before; these are its results")
    with pytest.raises(InputError, match=r"another run \(train.seed was 3, now 4\)"):
        Recommender.fit(event_table(), out=out, model="markov", seed=4)
    Recommender.fit(event_table(), out=out, model="markov", seed=4, resume="never")
    with pytest.raises(InputError, match="made from other events; choose another --out"):
        Recommender.fit(event_table(users=7), out=out, model="markov", seed=4)


def test_bad_events_leave_nothing_behind(tmp_path):
    with pytest.raises(InputError):
        Recommender.fit(pa.table({"a": [1]}), out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").touch()
    with pytest.raises(InputError, match="exists and is not a run folder"):
        Recommender.fit(event_table(), out=foreign)
    assert [path.name for path in foreign.iterdir()] == ["cat.jpg"]
    folder = prepare(event_table(), tmp_path / "dataset").path
    for source in (folder, Dataset.open(folder)):
        with pytest.raises(InputError, match="prepared already; min_user cannot be chosen"):
            Recommender.fit(source, out=tmp_path / "run", min_user=3)
    with pytest.raises(InputError, match="device 'quantum' cannot be used here"):
        Recommender.fit(folder, out=tmp_path / "run", device="quantum")
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_cannot_be_asked(tmp_path, hydra):
    shutil.copytree(hydra.run.path, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(InputError, match="not finished; run `hydrarec train` with --resume auto"):
        Recommender.load(tmp_path / "run")
