import errno
import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import cyclic, dataset_of

from hydrarec import Recommender
from hydrarec.data.batch import pack
from hydrarec.data.protocol import Protocol
from hydrarec.errors import HydrarecError, InputError
from hydrarec.progress import Silent
from hydrarec.train import run as run_module
from hydrarec.train.run import VERSION, open_run
from hydrarec.train.settings import resolve
from hydrarec.train.train import train

SMALL = ("train.epochs=2", "train.batch_events=60", "model.d_model=8", "model.n_heads=2", "model.d_state=2")


def settings(*overrides, model=None, seed=None):
    small = SMALL if model in (None, "hydra") else ()
    return resolve(model=model, overrides=[*small, *overrides], seed=seed)[0]


def run_training(data, out, *overrides, model=None, protocol=None, resume="auto"):
    return train(
        data, out, settings(*overrides, model=model), protocol or data.protocol, resume=resume, progress=Silent()
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return cyclic().save(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    run_training(data, out)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def scores(run):
    with torch.inference_mode():
        return torch.cat([part for _, part in run.model().score(pack([[0, 1], [3]]))], dim=1)


def test_a_run_reads_back_wherever_it_lies(data, finished, copy):
    run = open_run(copy)
    assert run.finished
    assert run.settings == settings()
    assert run.protocol == data.protocol
    assert (run.dataset["users"], run.dataset["items"], run.dataset["events"]) == (24, 6, 216)
    assert run.items().equals(data.item_table)
    assert run.open_dataset().fingerprint == data.fingerprint
    assert torch.equal(scores(run), scores(open_run(finished)))
    assert {"test", "seed", "epochs", "seconds", "parameters", "peak_memory_bytes", "validation"} <= set(run.metrics)
    assert 0 <= run.metrics["test"]["metrics"]["NDCG@10"] <= 1
    for name in ("config.json", "protocol.json", "metrics.json"):
        json.loads((copy / name).read_text())


def test_a_data_set_inside_the_run_moves_with_it(tmp_path):
    out = tmp_path / "run"
    inside = cyclic().save(out / "dataset")
    run_training(inside, out)
    moved = shutil.move(out, tmp_path / "moved")
    assert open_run(moved).open_dataset().path == moved / "dataset"


def test_a_data_set_elsewhere_or_another(finished, tmp_path):
    run = replace(open_run(finished), dataset={**open_run(finished).dataset, "path": str(tmp_path / "gone")})
    with pytest.raises(InputError, match="--dataset"):
        run.open_dataset()
    other = cyclic(users=25).save(tmp_path / "other")
    with pytest.raises(InputError, match="is not the data set"):
        run.open_dataset(other.path)
    same = cyclic().save(tmp_path / "same")
    assert run.open_dataset(same.path).n_users == 24
    in_memory = replace(run, dataset={**run.dataset, "path": None})
    with pytest.raises(InputError, match="--dataset"):
        in_memory.open_dataset()


@pytest.mark.parametrize("kept", [0, 0.01, 0.5, 0.99])
def test_truncated_weights_are_named_with_the_remedy(copy, kept):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged .*train again"):
        open_run(copy).model()


@pytest.mark.parametrize("name", ["model.safetensors", "items.parquet", "protocol.json"])
@pytest.mark.parametrize("gone", [True, False])
def test_a_missing_or_emptied_file_is_named(copy, name, gone):
    (copy / name).unlink() if gone else (copy / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name}.*again"):
        open_run(copy).model()


def test_weights_of_another_shape(copy):
    config = json.loads((copy / "config.json").read_text())
    config["settings"]["model"]["d_model"] = 16
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"damaged .*train again"):
        open_run(copy).model()


def change(copy, **entries):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **entries}))


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 5, 4], list(range(1, 7)), list("abcdef"), [0, 1, 2], list(range(1, 9))])
def test_a_vocabulary_from_another_data_set(copy, ids):
    pq.write_table(pa.table({"item": ids, "events": [1] * len(ids)}), copy / "items.parquet")
    for use in (Recommender.load, lambda place: open_run(place).model(), lambda place: open_run(place).items()):
        with pytest.raises(InputError, match=r"items\.parquet is a vocabulary from another data set.*train again"):
            use(copy)


def test_ids_that_follow_those_of_the_run_are_of_an_interrupted_growth(copy):
    pq.write_table(pa.table({"item": range(7), "events": [1] * 7}), copy / "items.parquet")
    assert open_run(copy).items().num_rows == 7


def test_a_run_that_was_written_without_a_digest(copy):
    config = json.loads((copy / "config.json").read_text())
    del config["vocabulary"]
    (copy / "config.json").write_text(json.dumps(config))
    assert open_run(copy).vocabulary is None
    assert open_run(copy).model() is not None


def test_a_run_of_a_newer_version(copy):
    change(copy, version=99, hydrarec="7.1", settings={"model": {"unheard": 1}})
    with pytest.raises(InputError, match=r"made by hydrarec 7\.1, .*upgrade"):
        open_run(copy)


def test_a_run_of_an_older_version(data, copy):
    change(copy, version=1, settings={"model": {"gone": 1}})
    reads = rf"\(format 1, this one reads {VERSION}\)"
    with pytest.raises(InputError, match=f"made by an older hydrarec {reads}; train again"):
        open_run(copy)
    with pytest.raises(InputError, match="older hydrarec"):
        run_training(data, copy)
    assert run_training(data, copy, resume="never").finished


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "hydrarec-run"}'])
def test_a_damaged_config(copy, content):
    (copy / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json.*train again"):
        open_run(copy)
    change_settings = {"format": "hydrarec-run", "version": "1", "settings": {}, "dataset": {}}
    (copy / "config.json").write_text(json.dumps(change_settings))
    with pytest.raises(InputError, match="damaged"):
        open_run(copy)


def test_an_unknown_setting_names_the_nearest(copy):
    change(copy, settings={"train": {"epoch": 3}})
    with pytest.raises(InputError, match="'epochs'"):
        open_run(copy)


def test_not_a_run(tmp_path, data):
    with pytest.raises(InputError, match="not a run folder"):
        open_run(tmp_path / "none")
    with pytest.raises(InputError, match="not a run folder"):
        open_run(data.path)


def test_an_unfinished_run_says_how_to_go_on(copy):
    (copy / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"not finished.*--resume auto"):
        open_run(copy).model()


def test_a_finished_run_is_given_back(data, copy):
    before = (copy / "model.safetensors").stat().st_mtime_ns
    assert run_training(data, copy).metrics == open_run(copy).metrics
    assert (copy / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (("train.lr=0.5",), r"train\.lr was 0\.002, now 0\.5"),
        (("model.d_conv=2",), r"model\.d_conv was 4, now 2"),
        (("loss.kind=gbce",), r"loss\.kind was softmax, now gbce"),
    ],
)
def test_other_settings_do_not_go_into_the_same_folder(data, copy, overrides, named):
    with pytest.raises(InputError, match=rf"another run \({named}\).*--resume never"):
        run_training(data, copy, *overrides)


def test_what_was_refused_before_it_began_leaves_the_folder_free(data, tmp_path):
    with pytest.raises(InputError, match=r"items\.text\.model: 'nowhere/nothing'"):
        run_training(data, tmp_path / "run", "items.kind=text", "items.text.model=nowhere/nothing")
    assert (tmp_path / "run" / "config.json").exists()
    assert run_training(data, tmp_path / "run").finished
    assert open_run(tmp_path / "run").settings.items.kind == "table"


def test_another_model_protocol_or_data_neither(data, copy):
    with pytest.raises(InputError, match=r"another run \(model\.name was hydra, now popularity\)"):
        run_training(data, copy, model="popularity")
    with pytest.raises(InputError, match=r"protocol\.exclude_seen|protocol\.split"):
        run_training(data, copy, protocol=Protocol.named("hstu"))
    with pytest.raises(InputError, match="other data"):
        run_training(cyclic(users=23), copy)


def test_resume_never_begins_again(data, copy):
    before = (copy / "model.safetensors").read_bytes()
    run = run_training(data, copy, "train.lr=0.01", resume="never")
    assert run.settings.train.lr == 0.01
    assert (copy / "model.safetensors").read_bytes() != before
    epochs = [json.loads(line)["epoch"] for line in (copy / "log.jsonl").read_text().splitlines()]
    assert epochs == [1, 2]
    same = run_training(data, copy, resume="never")
    assert same.finished
    assert (copy / "model.safetensors").read_bytes() == before  # the seed governs everything


def test_a_foreign_folder_is_left_alone(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not a run folder"):
        run_training(data, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_beginning_leaves_is_no_obstacle(data, tmp_path):
    (tmp_path / "items.parquet").write_bytes(b"")
    (tmp_path / "protocol.json").write_text("")
    (tmp_path / ".dataset.x1y2").mkdir()
    assert run_training(data, tmp_path, model="popularity").finished


def test_a_full_disk_at_the_end_leaves_an_unfinished_run(data, tmp_path, monkeypatch):
    def full(tensors, place):
        place.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_module, "save_file", full)
    with pytest.raises(HydrarecError, match=r"model\.safetensors: No space left"):
        run_training(data, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not open_run(tmp_path / "run").finished
    monkeypatch.undo()
    assert run_training(data, tmp_path / "run").finished


def test_any_cut_offs_will_do(data, tmp_path):
    protocol = Protocol.named("loo", cutoffs=(2, 3))
    run = run_training(data, tmp_path / "run", protocol=protocol)
    assert {"HR@2", "HR@3"} <= set(run.metrics["test"]["metrics"])
    assert "HR@10" not in run.metrics["test"]["metrics"]


def test_without_validation(tmp_path):
    run = run_training(cyclic(split="hstu"), tmp_path / "run")
    assert "validation" not in run.metrics
    assert run.metrics["best_epoch"] == run.metrics["epochs"] == 2


def test_short_histories_and_a_catalog_of_one_item(tmp_path):
    run = run_training(dataset_of([[0, 0, 0, 0], [0], [0, 0]]), tmp_path / "run")
    assert run.metrics["test"]["metrics"]["HR@1"] == 1.0
    with pytest.raises(InputError, match="no test target"):
        run_training(dataset_of([[0], [1]]), tmp_path / "other")
