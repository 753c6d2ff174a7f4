"""Items that come, change and go while an engine serves, and over restarts of it."""

import shutil
import threading
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
from events import FIRST, ITEMS
from stores import event

from hydrarec import InputError, Recommender
from hydrarec.serve.engine import Engine, Request
from hydrarec.serve.states import UserStates
from hydrarec.serve.stores.contract import StoreError
from hydrarec.serve.stores.disk import DiskStore
from hydrarec.serve.stores.memory import MemoryStore
from hydrarec.serve.version import version_of
from hydrarec.train.add_items import add_items

ROSE = ("100", {"title": "Rose soap", "shelf": "new"})
TEA = ("101", {"title": "Tea"})


def scores_of(engine, **how):
    (answer,) = engine.answer([Request(user="a", k=1_000, at=FIRST + 100, **how)])
    return dict(zip(answer.items, answer.scores, strict=True))


@pytest.fixture
def engine(readers):
    return opened(readers["text"], MemoryStore())


def opened(recommender, store):
    """A fresh process would load the run anew."""
    engine = Engine(Recommender.load(recommender.run.path), store)
    if not store.accounts(["a"])[0].events:
        engine.apply([event("a", "3", FIRST), event("a", "5", FIRST + 50)])
    return engine


def given(engine, *told):
    """As the engine's run has items: those in domains need one."""
    domain = {"domain": "even"} if "domain" in engine.catalog.items.column_names else {}
    return [(item, {**domain, **fields}) for item, fields in told]


@pytest.mark.parametrize("name", ["text", "both", "lora"])
def test_an_item_comes_as_add_items_brings_it(readers, name, tmp_path):
    engine = opened(readers[name], MemoryStore())
    before = scores_of(engine)
    told = given(engine, ROSE, TEA)
    assert engine.items.put(told) == ["added", "added"]
    assert engine.items.put(told) == ["unchanged", "unchanged"]
    scores = scores_of(engine)
    assert set(scores) == {*range(1, ITEMS + 1), 100, 101}
    assert {item: scores[item] for item in before} == pytest.approx(before, abs=1e-4)
    readers[name].save(tmp_path / "run")
    copy = Recommender.load(tmp_path / "run")
    records = [{"item": int(item), "shelf": None, **fields} for item, fields in told]
    assert add_items(copy.run, pa.Table.from_pylist(records)).added == 2
    assert scores_of(opened(copy, MemoryStore())) == pytest.approx(scores, abs=1e-4)
    assert 100 in scores_of(engine, allowed=engine.catalog.allowed(candidates=["100", "3"]))
    assert list(scores_of(engine, allowed=engine.catalog.allowed(where=(("shelf", "new"),)))) == [100]


def test_a_new_item_is_read_in_histories(engine):
    engine.items.put([ROSE])
    engine.apply([event("b", "3", FIRST), event("b", "100", FIRST + 50), event("c", "3", FIRST)])
    b, c = engine.answer([Request(user="b", at=FIRST + 99), Request(user="c", at=FIRST + 99)])
    assert b.scores != c.scores
    assert 100 not in engine.answer([Request(user="b", k=1_000, exclude_seen=True)])[0].items


def test_who_follows_waits_for_another_thread_that_takes_up_the_same_item(readers):
    store = MemoryStore()
    one, two = opened(readers["text"], store), opened(readers["text"], store)
    one.items.put([ROSE])
    began, go, take = threading.Event(), threading.Event(), two.items._take

    def held(*given):
        began.set()
        assert go.wait(60)
        return take(*given)

    two.items._take = held
    first = threading.Thread(target=two.items.follow)
    first.start()
    assert began.wait(60)
    second = threading.Thread(target=two.apply, args=([event("b", "100", FIRST)],))
    second.start()
    second.join(0.5)  # long enough to step without the item, if it did not wait
    go.set()
    first.join()
    second.join()
    (b,) = two.answer([Request(user="b", k=5, at=FIRST + 99)])
    fresh = opened(readers["text"], MemoryStore())
    fresh.items.put([ROSE])
    fresh.apply([event("b", "100", FIRST)])
    (expected,) = fresh.answer([Request(user="b", k=5, at=FIRST + 99)])
    assert b.items == expected.items
    assert b.items


def test_an_item_that_cannot_be_taken_up_is_not_tried_again(readers, monkeypatch):
    store = MemoryStore()
    one, two = opened(readers["text"], store), opened(readers["text"], store)
    one.items.put([ROSE])
    tried = Mock(side_effect=InputError("the language model is gone"))
    monkeypatch.setattr(two.items._form, "vectors", tried)
    with pytest.raises(InputError, match="is gone"):
        two.items.follow()
    two.items.follow()
    assert tried.call_count == 1


@pytest.mark.parametrize("name", ["text", "both"])
def test_a_known_item_gets_another_text(readers, name):
    engine = opened(readers[name], MemoryStore())
    before = scores_of(engine)
    assert engine.items.put([("4", {"shelf": "low"})]) == ["changed"]  # what is not read
    assert scores_of(engine) == before
    assert list(scores_of(engine, allowed=engine.catalog.allowed(where=(("shelf", "low"),)))) == [4]
    assert engine.items.put([("4", {"title": "Something else"})]) == ["changed"]
    after = scores_of(engine)
    assert after[4] != pytest.approx(before[4], abs=1e-4)
    assert {**after, 4: 0} == pytest.approx({**before, 4: 0}, abs=1e-4)
    assert engine.catalog.records(engine.catalog.rows(["4"]))[0]["shelf"] == "low"


def test_a_removed_item_is_in_no_answer_and_can_come_back(engine):
    before = scores_of(engine)
    assert engine.items.remove("3")
    assert engine.items.remove("3")
    assert not engine.items.remove("nothing")
    assert scores_of(engine) == {item: score for item, score in before.items() if item != 3}
    assert len(engine.answer([Request(user="a", k=ITEMS - 1)])[0].items) == ITEMS - 1
    odd = engine.catalog.allowed(where=(("shelf", "odd"),))
    assert sorted(scores_of(engine, allowed=odd)) == [1, 5, 7, 9, 11]
    with pytest.raises(InputError, match="the model knows none of the candidates"):
        engine.catalog.allowed(candidates=["3"])
    engine.apply([event("a", "3", FIRST + 60)])  # events of it are read all the same
    assert engine.answer([Request(user="a")])[0].events == 3
    assert engine.items.put([("3", {})]) == ["changed"]
    assert 3 in scores_of(engine)


def test_an_answer_that_has_begun_ends_with_the_items_it_began_with(engine):
    view, removed = engine.items.view, scores_of(engine)
    allowed = engine.catalog.allowed(candidates=["3", "4"])
    engine.items.put([ROSE])
    engine.items.remove("3")
    assert set(scores_of(engine, allowed=allowed)) == {4}  # asked before, answered after
    engine.items.view = view
    assert scores_of(engine) == removed
    assert view.catalog.rows(["100", "3"]).tolist() == [-1, 2]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([ROSE, ("7", {}), ROSE], "item '100' is there twice"),
        ([ROSE, ("102", {"shelf": "x"})], "item '102' has no text to know it by"),
        ([ROSE, ("102", {"title": " "})], "item '102' has no text"),
        ([ROSE, ("4", {"title": None})], "item '4' has no text"),
        (
            [ROSE, ("102", {"titel": "Tea"})],
            "items have no column 'titel'.*did you mean 'title'.*there are title, shelf",
        ),
        ([ROSE, ("102", {"events": "9"})], "items have no column 'events'"),
        ([ROSE, ("x", {"title": "Tea"})], "item 'x' is no whole number"),
        ([ROSE, ("007", {"title": "Tea"})], "item '007' is no whole number"),
        ([ROSE, (str(2**63), {"title": "Tea"})], "is no whole number"),
    ],
)
def test_items_that_cannot_be_recommended_change_nothing(engine, told, message):
    before = scores_of(engine)
    with pytest.raises(InputError, match=message):
        engine.items.put(told)
    assert scores_of(engine) == before
    assert engine.store.items() == []


def test_an_item_belongs_to_a_domain_for_good(readers):
    engine = opened(readers["both"], MemoryStore())
    for fields, message in (
        ({"title": "Tea"}, "item '100' needs a domain, one of: "),
        ({"title": "Tea", "domain": "other"}, "item '100' needs a domain, one of: "),
    ):
        with pytest.raises(InputError, match=message):
            engine.items.put([("100", fields)])
    with pytest.raises(InputError, match="item '4' belongs to domain 'even'"):
        engine.items.put([("4", {"domain": "odd"})])
    assert engine.items.put([("100", {"title": "Tea", "domain": "odd"})]) == ["added"]
    assert 100 in scores_of(engine, allowed=engine.catalog.allowed(domain="odd"))
    assert 100 not in scores_of(engine, allowed=engine.catalog.allowed(domain="even"))


def test_a_model_that_knows_ids_alone_takes_no_new_item(trained):
    engine = opened(trained["plain"], MemoryStore())
    with pytest.raises(InputError, match=r"knows its items by id alone; train with --set items\.kind=text, or both"):
        engine.items.put([("100", {"domain": "odd"})])
    assert engine.items.remove("4")
    assert engine.items.put([("4", {}), ("5", {})]) == ["changed", "unchanged"]
    assert 4 in scores_of(engine)


def test_a_store_that_cannot_be_written_changes_nothing(engine):
    before = scores_of(engine)

    def full(*_):
        raise StoreError("the disk is full")

    engine.store.put_items = full
    for change in (lambda: engine.items.put([ROSE]), lambda: engine.items.remove("3")):
        with pytest.raises(StoreError, match="the disk is full"):
            change()
    assert scores_of(engine) == before
    assert engine.catalog.rows(["100"]) == [-1]


@pytest.mark.parametrize("name", ["text", "both", "lora"])
def test_all_of_it_is_there_after_a_restart(readers, name, tmp_path, monkeypatch):
    with DiskStore(tmp_path) as store:
        engine = opened(readers[name], store)
        engine.items.put(given(engine, ROSE, TEA))
        engine.items.put([("4", {"title": "Something else"}), ("100", {"shelf": "left"})])
        for item in ("5", "101"):
            engine.items.remove(item)
        engine.apply([event("a", "100", FIRST + 60)])  # it waits in the state
        before, records = scores_of(engine), engine.catalog.records(np.arange(ITEMS + 2))
    monkeypatch.setattr("hydrarec.items.text.reader.TextReader.read", None)  # the language model is not needed
    monkeypatch.setattr(UserStates, "_made_again", None)  # nor is a history
    with DiskStore(tmp_path) as store:
        again = opened(readers[name], store)
        assert scores_of(again) == pytest.approx(before, abs=1e-4)
        assert again.catalog.records(np.arange(ITEMS + 2)) == records


def test_states_stay_what_they_are_when_items_come_and_go(readers, monkeypatch):
    engine = opened(readers["text"], MemoryStore())
    state, monkeyed = engine.store.accounts(["a"])[0].state, UserStates._made_again
    monkeypatch.setattr(UserStates, "_made_again", None)
    engine.items.put([ROSE, ("3", {"title": "Other"})])
    engine.items.remove("5")
    scores_of(engine)
    again = Engine(Recommender.load(readers["text"].run.path), engine.store)
    assert (again.version, scores_of(again)) == (engine.version, pytest.approx(scores_of(engine), abs=1e-4))
    assert engine.store.accounts(["a"])[0].state == state
    monkeypatch.setattr(UserStates, "_made_again", monkeyed)


def test_items_added_to_the_run_leave_its_version(readers, tmp_path, monkeypatch):
    readers["both"].save(tmp_path / "run")
    store = MemoryStore()
    before = scores_of(opened(Recommender.load(tmp_path / "run"), store))
    new = pa.table({"item": [100, 4], "title": ["Rose soap", "Other"], "domain": ["odd", "even"]})
    add_items(Recommender.load(tmp_path / "run").run, new)
    grown = Recommender.load(tmp_path / "run")
    assert version_of(grown.run, "float32") == version_of(readers["both"].run, "float32")
    monkeypatch.setattr(UserStates, "_made_again", None)
    after = scores_of(opened(grown, store))
    assert {**after, 4: 0} == pytest.approx({**before, 4: 0, 100: after[100]}, abs=1e-4)


def test_what_another_run_cannot_use_is_left_out_and_said(readers, trained, tmp_path, capsys):
    store = MemoryStore()
    engine = opened(readers["text"], store)
    engine.items.put([ROSE, ("4", {"shelf": "low"})])
    engine.items.remove("7")
    other = opened(trained["plain"], store)
    assert set(scores_of(other)) == {*range(1, ITEMS + 1)} - {7}
    assert "warning: 2 items of the store are left out, the first because: " in capsys.readouterr().err.replace(
        "\n", " "
    )
    lora = opened(readers["lora"], store)  # reads the text anew
    assert set(scores_of(lora)) == {*range(1, ITEMS + 1), 100} - {7}
    assert {each.item: each.version for each in store.items()}["100"] == lora.version


def test_a_language_model_that_is_gone(readers, tmp_path):
    engine = opened(readers["lora"], MemoryStore())
    folder = readers["lora"].run.path.parent / "llama"
    shutil.move(folder, tmp_path / "away")
    try:
        with pytest.raises(InputError, match="llama"):
            engine.items.put([ROSE])
    finally:
        shutil.move(tmp_path / "away", folder)
    assert engine.items.put([ROSE]) == ["added"]


def test_a_removed_item_is_gone_also_where_a_text_cannot_be_read(readers, monkeypatch):
    """Another worker tells of both at once."""
    store = MemoryStore()
    engine, other = opened(readers["text"], store), opened(readers["text"], store)
    other.items.put([ROSE])
    other.items.remove("4")
    monkeypatch.setattr(engine.items._form, "vectors", Mock(side_effect=InputError("the language model is gone")))
    with pytest.raises(InputError, match="is gone"):
        engine.items.follow()
    scores = scores_of(engine)
    assert not {4, 100} & set(scores)
    assert len(scores) == ITEMS - 1


def test_answers_while_items_come_and_go(engine):
    done = threading.Event()

    def change():
        for number in range(30):
            engine.items.put([(str(200 + number), {"title": f"Rose {number}"})])
            engine.items.remove(str(200 + number - 3))
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    known = set(range(1, ITEMS + 1))
    while not done.is_set():
        items = set(scores_of(engine))
        assert known <= items
        assert len(items - known) <= 4
        engine.apply([event("a", str(max(items)), FIRST + 50)])
    thread.join()
    assert set(scores_of(engine)) == {*known, 227, 228, 229}
