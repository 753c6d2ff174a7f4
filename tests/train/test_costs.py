"""What a training took, by its own account."""

from support import cyclic

from hydrarec.progress import Silent
from hydrarec.train.checkpoint import Position
from hydrarec.train.costs import costs
from hydrarec.train.settings import resolve
from hydrarec.train.train import train

TINY = ["model.d_model=8", "model.n_layers=1", "model.n_heads=2", "model.d_state=3", "train.max_len=20"]


def test_validation_is_no_training():
    found = costs(Position(seconds=12.0, cpu_seconds=9.0, validating=2.0, events=1000))
    assert found["events_per_second"] == 100
    assert (found["seconds_to_best"], found["cpu_seconds_to_best"], found["events_to_best"]) == (12.0, 9.0, 1000)


def test_up_to_the_best():
    best = {"best_epoch": 2, "best_seconds": 5.0, "best_cpu_seconds": 4.0, "best_events": 400}
    found = costs(Position(seconds=12.0, events=1000, **best))
    assert (found["seconds_to_best"], found["cpu_seconds_to_best"], found["events_to_best"]) == (5.0, 4.0, 400)


def test_events_are_those_of_all_epochs_also_of_a_run_that_was_cut_off(tmp_path):
    dataset = cyclic(users=24, length=9)
    settings, _ = resolve(overrides=[*TINY, "train.epochs=4", "train.patience=0"], seed=1)
    run = train(dataset, tmp_path, settings, dataset.protocol, progress=Silent())
    inputs = 24 * 6  # of nine events two are held out, and the last of the others is only a target
    assert run.metrics["events"] == 4 * inputs
    assert run.metrics["events_to_best"] == run.metrics["best_epoch"] * inputs
    assert 0 < run.metrics["seconds_to_best"] <= run.metrics["seconds"]
    for name in ("metrics.json", "model.safetensors", "ranks.safetensors"):  # as if killed before its end
        (tmp_path / name).unlink()
    again = train(dataset, tmp_path, settings, dataset.protocol, progress=Silent())
    for name in ("events", "events_to_best", "seconds_to_best", "cpu_seconds_to_best", "test"):
        assert again.metrics[name] == run.metrics[name], name


def test_a_trial_is_not_tested_until_it_is_asked_for(tmp_path):
    dataset = cyclic()
    settings, _ = resolve(overrides=[*TINY, "train.epochs=1"], seed=1)
    trial = train(dataset, tmp_path / "a", settings, dataset.protocol, progress=Silent(), test=False)
    assert trial.finished
    assert "test" not in trial.metrics
    assert not (tmp_path / "a" / "ranks.safetensors").exists()
    whole = train(dataset, tmp_path / "b", settings, dataset.protocol, progress=Silent())
    later = train(dataset, tmp_path / "a", settings, dataset.protocol, progress=Silent())
    assert later.metrics["test"] == whole.metrics["test"]
    assert later.metrics["seconds"] == trial.metrics["seconds"]  # not trained again
