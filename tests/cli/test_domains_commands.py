"""Several shops from their files to recommendations, at the command line."""

import re

import pytest
from events import ITEMS, USERS, event_table, write_csv

ODD = [item for item in range(1, ITEMS + 1) if item % 2]
EVEN = [item for item in range(1, ITEMS + 1) if item % 2 == 0]


def shop(place, name, items):
    """``NAME/events.csv`` with the events of these items, and ``NAME/titles.csv``."""
    rows = [row for row in event_table().to_pylist() if row["item"] in items]
    (place / name).mkdir()
    table = type(event_table()).from_pylist(rows)
    (place / name / "titles.csv").write_text("item,title\n" + "".join(f"{item},{name} no. {item}\n" for item in items))
    return write_csv(place / name / "events.csv", table)


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    place = tmp_path_factory.mktemp("shops")
    return [shop(place, "odd", ODD), shop(place, "even", EVEN)]


@pytest.fixture
def dataset(shops, tmp_path, call):
    titles = [word for file in shops for word in ("--items", file.with_name("titles.csv"))]
    done = call("prepare", *shops, *titles, "--out", tmp_path / "set")
    assert done.code == 0, done.err
    assert "protocol: time, quantile 0.9, target last; ranks training items by domain" in done.out
    assert "odd: columns: user = user, item = item, time = time" in done.err
    assert f"{USERS} users with events in several domains" in done.err
    return tmp_path / "set"


def test_prepare_and_info_in_json(shops, tmp_path, ask):
    made = ask("prepare", *shops, "--out", tmp_path / "set", "--domains", "all")
    assert made["domains"] == ["even", "odd"]
    assert (made["users"], made["items"]) == (USERS, ITEMS)
    told = ask("info", tmp_path / "set")
    assert told["protocol"]["domains"] == "all"
    assert told["domains"] == {
        name: {"events": made["events"] // 2, "users": USERS, "items": ITEMS // 2} for name in ("even", "odd")
    }


def test_info_shows_a_table(dataset, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = call("info", dataset).out.replace(str(dataset.parent), "")
    assert re.search(r"domain +events +users +items", shown)
    assert re.search(rf"even +180 +{USERS} +{ITEMS // 2}", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_data_without_domains_says_nothing_of_them(place, ask, call):
    assert "domains" not in ask("info", place / "dataset")
    assert not re.search(r"domain +events", call("info", place / "dataset").out)
    assert "by domain" not in call("evaluate", place / "markov").out
    assert "domains" not in ask("train", place / "events.csv", "--out", place / "markov", "--model", "markov")


def test_train_evaluate_and_recommend(dataset, tmp_path, call, ask, refused, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run = tmp_path / "run"
    trained = call("train", dataset, "--out", run, "--model", "markov")
    assert trained.code == 0
    assert re.search(r"domain +targets +HR@10 +NDCG@10", trained.out)
    assert re.search(r"even +\d+ +\d\.\d{4} +\d\.\d{4}", trained.out)
    told = ask("train", dataset, "--out", run, "--model", "markov")
    assert set(told["domains"]) == {"even", "odd"}
    assert told["domains"]["even"]["queries"] + told["domains"]["odd"]["queries"] == USERS
    shown = call("evaluate", run).out
    assert "ranks training items by domain" in shown
    assert re.search(r"domain even +\d+ ", shown)
    assert max(map(len, shown.splitlines())) <= 80

    # Item i is followed by item i + 1, of the other shop.
    history = ("--history", "odd:3,even:4")
    found = ask("recommend", run, *history, "-k", "1")["recommendations"]
    assert found[0]["item"] == "odd:5"
    found = ask("recommend", run, *history, "-k", "50", "--domain", "even", "--exclude-seen")["recommendations"]
    assert sorted(row["item"] for row in found) == sorted(f"even:{item}" for item in EVEN if item != 4)
    assert "even no." in call("recommend", run, "--user", "3", "--domain", "even").out
    written = tmp_path / "all.parquet"
    assert ask("recommend", run, "--all", "--out", written, "--domain", "odd")["rows"] == USERS * len(ODD)
    message = refused("recommend", run, *history, "--domain", "evem")
    assert message == "there is no domain 'evem'; did you mean 'even'?"


def test_one_file_with_a_column(tmp_path, ask, refused):
    events = event_table()
    source = write_csv(
        tmp_path / "events.csv",
        events.append_column("shop", [["odd" if item % 2 else "even" for item in events["item"].to_pylist()]]),
    )
    assert ask("prepare", source, "--domain", "shop", "--out", tmp_path / "set")["domains"] == ["even", "odd"]
    with source.open("a") as file:
        file.write("1,5,1600000000,even\n")
    message = refused("prepare", source, "--domain", "shop", "--out", tmp_path / "other")
    assert "item 5 has events in two domains, 'even' and 'odd'" in message


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--no-time", "--protocol", "loo"], "merged by time, so all need one"),
        (["--domain", "shop"], "leave out --domain shop"),
        (["--items", "titles.csv"], "give --items once per source, in the same order"),
    ],
)
def test_what_several_sources_do_not_take(shops, tmp_path, refused, more, message):
    assert message in refused("prepare", *shops, "--out", tmp_path / "set", *more)
    assert not (tmp_path / "set").exists()


def test_two_sources_of_the_same_name(shops, tmp_path, refused):
    (tmp_path / "odd").mkdir()
    other = write_csv(tmp_path / "odd" / "interactions.csv", event_table())
    message = refused("prepare", shops[0], other, "--out", tmp_path / "set")
    assert "would both be domain 'odd'; rename one of them" in message
