import errno
import json
from dataclasses import asdict

import pytest
import torch

from hydrarec.data.batch import pack
from hydrarec.errors import HydrarecError, InputError
from hydrarec.items.mapped import MappedTable
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.train import checkpoint
from hydrarec.train.checkpoint import Position, best_table, load_checkpoint, save_checkpoint
from hydrarec.train.config import TrainConfig
from hydrarec.train.optimiser import adamw

CONFIG = HydraConfig(d_model=8, n_layers=1, n_heads=2, d_state=2)


def make(seed=0, config=CONFIG):
    torch.manual_seed(seed)
    model = Hydra(config, 7)
    return model, adamw(model, TrainConfig())


def trained(steps=3):
    """A model after some steps of an optimiser that now has a state."""
    model, optimiser = make()
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimiser.step()
    return model, optimiser


def position(step, epoch=1):
    return Position(step=step, epoch=epoch, batch=2, seconds=1.5, best=0.25, best_epoch=1, stale=1, loss_sum=7.125)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_all_of_it_comes_back(tmp_path):
    model, optimiser = trained()
    best = {name: value + 1 for name, value in model.state_dict().items()}
    save_checkpoint(tmp_path, model, optimiser, best, position(3))
    expected = torch.rand(5)

    again, its_optimiser = make(seed=9)
    found = load_checkpoint(tmp_path, again, its_optimiser)
    assert found is not None
    assert found[0] == position(3)
    assert equal(found[1], best)
    assert torch.equal(torch.rand(5), expected)  # the random state
    assert equal(again.state_dict(), model.state_dict())
    for mine, theirs in zip(model.parameters(), again.parameters(), strict=True):
        mine.grad = theirs.grad = torch.ones_like(mine)
    optimiser.step()
    its_optimiser.step()
    assert equal(again.state_dict(), model.state_dict())


def test_before_the_first_step_and_without_best_weights(tmp_path):
    model, optimiser = make()
    save_checkpoint(tmp_path, model, optimiser, {}, Position())
    assert load_checkpoint(tmp_path, *make(seed=1)) == (Position(), {}, None)


def test_the_states_that_windows_begin_from_come_back(tmp_path):
    model, optimiser = make()
    _, state = model.resume(pack([[1, 2, 3], [4]]), None)
    save_checkpoint(tmp_path, model, optimiser, {}, position(1), state.detach())
    found = load_checkpoint(tmp_path, *make(seed=1))
    assert found is not None
    assert found[2] is not None
    assert equal(found[2].tensors(), state.tensors())


def test_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path / "none", *make()) is None


def test_the_last_two_are_kept_and_leftovers_go(tmp_path):
    (tmp_path / ".step-00000001.half").mkdir(parents=True)  # what a killed process leaves
    names = []
    for at in (position(9, 0), position(10, 0), position(10, 1), position(100, 1)):
        save_checkpoint(tmp_path, *trained(), {}, at)
        names.append(f"step-{at.step:08d}-epoch-{at.epoch:05d}")
        assert sorted(place.name for place in tmp_path.iterdir()) == names[-2:]
    found = load_checkpoint(tmp_path, *make())
    assert found is not None
    assert found[0].step == 100


def test_an_epoch_ends_at_the_step_of_its_last_batch(tmp_path, monkeypatch):
    """Both checkpoints exist at once if the process is killed before the older one is dropped; the end counts."""
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)
    for epoch in (9_999, 10_000):
        save_checkpoint(tmp_path, *trained(), {}, position(10, epoch))
    assert len(list(tmp_path.glob("step-*"))) == 2
    found = load_checkpoint(tmp_path, *make())
    assert found is not None
    assert found[0].epoch == 10_000


@pytest.fixture
def saved(tmp_path):
    save_checkpoint(tmp_path, *trained(), {}, position(3))
    (place,) = tmp_path.iterdir()
    return place


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_truncated_tensors_are_named_with_the_remedy(saved, kept):
    file = saved / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(InputError, match=rf"{saved.name}.*damaged.*--resume never"):
        load_checkpoint(saved.parent, *make())


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"', '{"steps": 1}', '{"step": 1'])
def test_a_damaged_position_is_named_with_the_remedy(saved, content):
    (saved / "position.json").write_text(content)
    with pytest.raises(InputError, match=rf"{saved.name}.*--resume never"):
        load_checkpoint(saved.parent, *make())


@pytest.mark.parametrize("name", ["tensors.safetensors", "position.json"])
@pytest.mark.parametrize("kept", [None, 0.0, 0.5])
def test_where_the_newest_is_damaged_the_one_before_is_taken(saved, name, kept, capsys):
    model, optimiser = trained(steps=5)
    save_checkpoint(saved.parent, model, optimiser, {}, position(4))
    newest = saved.parent / "step-00000004-epoch-00001"
    content = (newest / name).read_bytes()
    (newest / name).unlink() if kept is None else (newest / name).write_bytes(content[: int(kept * len(content))])
    again = make(seed=9)
    found = load_checkpoint(saved.parent, *again)
    assert found is not None
    assert found[0] == position(3)
    assert equal(again[0].state_dict(), trained()[0].state_dict())
    said = capsys.readouterr().err
    assert f"{newest} is damaged" in said
    assert f"goes on from the one before, {saved.name}" in said
    assert list(saved.parent.iterdir()) == [saved]
    save_checkpoint(saved.parent, *again, {}, position(4))
    assert load_checkpoint(saved.parent, *make()) is not None
    assert capsys.readouterr().err == ""


def test_what_is_of_another_model_stays(saved):
    save_checkpoint(saved.parent, *trained(), {}, position(4))
    with pytest.raises(InputError, match=r"step-00000004.*of another model.*--resume never"):
        load_checkpoint(saved.parent, *make(config=HydraConfig(d_model=16, n_layers=1, n_heads=2, d_state=2)))
    assert len(list(saved.parent.iterdir())) == 2


def test_an_error_without_a_message_is_named(saved, monkeypatch):
    def fail(place):
        raise OSError

    monkeypatch.setattr(checkpoint, "load_file", fail)
    with pytest.raises(InputError, match=r"of another model \(OSError\)"):
        load_checkpoint(saved.parent, *make())


def test_tables_on_disk_of_both_are_kept(tmp_path, capsys):
    """The second checkpoint has other best weights; damaged, it leaves the first with those that it had."""

    def on_disk(place):
        torch.manual_seed(0)
        model = Hydra(CONFIG, MappedTable.create(tmp_path / place, 7, 8, overwrite=True))
        return model, adamw(model, TrainConfig())

    model, optimiser = on_disk("table")
    points, vectors = tmp_path / "points", []
    for number in (1, 2, 3):
        model.items.write(torch.arange(7), torch.full((7, 8), float(number)))
        at = Position(step=number, best_epoch=number)
        model.items.snapshot(best_table(points, at))
        save_checkpoint(points, model, optimiser, {}, at)
        vectors.append(model.items.catalog().clone())
    assert sorted(path.name.split("-")[0] for path in points.iterdir()) == ["best", "best", "step", "step"]
    (points / "step-00000003-epoch-00000" / "table" / "vectors.bin").unlink()
    again, its_optimiser = on_disk("other")
    found = load_checkpoint(points, again, its_optimiser)
    assert found is not None
    assert found[0].step == 2
    assert torch.equal(again.items.catalog(), vectors[1])
    assert torch.equal(MappedTable.open(best_table(points, found[0])).catalog(), vectors[1])
    assert "training goes on" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tensors.safetensors", "position.json"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(InputError, match=rf"{saved.name}.*--resume never"):
        load_checkpoint(saved.parent, *make())


def test_another_model(saved):
    with pytest.raises(InputError, match=r"of another model.*--resume never"):
        load_checkpoint(saved.parent, *make(config=HydraConfig(d_model=16, n_layers=1, n_heads=2, d_state=2)))


@pytest.mark.parametrize("fails", ["save_file", "write_json"])
def test_a_full_disk_leaves_the_last_checkpoint(saved, monkeypatch, fails):
    before = {file.name: file.read_bytes() for file in saved.iterdir()}

    def full(first, second):
        place = second if fails == "save_file" else first
        place.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, fails, full)
    with pytest.raises(HydrarecError, match="No space left on device"):
        save_checkpoint(saved.parent, *trained(), {}, position(4))
    assert list(saved.parent.iterdir()) == [saved]
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before
    monkeypatch.undo()
    found = load_checkpoint(saved.parent, *make())
    assert found is not None
    assert found[0] == position(3)


def test_position_is_plain_json(saved):
    assert json.loads((saved / "position.json").read_text()) == asdict(position(3))
