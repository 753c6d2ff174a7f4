"""A trained run adapted to the items of another domain."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from language_models import needs_llm
from safetensors.torch import load_file
from test_text_training import LOO, cache, settings, shop  # noqa: F401 (a fixture)

from hydrarec.cli import main
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.files import write_json
from hydrarec.items.text.reader import TextReader
from hydrarec.progress import Silent
from hydrarec.train.adapt import adapt
from hydrarec.train.run import open_run
from hydrarec.train.train import train

pytestmark = needs_llm

OTHER_TITLES = ["Toy Story", "Tea", "Green tea", "Rose soap", "A small boat", "Garden table"]
LAYERS = "encoder."


def other(titles=OTHER_TITLES, **columns):
    """Another domain: users count through six items, the first of which the other domain has too, under the same id."""
    histories = [[(user + t) % 6 for t in range(8)] for user in range(20)]
    return Dataset.from_arrays(
        np.array(histories).ravel(),
        np.arange(0, 161, 8),
        item_ids=np.array([0, 10, 11, 12, 13, 14]),
        item_columns={"title": titles, **columns},
        protocol=LOO,
    )


@pytest.fixture
def trained(llama, tmp_path):
    def make(**changes):
        data = shop()
        data.save(tmp_path / "data")
        chosen = settings(llama, **{"items.kind": "both", **changes})
        return train(Dataset.open(tmp_path / "data"), tmp_path / "run", chosen, LOO, progress=Silent())

    return make


def adapted(run, mode, data=None, out="adapted", **others):
    return adapt(run.path, data or other(), run.path.parent / out, mode=mode, progress=Silent(), **others)


def weights(run):
    return load_file(run.path / "model.safetensors")


def changed(before, after, start):
    names = [name for name in after if name.startswith(start) and name in before]
    return {name for name in names if before[name].shape == after[name].shape and not before[name].equal(after[name])}


def test_zero_shot_takes_everything_and_learns_nothing(trained):
    run = trained()
    new = adapted(run, "zero-shot")
    before, after = weights(run), weights(new)
    assert not changed(before, after, LAYERS)
    assert not changed(before, after, ("items.project", "items.gate", "items.scale"))
    table = after["items.table.weight"]
    assert not table[1:].any()
    assert torch.equal(table[0], before["items.table.weight"][0])  # Toy Story, 0, in both
    assert new.metrics["epochs"] == new.metrics["seconds"] == 0
    assert new.metrics["cost"]["trainable_parameters"] == new.metrics["cost"]["flops"] == 0
    was = new.metrics["before"]
    assert was["metrics"] == pytest.approx(was["after"])


def test_an_item_of_the_same_id_and_another_text_is_another(trained):
    run = trained()
    new = adapted(run, "zero-shot", other(["Another story", *OTHER_TITLES[1:]]))
    assert not weights(new)["items.table.weight"].any()


@pytest.mark.parametrize("mode", ["head", "adapter", "full"])
def test_what_learns(trained, mode):
    run = trained()
    new = adapted(run, mode, overrides=["train.epochs=2"])
    before, after = weights(run), weights(new)
    assert bool(changed(before, after, LAYERS)) == (mode != "adapter")
    assert bool(changed(before, after, "items.project")) == (mode == "full")
    assert bool(after["items.table.weight"][1:].any()) == (mode == "full")
    if mode == "adapter":
        assert after["items.adapters.up"].any()
        was = new.metrics["before"]
        assert was["metrics"] == pytest.approx(was["after"])  # old items go through no adapter
    assert new.metrics["epochs"] == 2
    cost = new.metrics["cost"]
    assert 0 < cost["trainable_parameters"] <= cost["stored_parameters"]
    assert (cost["trainable_parameters"] == 2 * 16 * 8) == (mode == "adapter")


def reads_as_it_says(run):
    """The vectors of a run are those of its language model as it was saved."""
    items = run.model().items
    read = TextReader(run.settings.items, items).read(pa.array(OTHER_TITLES), Silent())
    np.testing.assert_allclose(items.vectors, items.with_vectors(torch.arange(6), read), atol=1e-6)


@pytest.mark.parametrize("tuning", ["lora", "cached", "full"])
@pytest.mark.parametrize("mode", ["zero-shot", "head"])
def test_a_language_model_that_has_learned_reads_new_texts_as_it_is_now(trained, mode, tuning):
    run = trained(**{"items.tuning.mode": tuning, "items.tuning.every": 2, "items.tuning.tokens": 8})
    new = adapted(run, mode, overrides=["train.epochs=2"])
    assert not changed(weights(run), weights(new), "items.learned")
    reads_as_it_says(new)
    cost = new.metrics["cost"]
    assert cost["tokens_forward"] > cost["tokens_backward"] == 0
    assert cost["flops"] > 0


def test_a_run_that_was_not_tested_is_tested_when_it_is_adapted(trained):
    run = trained()
    expected = run.metrics["test"]["metrics"]
    write_json(run.path / "metrics.json", {name: run.metrics[name] for name in run.metrics if name != "test"})
    was = adapted(run, "zero-shot").metrics["before"]
    assert was["metrics"] == pytest.approx(expected)
    assert was["after"] == pytest.approx(expected)


def test_a_language_model_that_goes_on_learning_reads_old_texts_again(trained):
    run = trained(**{"items.tuning.mode": "lora"})
    new = adapted(run, "full", overrides=["epochs=1"])
    assert changed(weights(run), weights(new), "items.learned")
    cost = new.metrics["cost"]
    assert 0 < cost["tokens_backward"] < cost["tokens_forward"]
    same = adapted(run, "zero-shot", out="same")
    assert same.metrics["before"]["metrics"] == pytest.approx(same.metrics["before"]["after"])


def test_without_test_nothing_but_validation_is_measured_until_it_is_asked_for(trained):
    run = trained()
    new = adapted(run, "full", test=False)
    assert new.metrics["validation"]["NDCG@10"] > 0
    assert not {"test", "before"} & set(new.metrics)
    later = adapted(run, "full")
    assert {"test", "before"} <= set(later.metrics)
    assert later.metrics["validation"] == new.metrics["validation"]
    assert later.metrics["seconds"] == new.metrics["seconds"]  # not trained again


def test_domains_of_the_same_name_are_the_same(trained, llama, tmp_path):
    data = shop(domain=["a"] * 4 + ["b"] * 4)
    chosen = settings(llama, **{"items.adapter": 2})
    run = train(data, tmp_path / "run", chosen, LOO, progress=Silent())
    new = adapted(run, "zero-shot", other(domain=["0"] * 3 + ["b"] * 3))
    before, after = weights(run), weights(new)
    for name in ("domains.weight", "items.adapters.up"):
        assert torch.equal(after[name][1], before[name][1]), name
        assert before[name][1].any()
        assert not after[name][0].any()
    assert new.metrics["before"] is None  # the data set was never saved


def test_a_stopped_adaptation_goes_on_and_a_changed_start_is_refused(trained):
    run = trained()
    new = adapted(run, "full")
    again = adapted(run, "full")
    assert again.metrics == new.metrics
    file = run.path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    with pytest.raises(InputError, match=r"start\.weights was .*, now"):
        adapted(run, "full")


@pytest.mark.parametrize("changes", [{"model.n_layers": 2}, {"model.d_model": 12, "model.n_heads": 2}])
def test_other_layers_are_refused(trained, changes):
    run = trained()
    with pytest.raises(InputError, match="the run to start from has other layers"):
        adapted(run, "full", overrides=[f"{key}={value}" for key, value in changes.items()])


def test_a_run_without_text_is_refused(trained):
    run = trained(**{"items.kind": "table"})
    with pytest.raises(InputError, match=r"cannot score items that it was not trained on; train with items\.kind=text"):
        adapted(run, "full")


@pytest.mark.parametrize("way", ["adapt", "train", "command"])
def test_the_run_to_start_from_is_not_replaced(trained, tmp_path, capsys, way):
    run = trained()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(run.path)
    message = "is the run to start from, and would be replaced; choose another --out"
    if way == "adapt":
        with pytest.raises(InputError, match=message):
            adapted(run, "full", out="link", resume="never")
    else:
        start = ["--set", f"start.run={run.path}", "--set", "start.mode=full"]
        words = ["adapt", str(run.path), "none.csv"] if way == "command" else ["train", "none.csv", *start]
        assert main([*words, "--out", str(tmp_path / "link"), "--resume", "never"]) == 2
        assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(trained):
    run = trained()
    with pytest.raises(InputError, match=r"device 'gpu' cannot be used here .*; use cpu"):
        adapted(run, "full", device="gpu")
    words = ["adapt", str(run.path), str(run.path.parent / "data"), "--out", str(run.path.parent / "adapted")]
    assert main([*words, "--device", "gpu"]) == 2
    assert not (run.path.parent / "adapted").exists()


def test_mode_needs_a_run():
    from hydrarec.train.settings import resolve

    with pytest.raises(InputError, match=r"start\.mode=head needs a trained run to start from"):
        resolve(overrides=["start.mode=head"])


def test_the_command(trained, tmp_path, capsys):
    run = trained()
    events = [(user, 10 + (user + t) % 5, 1_600_000_000 + 86_400 * t) for user in range(20) for t in range(8)]
    (tmp_path / "new.csv").write_text("user,item,time\n" + "\n".join(",".join(map(str, row)) for row in events))
    (tmp_path / "titles.csv").write_text(
        "item,title\n" + "\n".join(f"{10 + i},{title}" for i, title in enumerate(OTHER_TITLES[1:]))
    )
    command = ["adapt", str(run.path), str(tmp_path / "new.csv"), "--items", str(tmp_path / "titles.csv")]
    out = ["--out", str(tmp_path / "out"), "--protocol", "loo", "--mode", "head", "--set", "train.epochs=1"]
    assert main([*command, *out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = {"seconds", "tokens_forward", "tokens_backward", "flops", "trainable_parameters", "stored_parameters"}
    assert set(found["cost"]) == {*expected, "peak_memory_bytes"}
    assert {"metrics", "parameters", "validation", "before"} <= set(found)
    assert main([*command, *out]) == 0
    shown = capsys.readouterr().out
    assert "where it came from: NDCG@10" in shown
    assert "head, test" in shown
    assert main([*command, "--out", str(tmp_path / "data")]) == 2
    assert open_run(tmp_path / "out").settings.start.mode == "head"
