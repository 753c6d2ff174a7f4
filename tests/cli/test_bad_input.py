"""Every kind of bad input ends with one message, exit code 2, and nothing half written."""

import json
import shutil

import pytest

from hydrarec.train.run import VERSION

HEADER = "user,item,time\n"
GOOD = HEADER + "".join(f"{user},{item},{100 * item + user}\n" for user in range(1, 6) for item in range(1, 7))

FILES = {
    "missing column": ("user,thing,time\n1,2,3\n", "which column of events.csv is the item?"),
    "empty file": ("", "events.csv is empty"),
    "header alone": (HEADER, "has a header but no events"),
    "times of two kinds": (HEADER + "1,2,2024-01-01\n1,3,2024-01-02\n2,3,77x\n", "'77x' is not a date"),
    "times that are no numbers": (HEADER + "1,2,soon\n1,3,later\n", "'soon' is no time"),
    "times of two units": (HEADER + "1,2,1700000000\n1,3,1700000000000\n", "is not in milliseconds"),
    "no user": (HEADER + "1,2,3\n,3,4\n", "row 2 after the header, column user"),
    "no item": (HEADER + "1,,3\n", "row 1 after the header, column item"),
    "no time": (HEADER + "1,2,\n", "column time: empty is no time"),
    "negative id": (HEADER + "1,2,3\n-1,2,4\n", "'-1' is negative"),
    "duplicate header": ("user,item,item,time\n1,2,2,3\n", "duplicate column names: item"),
    "one item": (HEADER + "1,5,1\n2,5,2\n", "a single item, 5; there is nothing to choose from"),
    "a row too short": (HEADER + "1,2,3\n1,2\n", "events.csv cannot be read"),
    "not text": (b"\xff\xfe\x00user", "events.csv"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["prepare", "train"])
@pytest.mark.parametrize("kind", FILES)
def test_bad_events(kind, command, here, refused):
    content, message = FILES[kind]
    (here / "events.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    more = ["--model", "popularity"] if command == "train" else []
    assert message in refused(command, "events.csv", "--out", "made", *more)
    assert [path.name for path in here.iterdir()] == ["events.csv"]


@pytest.mark.parametrize("name", ["events.parquet", "events.csv.gz", "events.jsonl", "events.xlsx"])
def test_unreadable_files(name, here, refused):
    (here / name).write_bytes(b"\x00\x01 this is nothing")
    message = refused("prepare", name, "--out", "made")
    assert name in message
    assert not (here / "made").exists()


def test_a_given_column_that_does_not_exist(here, refused):
    (here / "events.csv").write_text(GOOD)
    message = refused("prepare", "events.csv", "--out", "made", "--user", "customer")
    assert message == "events.csv has no column 'customer' (--user). Its columns are: user, item, time"


def test_users_with_one_event(here, refused, call):
    (here / "events.csv").write_text(GOOD + "77,1,350\n")
    assert call("train", "events.csv", "--out", "run", "--model", "markov", "--protocol", "loo").code == 0
    assert call("recommend", "run", "--user", "77").code == 0
    # A data set of nothing else can be made, but says that it cannot be measured.
    (here / "single.csv").write_text(HEADER + "1,2,3\n2,3,4\n3,2,5\n")
    done = call("prepare", "single.csv", "--out", "single", "--protocol", "loo", "--json")
    assert (done.code, json.loads(done.out)["targets"]) == (0, {"valid": 0, "test": 0})
    assert "warning: protocol loo leaves no test target: no user has enough events" in done.err
    assert "no user has enough events" in refused("train", "single", "--out", "r", "--protocol", "loo")
    assert not (here / "r" / "config.json").exists()


def test_events_without_time(here, refused, call):
    (here / "events.csv").write_text("user,item\n1,2\n1,3\n1,4\n2,3\n2,4\n2,2\n")
    assert "--no-time" in refused("train", "events.csv", "--out", "run")
    assert "--protocol loo" in refused("train", "events.csv", "--out", "run", "--no-time")
    arguments = ("train", "events.csv", "--out", "run", "--no-time", "--protocol", "loo", "--model", "markov")
    assert call(*arguments).code == 0
    assert "needs event times" in refused(
        "train", "run/dataset", "--out", "b", "--model", "recent", "--protocol", "loo"
    )


def test_folders_in_the_way(here, refused, place):
    assert "exists already" in refused("prepare", place / "events.csv", "--out", place / "dataset")
    (here / "photos").mkdir()
    (here / "photos" / "cat.jpg").touch()
    assert "not a run folder" in refused("train", place / "events.csv", "--out", "photos")
    assert "another run (model.name was" in refused("train", place / "events.csv", "--out", place / "markov")
    assert "is a run folder; name the data set" in refused("train", place / "markov", "--out", "run")
    message = refused("train", place / "dataset", "--out", "run", "--item", "item")
    assert "prepared already; item cannot be chosen any more" in message
    assert not (here / "run").exists()


def test_item_text_that_comes_too_late(here, refused, call):
    (here / "events.csv").write_text(GOOD)
    (here / "titles.csv").write_text("item,title\n1,One\n")
    train = ("train", "events.csv", "--model", "markov", "--protocol", "loo", "--out")
    assert call(*train, "run").code == 0
    assert "made with other item text" in refused(*train, "run", "--items", "titles.csv")
    assert call(*train, "with", "--items", "titles.csv").code == 0
    assert call(*train, "with", "--items", "titles.csv").code == 0
    assert call(*train, "with").code == 0


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "file", ["items.npy", "times.npy", "offsets.npy", "items.parquet", "users.parquet", "dataset.json"]
)
def test_a_truncated_data_set(file, here, refused, place):
    shutil.copytree(place / "dataset", here / "dataset")
    cut(here / "dataset" / file)
    message = refused("train", "dataset", "--out", "run")
    assert f"dataset/{file}" in message
    assert "run `hydrarec prepare` again" in message


@pytest.mark.parametrize("file", ["model.safetensors", "items.parquet", "config.json", "metrics.json", "protocol.json"])
def test_a_truncated_run(file, here, refused, place):
    shutil.copytree(place / "hydra", here / "run")
    cut(here / "run" / file)
    message = refused("recommend", "run", "--history", "1,2")
    assert f"run/{file}" in message
    assert "train again" in message
    (here / "run" / file).unlink()
    assert "run" in refused("recommend", "run", "--history", "1,2")


@pytest.mark.parametrize("file", ["tensors.safetensors", "position.json"])
def test_a_truncated_checkpoint(file, here, refused, place, call):
    shutil.copytree(place / "hydra", here / "run")
    (here / "run" / "metrics.json").unlink()  # as if it had been killed at its very end
    (checkpoint,) = (here / "run" / "checkpoints").iterdir()
    cut(checkpoint / file)
    settings = json.loads((here / "run" / "config.json").read_text())["settings"]
    given = {section: settings[section] for section in ("model", "train")}
    flags = [word for section in given for key, value in given[section].items()
             for word in ("--set", f"{section}.{key}={'none' if value is None else json.dumps(value)}")]  # fmt: skip
    message = refused("train", place / "dataset", "--out", "run", *flags)
    assert str(checkpoint.relative_to(here)) in message
    assert "--resume never" in message
    assert call("train", place / "dataset", "--out", "run", *flags, "--resume", "never").code == 0


@pytest.mark.parametrize(("folder", "file"), [("hydra", "config.json"), ("dataset", "dataset.json")])
def test_a_folder_of_a_newer_version(folder, file, here, refused, place):
    shutil.copytree(place / folder, here / folder)
    head = json.loads((here / folder / file).read_text())
    (here / folder / file).write_text(json.dumps(head | {"version": VERSION + 1, "hydrarec": "9.0", "more": 1}))
    for words in (["info", folder], ["evaluate", folder] if folder == "hydra" else ["train", folder, "--out", "run"]):
        message = refused(*words)
        assert "newer hydrarec" in message or "hydrarec 9.0" in message
        assert "upgrade hydrarec" in message


def test_a_run_without_its_data_set(here, refused, place, call):
    shutil.copytree(place / "dataset", here / "dataset")
    assert call("train", "dataset", "--out", "run", "--model", "markov").code == 0
    shutil.move(here / "dataset", here / "elsewhere")
    for words in (["evaluate", "run"], ["recommend", "run", "--user", "3"]):
        assert "name it with --dataset" in refused(*words)
        assert call(*words, "--dataset", "elsewhere").code == 0
    assert call("recommend", "run", "--history", "3").code == 0
