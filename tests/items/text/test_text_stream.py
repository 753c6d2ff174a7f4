"""Runs that read their items' text go on with a day's events."""

import shutil

import pyarrow as pa
import pytest
import torch
from language_models import TITLES, needs_llm
from test_text_training import cache, settings  # noqa: F401 (a fixture)

from hydrarec.data.prepare import prepare
from hydrarec.data.protocol import Protocol
from hydrarec.progress import Silent
from hydrarec.recommender import Recommender
from hydrarec.train.add_items import add_items
from hydrarec.train.run import open_run
from hydrarec.train.stream import continue_run
from hydrarec.train.train import train

pytestmark = needs_llm

HOUR, START = 3_600, 1_600_000_000
MORE = ["Rose soap", "Blue tea", "Other tea"]
NEW = pa.table({"item": [8, 9, 11], "title": [*MORE[:2], None]})


def events(first, last, items):
    """Twenty users count through ``items``, an event an hour from hour ``first`` to ``last``."""
    rows = [(u, items[(u + h) % len(items)], START + h * HOUR) for h in range(first, last) for u in range(20)]
    return pa.table(dict(zip(("user", "item", "time"), map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture
def trained(llama, tmp_path):
    def make(**changes):
        titles = pa.table({"item": [*range(8)], "title": TITLES})
        data = prepare(events(0, 20, [*range(8)]), tmp_path / "data", items=titles)
        return train(data, tmp_path / "run", settings(llama, **changes), Protocol.named("time"), progress=Silent())

    return make


def go_on(run, source, **others):
    return continue_run(run.path, source, progress=Silent(), **others)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"items.kind": "both"},
        {"items.kind": "both", "items.storage": "half"},
        {"items.tuning.mode": "lora"},
        {"items.tuning.mode": "cached"},
    ],
    ids=["frozen", "both", "half", "lora", "cached"],
)
def test_new_items_come_with_their_text(trained, changes, tmp_path):
    run = trained(**changes)
    shutil.copytree(run.path, tmp_path / "twin")
    run, day = go_on(run, events(20, 40, [*range(10)]), columns={"items": NEW}, overrides=["train.epochs=2"])
    assert (day.items, day.new, day.evicted) == (10, 2, 0)
    assert run.items()["item"].to_pylist() == [*range(10)]
    assert run.items()["title"].to_pylist() == [*TITLES, *MORE[:2]]
    items = run.model().items
    if not changes:  # the same text, the same vector, whoever brings it
        twin = Recommender.load(tmp_path / "twin")
        twin.add_items(NEW)
        expected = dict(zip(twin.item_table["item"].to_pylist(), twin.model.items.vectors, strict=True))
        assert all(torch.allclose(items.vectors[row], expected[row], atol=1e-5) for row in (8, 9))
    else:
        assert items.vectors[8:].norm(dim=1).min() > 0
    if items.table is not None:  # what was learned of them counts
        assert items.known.tolist() == [1.0] * 10
    found = Recommender.load(run.path).recommend([[0, 1, 2]], k=100)["item"].to_pylist()
    assert sorted(found) == [*range(10)]
    # Nobody's row is taken, however long nobody asked for an item.
    run, day = go_on(run, events(40 * 24, 40 * 24 + 9, [8, 9]), keep_days=1)
    assert (day.items, day.new, day.evicted) == (10, 0, 0)


def test_a_recommender_from_before_a_day_adds_items_to_the_run_as_it_is_now(trained):
    run = trained()
    earlier = Recommender(run)
    run, _ = go_on(run, events(20, 30, [*range(8)]))
    assert earlier.add_items(NEW).added == 2
    now = open_run(run.path)
    assert now.dataset == run.dataset
    assert now.dataset["days"] == 1
    assert earlier.dataset.n_events == 30 * 20
    _, day = go_on(now, events(30, 31, [*range(10)]))
    assert (day.events, day.new) == (20, 0)


def test_an_item_that_was_added_before_its_first_event_keeps_its_row(trained):
    run = trained()
    add_items(run, pa.table({"item": [50, 60, 3], "title": ["Rose soap", "Blue tea", "Green tea"]}))
    run = open_run(run.path)
    before = run.model().items.vectors.clone()
    run, day = go_on(run, events(20, 30, [3, 60]))
    assert (day.items, day.new) == (10, 0)
    assert run.items()["item"].to_pylist() == [*range(8), 50, 60]
    assert run.items()["title"].to_pylist() == [*TITLES[:3], "Green tea", *TITLES[4:], "Rose soap", "Blue tea"]
    assert run.items()["events"].to_pylist()[8:] == [0, 100]
    assert torch.equal(run.model().items.vectors, before)


def test_new_items_without_text_are_named(trained, capsys):
    run, day = go_on(trained(), events(20, 30, [3, 11, 12]), columns={"items": NEW})
    assert (day.items, day.new) == (10, 2)
    assert "warning: 2 new items have no text, such as 11" in capsys.readouterr().err
    assert run.model().items.vectors[8:].abs().max() == 0
    assert len(Recommender.load(run.path).recommend([[3, 11]], k=3)) == 3
    late = pa.table({"item": [11, 3], "title": ["Other tea", "Not its name"]})
    run, day = go_on(run, events(30, 40, [3, 11]), columns={"items": late})
    assert day.new == 0
    assert run.items()["title"].to_pylist() == [*TITLES, "Other tea", None]
    vectors = run.model().items.vectors
    assert vectors[8].norm() > 0
    assert vectors[9].abs().max() == 0
