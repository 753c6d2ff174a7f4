"""Real comparisons in real processes."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comparisons import HEAD, HYDRA, MARKOV, SMALL, TINY
from events import USERS, event_table, write_csv

from hydrarec.cli import main
from hydrarec.compare.forms import FORMS
from hydrarec.compare.values import unpack
from hydrarec.errors import InputError
from hydrarec.sharing import alone_in

SPEC = (HEAD + HYDRA + MARKOV).replace("seeds = [1, 2]", "seeds = [1, 4]")
TRAIN_JSON = {"run", "protocol", "metrics", "parameters", "seconds", "peak_memory_bytes", "epochs", "fingerprint"}
TRAIN_JSON |= {"seed", "machine", "validation"}
MORE = {
    "model",
    "dataset",
    "seconds_to_best",
    "events_per_second",
    "sees_request_time",
    "recipe",
    "commit",
    "ndcg10",
    "hr10",
}


def compare(capsys, *arguments):
    """(exit code, the object printed, standard error) of a comparison in this process."""
    capsys.readouterr()
    code = main(["compare", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A folder with a finished comparison, and what the command printed."""
    place = tmp_path_factory.mktemp("compare")
    write_csv(place / "events.csv", event_table())
    (place / "spec.toml").write_text(SPEC)
    command = [sys.executable, "-m", "hydrarec", "compare", "spec.toml", "--json"]
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert ended.stdout.count("\n") == 1
    return place, json.loads(ended.stdout)


def results(place, pattern="*/*.json"):
    found = {path.relative_to(place / "results").as_posix(): path for path in place.glob(f"results/{pattern}")}
    return {name: json.loads(path.read_text()) for name, path in sorted(found.items())}


def test_every_run_is_a_file_with_all_that_is_known_of_it(done):
    place, _ = done
    found = results(place)
    models = ["hydra-1", "hydra-4", "markov-1"]
    assert list(found) == [f"shop-{table}/{name}.json" for table in ("hstu", "loo") for name in models]
    for name, each in found.items():
        assert set(each) >= TRAIN_JSON | MORE, name
        assert name == f"shop-{each['protocol']}/{each['model']}-{each['seed']}.json"
        assert each["dataset"] == "shop"
        assert set(each["metrics"]) >= {"HR@10", "NDCG@10", "MRR"}
        assert each["queries"] == USERS
        assert each["recipe"]["model"]["name"] == each["model"]
        assert 0 < each["seconds_to_best"] <= each["seconds"]
        assert each["cpu_seconds"] > 0
        assert each["events_per_second"] > 0
        assert not Path(each["run"]).is_absolute()
        assert (each["validation"] is None) == (each["protocol"] == "hstu")
        hits = unpack(each["hr10"], "f4", name)
        assert hits.mean() == pytest.approx(each["metrics"]["HR@10"], abs=1e-6)
        assert ((hits > 0) == (unpack(each["ndcg10"], "f4", name) > 0)).all()
    hydra = found["shop-loo/hydra-1.json"]
    assert "domain_curves" not in hydra
    assert [entry[0] for entry in hydra["curve"]] == list(range(1, hydra["epochs"] + 1))
    assert len(hydra["losses"]) == hydra["epochs"]
    assert hydra["losses"][-1] < hydra["losses"][0]
    assert max(entry[1] for entry in hydra["curve"]) == pytest.approx(hydra["validation"]["NDCG@10"], abs=1e-6)
    assert hydra["machine"]["threads"] == 1  # as many runs at a time as there are cores


def test_finished_runs_keep_their_weights_and_no_checkpoints(done):
    place, _ = done
    assert len(list(place.glob("runs/compare/*/*/model.safetensors"))) > 2
    assert not list(place.glob("runs/compare/**/checkpoints"))


def test_trials_know_nothing_of_the_test_split(done):
    place, _ = done
    trials = results(place, "*/tuning/*.json")
    assert list(trials) == ["shop-loo/tuning/hydra-1.json", "shop-loo/tuning/hydra-2.json"]
    for each in trials.values():
        assert not {"metrics", "ndcg10", "intervals", "groups", "users"} & set(each)
        assert each["validation"]["NDCG@10"] > 0
        assert (each["seed"], len(each["point"])) == (1, 1)


def test_settings_chosen_on_loo_are_those_of_hstu(done):
    place, _ = done
    trials = results(place, "*/tuning/*.json").values()
    best = max(trials, key=lambda each: each["validation"]["NDCG@10"])
    for name, each in results(place, "*/hydra-?.json").items():
        assert each["point"] == best["point"], name
        assert each["recipe"]["train"] == best["recipe"]["train"] | {"seed": each["seed"]}
        if each["protocol"] == "hstu":
            assert each["epochs"] == 2  # all of them
    assert results(place)["shop-loo/hydra-1.json"]["run"] == best["run"]  # not trained again
    assert results(place)["shop-loo/hydra-1.json"]["validation"] == best["validation"]


def test_the_object_that_is_printed(done):
    _, shown = done
    assert list(shown) == ["tables", "failed"]
    assert shown["failed"] == {}
    assert [table["name"] for table in shown["tables"]] == ["shop-loo", "shop-hstu"]
    for table in shown["tables"]:
        keys = {
            "protocol",
            "fingerprint",
            "data",
            "targets",
            "machines",
            "part",
            "chosen_on",
            "validates",
            "rivals_by",
            "rows",
            "missing",
        }
        assert set(table) == keys | {"name"}
        assert (table["missing"], table["chosen_on"], table["rivals_by"]) == ([], "shop-loo", "validation")
        rows = {row["label"]: row for row in table["rows"]}
        assert rows["hydra"]["rival"] == "markov"
        assert rows["hydra"]["seeds"] == [1, 4]
        assert 0 < rows["hydra"]["p"] <= 1
        assert math.isfinite(rows["hydra"]["difference"])
        assert rows["hydra"]["costs"]["encoder"] > 0
        assert rows["markov"]["seeds"] == [1]


def test_what_is_done_is_not_done_again_even_without_the_run_folders(done, capsys, monkeypatch, tmp_path):
    place, shown = done
    monkeypatch.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in place.glob("results/**/*.json")}
    assert compare(capsys, "spec.toml", "--runs", tmp_path / "none") == (0, shown, "")
    assert {path: path.stat().st_mtime_ns for path in place.glob("results/**/*.json")} == before
    assert not (tmp_path / "none").exists()
    code, part, _ = compare(capsys, "spec.toml", "--only", "hydra", "--table", "shop-hstu")
    assert code == 0
    assert [[row["label"] for row in table["rows"]] for table in part["tables"]] == [["hydra"]]


def test_a_failed_run_does_not_stop_the_others(here, capsys):
    bad = f'[[model]]\nlabel = "bad"\nname = "hydra"\nset = {TINY[:-1]}, "train.lr=1e30", "train.batch_events=30"]\n'
    (here / "spec.toml").write_text(HEAD.replace('"loo", "hstu"', '"loo"') + bad + MARKOV)
    code, shown, err = compare(capsys, "spec.toml")
    assert code == 1
    assert sorted(shown["failed"]) == ["shop-loo/bad-1", "shop-loo/bad-2"]
    assert all("try a lower lr" in error for error in shown["failed"].values())
    assert "2 runs failed: shop-loo/bad-1: the " in err
    (table,) = shown["tables"]
    assert [row["label"] for row in table["rows"]] == ["markov"]
    assert table["missing"] == ["shop-loo/bad-1", "shop-loo/bad-2"]
    assert list(results(here)) == ["shop-loo/markov-1.json"]


def busy(folder):
    try:
        with alone_in(folder):
            return False
    except InputError:
        return True


def logged(folder):
    log = folder / "log.jsonl"
    return log.read_text().splitlines() if log.exists() else []


def test_a_comparison_that_is_ended_leaves_no_process_and_goes_on(here, capsys):
    epochs = 60
    text = (HEAD + SMALL).replace("[1, 2]", "[1]").replace('"loo", "hstu"', '"loo"').replace("on.shop-hstu", "on.shop")
    (here / "spec.toml").write_text(
        text.replace("epochs = 2", f"epochs = {epochs}").replace("patience = 1", "patience = 0")
    )
    folder = here / "runs/compare/shop-loo/small-1"
    kept: list[str] = []  # lines of the log that one leaves to the next
    for number, code in (signal.SIGKILL, -9), (signal.SIGINT, 130):
        begun = len(logged(folder))
        process = subprocess.Popen(
            [sys.executable, "-m", "hydrarec", "compare", "spec.toml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while process.poll() is None and len(logged(folder)) < begun + 3:
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=300)
        assert process.returncode == code
        limit = time.monotonic() + 300
        while busy(folder) and time.monotonic() < limit:
            time.sleep(0.05)
        ended = logged(folder)
        assert begun + 3 <= len(ended) < epochs  # it did not run to its end without its giver
        assert ended[: len(kept)] == kept  # not run again, down to their seconds
        assert not (here / "results").exists()
        kept = ended[: begun + 2]

    assert compare(capsys, "spec.toml")[0] == 0
    after = logged(folder)
    assert [json.loads(line)["epoch"] for line in after] == list(range(1, epochs + 1))
    assert after[: len(kept)] == kept
    assert results(here)["shop-loo/small-1.json"]["epochs"] == epochs


def test_a_run_that_another_comparison_does_is_left_to_it(here, capsys):
    (here / "spec.toml").write_text((HEAD + MARKOV).replace('"loo", "hstu"', '"loo"'))
    folder = here / "runs/compare/shop-loo/markov-1"
    with alone_in(folder):
        other = subprocess.Popen([sys.executable, "-m", "hydrarec", "compare", "spec.toml"], stderr=subprocess.PIPE)
        time.sleep(6)
        assert other.poll() is None  # it waits
        assert results(here) == {}
    assert other.wait(timeout=600) == 0
    assert list(results(here)) == ["shop-loo/markov-1.json"]


@pytest.fixture
def copied(done, tmp_path, monkeypatch):
    """A copy of the folder with a finished comparison, to work in."""
    shutil.copytree(done[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_a_run_folder_of_other_settings_is_begun_again(copied, capsys):
    text = (HEAD + MARKOV).replace('"loo", "hstu"', '"loo"')
    (copied / "spec.toml").write_text(text.replace("max_len = 20", "max_len = 10"))
    code, _, err = compare(capsys, "spec.toml")
    assert code == 2
    assert "markov-1.json was made with other settings (train.max_len was 20, now 10); delete it to run again" in err
    (copied / "results/shop-loo/markov-1.json").unlink()
    assert compare(capsys, "spec.toml")[0] == 0
    assert results(copied)["shop-loo/markov-1.json"]["recipe"]["train"]["max_len"] == 10


def test_results_and_trials_of_a_model_as_it_was_are_made_again(copied, capsys):
    own = {path for path in Path("results/shop-loo").rglob("*.json") if "hydra" in path.name}
    assert any(path.parent.name == "tuning" for path in own)
    for path in own:
        path.write_text(json.dumps({**json.loads(path.read_text()), "form": 1}))
    code, object_, _ = compare(capsys, "spec.toml", "--table", "shop-loo")
    assert code == 0
    assert not any(table["missing"] for table in object_["tables"])
    assert {json.loads(path.read_text())["form"] for path in own} == {FORMS["hydra"]}


def test_a_run_folder_that_cannot_be_read_is_begun_again(here, capsys):
    (here / "spec.toml").write_text((HEAD + MARKOV).replace('"loo", "hstu"', '"loo"'))
    folder = here / "runs/compare/shop-loo/markov-1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"format": "hydrarec-run", "version": 1, "settings": {"model": {"x": 1}}}')
    assert compare(capsys, "spec.toml")[0] == 0
    assert list(results(here)) == ["shop-loo/markov-1.json"]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ((), ["--only", "markof"], "the comparison has no model 'markof'; did you mean 'markov'?"),
        ((), ["--table", "shop"], "the comparison has no table 'shop'; did you mean 'shop-loo'?"),
        ((), ["--jobs", "0"], "--jobs is 0; it must be at least 1"),
        (("events.csv", "none.csv"), [], "data shop: "),
        (('"hstu"]', '"time"]\ncolumns.time = ""'), [], "data shop: "),
        (('name = "markov"', 'name = "markof"'), [], "did you mean 'markov'?"),
        (("epochs = 2", "epochs = 0"), [], "epochs"),
        (("max_len = 20", "max_lem = 20"), [], "did you mean 'max_len'?"),
    ],
)
def test_bad_input_is_refused_before_anything_is_run(here, capsys, change, arguments, message):
    (here / "spec.toml").write_text((HEAD + MARKOV).replace(*change) if change else HEAD + MARKOV)
    code, shown, err = compare(capsys, "spec.toml", *arguments)
    assert (code, shown) == (2, None)
    assert err.count("\n") == 1
    assert message in err
    assert not (here / "results").exists()


def test_a_file_must_be_named(capsys):
    assert main(["compare"]) == 2
    assert "name at least one TOML file" in capsys.readouterr().err


def test_several_files_are_one_report(copied, capsys):
    text = (HEAD + MARKOV).replace('"loo", "hstu"', '"loo"')
    (copied / "a.toml").write_text(text)
    (copied / "b.toml").write_text(text.replace('name = "shop"', 'name = "b"'))
    code, shown, _ = compare(capsys, "a.toml", "b.toml", "--report", "r.md")
    assert code == 0
    assert [table["name"] for table in shown["tables"]] == ["shop-loo", "b-loo"]
    assert "hydrarec compare b.toml --table b-loo" in (copied / "r.md").read_text()


def test_a_comparison_on_validation_leaves_the_test_split_alone(here, capsys):
    spec = HEAD.replace('["loo", "hstu"]', '["loo"]').replace("seeds = [1, 2]", 'seeds = [1]\npart = "valid"')
    (here / "spec.toml").write_text(spec + SMALL.replace("on.shop-hstu", "on.shop-loo") + MARKOV)
    code, shown, _ = compare(capsys, "spec.toml")
    assert code == 0
    (table,) = shown["tables"]
    assert table["part"] == "valid"
    found = results(here)
    for name, each in found.items():
        assert each["part"] == "valid", name
        assert each["metrics"]["NDCG@10"] == pytest.approx(each["validation"]["NDCG@10"])
        assert each["queries"] == USERS
    assert not list(here.glob("runs/**/ranks.safetensors"))
    code, _, err = compare(capsys, "spec.toml", "--show")
    assert (code, err) == (0, "")
    (here / "spec.toml").write_text((here / "spec.toml").read_text().replace('part = "valid"', ""))
    code, _, err = compare(capsys, "spec.toml", "--show")
    assert code == 2
    assert "was measured on valid, not test; delete it" in err


def test_several_sources_are_domains_of_one_data_set(here, capsys):
    write_csv(here / "toys.csv", event_table())
    write_csv(here / "tea.csv", event_table(text=True))  # of other users
    (here / "spec.toml").write_text((HEAD + MARKOV).replace('"events.csv"', '["toys.csv", "tea.csv"]'))
    code, printed, err = compare(capsys, "spec.toml", "--table", "shop-loo", "--jobs", 1)
    assert code == 0, err
    (table,) = printed["tables"]
    assert table["data"]["items"] == 24
    found = json.loads((here / "results" / "shop-loo" / "markov-1.json").read_text())
    assert {"domain toys", "domain tea"} <= set(found["groups"])
