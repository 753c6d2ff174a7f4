import json

import numpy as np
import pytest
import torch
from support import cyclic

from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.errors import HydrarecError, InputError
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.evaluate.metrics import SELECTION_METRIC, accuracy
from hydrarec.losses.config import LossConfig, make_loss
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.train.config import TrainConfig
from hydrarec.train.log import Log
from hydrarec.train.loop import Fit
from hydrarec.train.neural import selecting_protocol

DATA = cyclic()
PARTS = split(DATA)
MODEL = {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_state": 4, "dropout": 0.1, "temperature": 0.1}


SOFTMAX = make_loss(LossConfig(), torch.ones(6))


def fit(changes=None, *, loss=SOFTMAX, n_items=6, model=None, **others):
    """A training of a few steps: 24 histories of 7 training events, 6 pairs each, 3 batches an epoch."""
    config = TrainConfig(**{"epochs": 4, "batch_events": 50, "lr": 0.01, "patience": 0, **(changes or {})})
    torch.manual_seed(config.seed)
    return Fit(Hydra(HydraConfig(**{**MODEL, **(model or {})}), n_items), config, loss, **others)


def run(training):
    return training.run(DATA, PARTS.train_ends)


def weights(training):
    return {name: value.clone() for name, value in training.model.state_dict().items()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16"}, {"max_len": 3, "windows": "last"}])
def test_learns_a_certain_sequence(changes):
    training = fit({"epochs": 25, **changes}, model={"dropout": 0.0})
    run(training)
    assert not training.model.training
    measured = evaluate(
        training.model, DATA, PARTS.test, protocol=DATA.protocol, train_ends=PARTS.train_ends, confidence=False
    )
    assert measured.metrics["HR@1"] == 1.0


def test_one_seed_one_result():
    results = []
    for seed in (1, 1, 2):
        training = fit({"seed": seed})
        run(training)
        results.append(weights(training))
    assert equal(results[0], results[1])
    assert not equal(results[0], results[2])


def scripted(values, seen):
    """A validation that gives these figures, and notes the weights it saw."""
    figures = iter(values)

    def validate(model):
        assert not model.training
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {SELECTION_METRIC: next(figures)}

    return validate


def test_early_stopping_gives_back_the_best_weights(tmp_path):
    seen: list = []
    training = fit(
        {"epochs": 20, "patience": 2},
        validate=scripted([0.1, 0.3, 0.2, 0.3, 0.9], seen),
        log=Log(tmp_path / "log.jsonl"),
    )
    position = run(training)
    assert (position.epoch, position.best, position.best_epoch, position.stale) == (4, 0.3, 2, 2)
    assert len(seen) == 4
    assert equal(weights(training), seen[1])
    assert not equal(seen[1], seen[3])
    assert [entry[SELECTION_METRIC] for entry in entries(tmp_path / "log.jsonl")] == [0.1, 0.3, 0.2, 0.3]


def test_patience_counts_validations_and_the_last_epoch_is_validated():
    seen: list = []
    position = run(fit({"epochs": 5, "validate_every": 3, "patience": 2}, validate=scripted([0.3, 0.2], seen)))
    assert (position.epoch, len(seen)) == (5, 2)  # after epochs 3 and 5
    position = run(fit({"epochs": 4, "patience": 0}, validate=scripted([0.3, 0.2, 0.1, 0.0], seen)))
    assert position.epoch == 4  # patience 0 never stops


def test_without_validation_the_last_weights_stay():
    training = fit()
    assert run(training).best_epoch == 0
    assert training.best == {}


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("every", [0.0, 1e9])
@pytest.mark.parametrize("stop", range(1, 13))
def test_interrupted_after_any_step_it_ends_with_the_same_bits(tmp_path, stop, every):
    """With a checkpoint after each step, and with checkpoints at ends of epochs alone."""
    changes = {"checkpoint_seconds": every}
    # The logged figure depends on the weights, so that the choice of the best ones is part of the test.
    validate = lambda model: {SELECTION_METRIC: model.items.weight.abs().mean().item()}  # noqa: E731
    whole = fit(changes, validate=validate, log=Log(tmp_path / "whole.jsonl"))
    run(whole)

    def report(events, _):
        steps.extend([1] if events else [])  # none after a validation
        if len(steps) == stop:
            raise StoppedError

    steps: list = []
    resumable = {"validate": validate, "checkpoints": tmp_path / "points", "log": Log(tmp_path / "log.jsonl")}
    with pytest.raises(StoppedError):
        run(fit(changes, report=report, **resumable))
    torch.rand(17)  # a new process has another random state
    again = fit(changes, **resumable)
    assert again.position.step == (stop - 1 if every == 0.0 else (stop - 1) // 3 * 3)
    run(again)
    assert equal(weights(again), weights(whole))
    assert again.position.best_epoch == whole.position.best_epoch
    logs = [entries(tmp_path / name) for name in ("log.jsonl", "whole.jsonl")]
    timeless = [[{**entry, "seconds": 0, "cpu_seconds": 0} for entry in log] for log in logs]
    assert timeless[0] == timeless[1]


def test_killed_between_log_and_checkpoint_an_epoch_is_logged_once(tmp_path):
    """The checkpoint of the last batch has the step at which the epoch was logged."""
    resumable = {"checkpoints": tmp_path / "points", "log": Log(tmp_path / "log.jsonl")}
    training = fit({"checkpoint_seconds": 0.0}, **resumable)
    save = training._save

    def die_at_the_end_of_an_epoch():
        if training.position.batch == 0:
            raise StoppedError
        save()

    training._save = die_at_the_end_of_an_epoch
    with pytest.raises(StoppedError):
        run(training)
    assert [entry["epoch"] for entry in entries(tmp_path / "log.jsonl")] == [1]
    run(fit({"checkpoint_seconds": 0.0}, **resumable))
    assert [entry["epoch"] for entry in entries(tmp_path / "log.jsonl")] == [1, 2, 3, 4]


def test_a_line_cut_off_by_a_crash_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 1, "step": 3}\n{"epoch": 2, "step": 6}\n{"epoch": 3, "st')
    log = Log(path).resume_at(2)
    log.write({"epoch": 3, "step": 9})
    assert [entry["step"] for entry in entries(path)] == [3, 6, 9]
    assert entries(Log(path).resume_at(0)._path) == []


def nan_at(step, where):
    calls: list = []

    def loss(hidden, catalog, targets, scale, among=None):
        calls.append(1)
        value = SOFTMAX(hidden, catalog, targets, scale)
        if len(calls) != step:
            return value
        if where == "loss":
            return value * float("inf")
        return value + (hidden * 0).sum().sqrt()  # finite, with a gradient of 0/0

    return loss


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_stops_with_the_last_good_checkpoint(tmp_path, where, clip):
    changes = {"checkpoint_seconds": 1e9, "clip": clip}
    training = fit(changes, loss=nan_at(6, where), checkpoints=tmp_path)  # the last batch of the second epoch
    with pytest.raises(HydrarecError, match=rf"{where} became \S+ at step 6; .*{tmp_path}.*lower lr"):
        run(training)
    assert all(value.isfinite().all() for value in training.model.state_dict().values())
    again = fit(changes, checkpoints=tmp_path)
    assert again.position.step == 3
    assert all(value.isfinite().all() for value in weights(again).values())
    with pytest.raises(HydrarecError, match="nothing was saved"):
        run(fit(loss=nan_at(1, where)))


def test_steps_are_clipped_and_follow_the_schedule(monkeypatch):
    rates, norms = [], []
    training = fit({"warmup": 0.5, "clip": 1e-3})
    original = training.optimiser.step

    def step():
        rates.append([group["lr"] for group in training.optimiser.param_groups])
        gradients = [p.grad.flatten() for p in training.model.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())
        original()

    monkeypatch.setattr(training.optimiser, "step", step)
    run(training)
    middles = np.arange(6) + 0.5  # of the steps
    expected = [*(0.01 * middles / 6), *(0.005 * (1 + np.cos(np.pi * middles / 6)))]
    assert [rate for rate, _ in rates] == pytest.approx(expected)
    assert all(one == other for one, other in rates)
    assert max(norms) <= 1.001e-3


def test_reports_and_position():
    reported: list = []
    training = fit({"epochs": 2}, report=lambda events, text: reported.append((events, text)))
    position = run(training)
    assert sum(events for events, _ in reported) == 2 * 24 * 6
    assert all(text.startswith("loss ") for _, text in reported)
    assert (position.epoch, position.batch, position.step) == (2, 0, 6)
    assert position.seconds > 0


def test_progress_shows_the_last_validation_and_the_best():
    figures, shown = iter([0.5, 0.25, 0.75]), []
    training = fit(
        {"epochs": 3}, validate=lambda model: {"NDCG@10": next(figures)}, report=lambda n, text: shown.append(text)
    )
    run(training)
    after_epochs = [text.partition("  ")[2] for text in shown[3::4]]  # three steps, then the validation
    assert after_epochs == ["NDCG@10 0.5000", "NDCG@10 0.2500  best 0.5000", "NDCG@10 0.7500"]
    assert "NDCG" not in shown[0]
    assert shown[4].endswith("NDCG@10 0.5000")


def test_what_selects_is_measured_whatever_the_protocol_asks_for():
    asked = selecting_protocol(Protocol.named("loo", cutoffs=(3, 20)))
    assert asked.cutoffs == (3, 10, 20)
    assert SELECTION_METRIC in accuracy(np.array([0]), np.array([0]), asked.cutoffs)


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="nothing to train on"):
        fit().run(DATA, DATA.offsets[:-1] + 1)


def test_the_loss_sees_every_pair_once_an_epoch():
    pairs: list = []

    def loss(hidden, catalog, targets, scale, among=None):
        pairs.extend(targets.tolist())
        return SOFTMAX(hidden, catalog, targets, scale)

    run(fit({"epochs": 1, "max_len": 4}, loss=loss))
    expected = [item for user in range(24) for item in DATA.items[DATA.offsets[user] + 1 : PARTS.train_ends[user]]]
    assert sorted(pairs) == sorted(expected)
