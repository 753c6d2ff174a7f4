"""Usage: help, mistyped words, and what a person sees."""

import re

import pytest
from events import ITEMS, TINY_SET

import hydrarec
from hydrarec.models.registry import NAMES

COMMANDS = ("prepare", "train", "evaluate", "recommend", "info", "doctor", "simulate", "plan", "demo")


@pytest.mark.parametrize("command", [(), *[(command,) for command in COMMANDS]])
def test_help_fits_80_columns(command, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = call(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: hydrarec {' '.join(command)}".strip() in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    if not command:
        assert all(f"│ {name} " in done.out for name in COMMANDS)
        assert call().out == done.out
    elif command != ("doctor",):
        assert "--out" in done.out or "--json" in done.out


@pytest.mark.parametrize("command", [*COMMANDS, "serve", "load", "adapt", "add-items", "compare", "bench"])
def test_every_option_is_explained(command, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = re.findall(r"^│ (?:\* {2}| {3}|)(-.*)│$", call(command, "--help").out, re.MULTILINE)
    assert rows
    for row in rows:
        about = re.split(r"\s{2,}", row.strip(), maxsplit=1)
        assert len(about) == 2, row
        assert not about[1].startswith("["), row


@pytest.mark.parametrize(
    ("command", "said"),
    [("serve", "HYDRAREC_API_KEY"), ("load", "HYDRAREC_API_KEY"), ("plan", "which item encoder fits")],
)
def test_help_has_all_that_there_is_to_say(command, said, call):
    assert said in " ".join(call(command, "--help").out.split())


@pytest.mark.parametrize(
    "words",
    [
        ("recommend", "run", "--user", "7", "-k", "1.5"),
        ("simulate", "--events", "9", "--users", "2", "--items", "3", "--out", "x", "--days", "1.5"),
        ("plan", "--items", "1.5"),
        ("plan", "--items", "1e3", "--gpus", "1.5"),
        ("train", "x.csv", "--out", "y", "--seed", "1.5"),
        ("serve", "run", "--workers", "1.5"),
        ("load", "data", "--users", "1.5"),
    ],
)
def test_fractions_are_no_whole_numbers(words, refused):
    assert refused(*words).endswith("'1.5' is no whole number")


def test_words_are_no_whole_numbers(refused):
    assert refused("plan", "--items", "many").endswith("'many' is no whole number")


def test_help_names_every_model(call):
    assert all(name in call("train", "--help").out for name in NAMES)


def test_version(call):
    assert call("--version").out.strip() == hydrarec.__version__


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recomend", "run"], 'Did you mean "recommend"?'),
        (["train"], "SOURCE"),
        (["train", "x.csv"], "--out"),
        (["train", "x.csv", "--out", "r", "--modle", "hydra"], "Did you mean --model?"),
        (["train", "x.csv", "--out", "r", "--model", "hidra"], "did you mean 'hydra'?"),
        (["train", "x.csv", "--out", "r", "--protocol", "tiem"], 'Did you mean "time"?'),
        (["train", "x.csv", "--out", "r", "--set", "train.epcohs=2"], "did you mean 'epochs'?"),
        (["train", "x.csv", "--out", "r", "--set", "modle.dropout=0"], "[modle]"),
        (["train", "x.csv", "--out", "r", "--set", "train.epochs"], "section.key=value"),
        (["train", "x.csv", "--out", "r", "--set", "train.epochs=many"], "train.epochs is 'many'"),
        (["train", "x.csv", "--out", "r", "--set", "train.windows=lst"], "did you mean 'last'?"),
        (["train", "x.csv", "--out", "r", "--seed", "one"], "--seed"),
        (["train", "x.csv", "--out", "r", "--recipe", "none.toml"], "none.toml does not exist"),
        (["train", "x.csv", "--out", "r", "--device", "quantum"], "device 'quantum' cannot be used"),
        (["train", "x.csv", "--out", "r", "--boundary", "soon"], "'soon' is no time"),
        (["train", "x.csv", "--out", "r", "--quantile", "2"], "quantile is 2.0"),
        (["prepare", "x.csv", "--out", "d", "--memory", "lots"], "'lots' is no amount of memory; write it like 4GB"),
        (["evaluate", "r", "--split", "train"], "--split"),
        (
            ["simulate", "--events", "9", "--users", "10", "--items", "5", "--out", "e.parquet"],
            "10 users need an event",
        ),
        (
            ["simulate", *["--events", "9", "--users", "1", "--items", "5", "--out", "e.parquet", "--seed", "-1"]],
            "the seed is -1",
        ),
        (["simulate", "--events", "9.5", "--users", "1", "--items", "5", "--out", "e.parquet"], "no whole number"),
        (["plan", "--items", "many"], "--items"),
        (["plan", "--items", "9", "--gpu-memory", "80"], "--gpu-memory '80' is no amount of memory"),
        (["recommend", "r"], "exactly one of --user, --history and --all"),
        (["recommend", "r", "--user", "1", "--history", "1"], "exactly one of"),
        (["recommend", "r", "--user", "1", "--times", "1"], "--times belongs to --history"),
        (["recommend", "r", "--all"], "give both --all and --out"),
        (["recommend", "r", "--user", "1", "--out", "x.parquet"], "give both --all and --out"),
        (["recommend", "r", "--all", "--out", "all.csv"], "all.csv is no Parquet file; name a FILE.parquet"),
        (["recommend", "r", "--all", "--out", "."], "is a folder; name a FILE.parquet"),
        (["plan", "--items", "9", "--id-length", "-9"], "id_length is -9; it must be at least 0"),
        (["train", "x.csv", "--out", "r", "--seed", str(2**64)], "seed must be below 2**63"),
        (["doctor", "now"], "now"),
        (["info", "nowhere"], "nowhere is neither a data set nor a run folder"),
    ],
)
def test_mistyped_words(words, message, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--user", "99"], "user '99' is not in the data set; give the history itself instead"),
        (["--user", "3", "--at", "1999-01-01"], "user 3 has no event before"),
        (["--user", "3", "--at", "late"], "'late' is no time; give seconds since 1970 or a date"),
        (["--history", "1,99", "--strict"], "unknown item ids: 99"),
        (["--history", "1,2", "--times", "1"], "one time for each item"),
        (["--history", ","], "no event with an item that the model knows"),
        (["--history", "1", "-k", "0"], "k is 0; it must be at least 1"),
    ],
)
def test_bad_questions(words, message, refused, place):
    assert message in refused("recommend", place / "markov", *words)


@pytest.mark.parametrize("given", [{}, {"RANK": "first"}, {"RANK": "0"}])
def test_one_of_several_processes_that_does_not_know_which(given, refused, place, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", **given}.items():
        monkeypatch.setenv(name, value)
    message = refused("evaluate", place / "markov")
    assert message.startswith("WORLD_SIZE is 2 and ")
    assert message.endswith("is missing or wrong; start with torchrun")


@pytest.mark.parametrize("count", ["two", "0", "-1", ""])
def test_a_number_of_processes_that_is_none(count, refused, place, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", count)
    for words in (["evaluate", place / "markov"], ["train", place / "events.csv", "--out", place / "none"]):
        assert refused(*words).startswith(f"WORLD_SIZE is {count!r}, which is no number of processes")


def test_hstu_has_no_validation(refused, place):
    assert "protocol hstu has no valid split; use --split test" in refused(
        "evaluate", place / "hstu", "--split", "valid"
    )


def test_what_a_person_sees(call, place, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    titles = tmp_path / "titles.csv"
    titles.write_text("item,title\n" + "".join(f"{item},Item number {item}\n" for item in range(1, ITEMS + 1)))
    run = tmp_path / "run"
    source = place / "events.csv"
    shown = {
        "prepare": call("prepare", source, "--out", tmp_path / "d", "--protocol", "loo"),
        "train": call("train", source, "--out", run, "--items", titles, "--protocol", "hstu", *TINY_SET),
        "evaluate": call("evaluate", run),
        "recommend": call("recommend", run, "--history", "1,2"),
        "all": call("recommend", run, "--all", "--out", tmp_path / "all.parquet"),
        "info": call("info", run),
        "info of data": call("info", run / "dataset"),
        "doctor": call("doctor"),
    }
    for name, done in shown.items():
        assert done.code == 0, name
        assert max(len(line.rstrip()) for line in done.out.replace(str(tmp_path), "").splitlines()) <= 80, name
        assert "\n\n\n" not in done.out, name
    assert "warning: protocol loo leaks the future" in shown["prepare"].err
    assert "warning: protocol hstu leaks the future" in shown["train"].err
    assert "columns: user = user, item = item, time = time" in shown["train"].err
    assert "times: seconds" in shown["train"].err
    for name in ("train", "evaluate"):
        assert "protocol: hstu, target last; ranks all unseen items" in shown[name].out
        assert "95 % interval" in shown[name].out
        assert re.search(r"^seed 1, data [0-9a-f]{16}", shown[name].out, re.MULTILINE), name
    assert "item head" in shown["evaluate"].out
    assert f"next: hydrarec recommend {run} --user ID" in shown["train"].out
    assert "Item number" in shown["recommend"].out
    assert f"{10 * 30} recommendations" in shown["all"].out
    assert "hstu" in shown["info"].out
    assert "2020-09-13" in shown["info of data"].out  # times as people write them


def test_a_finished_run_says_so(call, place):
    done = call("train", place / "events.csv", "--out", place / "markov", "--model", "markov")
    assert done.code == 0
    assert "was finished before; these are its results" in done.err


def test_a_plan_fits_80_columns(call):
    done = call("plan", "--items", "1e9", "--dim", 128, "--gpus", 8, "--no-rates")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert "float16" in done.out


def test_help_follows_the_width_of_each_moment(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    wide = call("train", "--help").out
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, call("train", "--help").out.splitlines())) <= 80 < max(map(len, wide.splitlines()))
