"""Items that come after training."""

import json

import pyarrow as pa
import pytest
from language_models import TITLES, needs_llm
from safetensors.torch import load_file
from test_text_training import LOO, cache, settings, shop  # noqa: F401 (a fixture)

from hydrarec.cli import main
from hydrarec.errors import HydrarecError, InputError
from hydrarec.progress import Silent
from hydrarec.recommender import Recommender
from hydrarec.train import run as run_module
from hydrarec.train.add_items import add_items
from hydrarec.train.run import open_run
from hydrarec.train.train import train

pytestmark = needs_llm

NEW = pa.table({"item": [100, 3, 101, 5, 102], "title": ["Rose soap", TITLES[3], None, "Other tea", "Tea"]})


@pytest.fixture
def trained(llama, tmp_path):
    def make(data=None, **changes):
        return train(data or shop(), tmp_path / "run", settings(llama, **changes), LOO, progress=Silent())

    return make


def score_of(run, item, history=(0, 1, 2)):
    found = Recommender(run).recommend([list(history)], k=1000).to_pylist()
    return {row["item"]: row["score"] for row in found}[item]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"items.kind": "both"},
        {"items.kind": "both", "items.storage": "half"},
        {"items.kind": "both", "items.storage": "hashed"},
        {"items.tuning.mode": "lora"},
        {"items.tuning.mode": "full", "items.tuning.layers": 1},
    ],
    ids=["frozen", "both", "half", "hashed", "lora", "full"],
)
def test_new_items_are_recommended_at_once_with_the_vectors_of_their_text(trained, changes):
    run = trained(**changes)
    before = {item: score_of(run, item) for item in range(8)}
    found = add_items(run, NEW)
    assert (found.added, found.updated, found.skipped, found.without_text) == (2, 1, 2, (101,))
    run = open_run(run.path)
    assert run.items()["item"].to_pylist() == [*range(8), 100, 102]
    assert run.vocabulary["items"] == 10
    assert run.items()["title"].to_pylist() == [*TITLES[:5], "Other tea", *TITLES[6:], "Rose soap", "Tea"]
    assert run.items()["events"].to_pylist()[-2:] == [0, 0]
    for item in {*range(8)} - {5}:
        assert score_of(run, item) == pytest.approx(before[item], abs=1e-4)
    assert score_of(run, 5) != pytest.approx(before[5], abs=1e-4)
    if "items.kind" not in changes:  # there the known item has a vector of the table beside its text
        assert score_of(run, 102) == pytest.approx(score_of(run, 4), abs=1e-4)  # both are called Tea
    again = add_items(run, NEW)
    assert (again.added, again.updated, again.skipped) == (0, 0, 5)


def test_a_recommender_takes_them_at_once(trained):
    found = Recommender(trained())
    before = found.recommend([[0, 1, 2]], k=1000).to_pylist()
    added = found.add_items(NEW)
    assert (added.added, added.updated, added.without_text) == (2, 1, (101,))
    after = {row["item"]: row["score"] for row in found.recommend([[0, 1, 2]], k=1000).to_pylist()}
    assert set(after) == {*range(8), 100, 102}
    assert {row["item"]: row["score"] for row in before if row["item"] != 5} == pytest.approx(
        {item: after[item] for item in range(8) if item != 5}, abs=1e-5
    )
    assert found.item_table["title"].to_pylist()[-2:] == ["Rose soap", "Tea"]
    assert len(found.recommend([[100, 102]])) == 10
    with pytest.raises(InputError, match="have no text"):
        found.add_items(NEW, strict=True)
    assert found.item_table.num_rows == 10


def test_known_items_keep_what_the_source_has_no_column_for(trained):
    brands = [f"brand {item}" for item in range(8)]
    run = trained(shop(brand=brands))
    before = score_of(run, 3), score_of(run, 4)
    more = pa.table({"item": [100, 3, 4], "Title": ["Rose soap", TITLES[3], "Other tea"]})
    found = add_items(run, more)
    assert (found.added, found.updated, found.skipped) == (1, 1, 1)
    run = open_run(run.path)
    assert run.items()["brand"].to_pylist() == [*brands, None]
    assert run.items()["title"].to_pylist() == [*TITLES[:4], "Other tea", *TITLES[5:], "Rose soap"]
    assert score_of(run, 3) == pytest.approx(before[0], abs=1e-4)
    assert score_of(run, 4) != pytest.approx(before[1], abs=1e-4)
    add_items(run, pa.table({"item": [100, 5], "BRAND": ["new", "other"]}))
    run = open_run(run.path)
    assert run.items()["brand"].to_pylist() == [*brands[:5], "other", *brands[6:], "new"]
    assert run.items()["title"].to_pylist() == [*TITLES[:4], "Other tea", *TITLES[5:], "Rose soap"]


def test_a_domain_comes_with_a_new_item(trained, tmp_path):
    run = trained(shop(domain=["a"] * 4 + ["b"] * 4))
    more = pa.table({"item": [100, 101], "title": ["Rose soap", "Rose soap"], "domain": ["b", "a"]})
    add_items(run, more)
    model = open_run(run.path).model()
    assert model.domains.item_domains.tolist() == [0] * 4 + [1] * 4 + [1, 0]
    assert model.items.item_domains.tolist() == [0] * 4 + [1] * 4 + [1, 0]
    found = Recommender(open_run(run.path)).recommend([[0, 1]], k=9, domain="b")["item"].to_pylist()
    assert 100 in found
    assert 101 not in found
    with pytest.raises(InputError, match="no domain 'c'; `hydrarec adapt` brings new domains"):
        add_items(run, pa.table({"item": [102], "title": ["x"], "domain": ["c"]}))
    with pytest.raises(InputError, match="give each item one in column 'domain': a, b"):
        add_items(run, pa.table({"item": [102], "title": ["x"]}))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"item": [1, 1], "title": ["a", "b"]}, "has item 1 more than once"),
        ({"item": [1, None], "title": ["a", "b"]}, "item is empty; filter such rows out"),
        ({"item": ["1", "x"], "title": ["a", "b"]}, "row 2 after the header: the item id is no whole number"),
        ({"item": [1], "brand": ["a"]}, "there is no column of text that the run has: title; name one of them so"),
        ({"word": ["a"]}, "which column of the pyarrow Table is the item"),
    ],
)
def test_bad_tables_change_nothing(trained, table, message):
    run = trained()
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=message):
        add_items(run, pa.table(table))
    assert {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before


def test_strict_names_an_item_without_text(trained):
    run = trained()
    with pytest.raises(InputError, match="1 items have no text, the first is 101; give them one"):
        add_items(run, NEW, strict=True)
    assert run.items().num_rows == 8


def test_a_run_that_knows_ids_alone_is_refused(trained):
    run = trained(**{"items.kind": "table"})
    with pytest.raises(InputError, match=r"knows its items by id alone; train with --set items\.kind=text, or both"):
        add_items(run, NEW)


def test_an_interruption_between_the_two_files_adds_nothing(trained, monkeypatch):
    run = trained(**{"items.kind": "both"})
    before = score_of(run, 0)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_module.pq, "write_table", full)
    with pytest.raises(HydrarecError, match=r"items\.parquet.*nothing was changed"):
        add_items(run, NEW)
    monkeypatch.undo()
    run = open_run(run.path)
    assert len(load_file(run.path / "model.safetensors")["items.vectors"]) == 10
    assert run.model().n_items == run.items().num_rows == 8
    assert score_of(run, 0) == pytest.approx(before, abs=1e-5)


def test_what_was_measured_can_be_measured_again(trained, tmp_path):
    data = shop()
    data.save(tmp_path / "data")
    from hydrarec.data.store import Dataset

    run = trained(Dataset.open(tmp_path / "data"))
    before = Recommender(run).evaluate().metrics
    add_items(run, NEW.slice(0, 2))
    assert Recommender(open_run(run.path)).evaluate().metrics == before


def test_the_command(trained, tmp_path, capsys):
    run = trained()
    (tmp_path / "new.csv").write_text("item,title\n100,Rose soap\n101,\n3,Toys\n")
    assert main(["add-items", str(run.path), str(tmp_path / "new.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"added": 1, "updated": 1, "skipped": 1}
    assert main(["add-items", str(run.path), str(tmp_path / "new.csv")]) == 0
    assert capsys.readouterr().out == "added 0, updated 0, skipped 3\nwithout text, and so not added: 101\n"
    assert main(["add-items", str(run.path), str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
    assert main(["recommend", str(run.path), "--history", "0,100", "-k", "20", "--json"]) == 0
    assert 100 in [row["item"] for row in json.loads(capsys.readouterr().out)["recommendations"]]
