"""Training on histories longer than a step can hold: the state carried on, and activations computed again."""

import json
from itertools import pairwise

import pytest
import torch
from support import close, dataset_of

from hydrarec.errors import InputError
from hydrarec.losses.config import LossConfig, make_loss
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.models.neural import NeuralModel
from hydrarec.train.config import TrainConfig
from hydrarec.train.encode import encoder
from hydrarec.train.log import Log
from hydrarec.train.loop import Fit

MODEL = {"d_model": 8, "n_layers": 2, "n_heads": 2, "d_state": 4}
ITEMS = 6
LENGTHS = [23, 4, 2, 41, 12, 1, 8, 17]
DATA = dataset_of([[(user + t * t) % ITEMS for t in range(length)] for user, length in enumerate(LENGTHS)])
CARRIED = {"windows": "carried", "max_len": 5}
WHOLE = {"max_len": 0, "recompute": 7}
SOFTMAX = make_loss(LossConfig(), torch.ones(1))


def fit(changes, *, loss=SOFTMAX, dropout=0.0, n_items=ITEMS, **others):
    config = TrainConfig(**{"epochs": 2, "batch_events": 20, "lr": 0.01, "patience": 0, **changes})
    torch.manual_seed(config.seed)
    return Fit(Hydra(HydraConfig(**MODEL, dropout=dropout), n_items), config, loss, **others)


def run(training):
    training.run(DATA, DATA.offsets[1:])
    return {name: value.clone() for name, value in training.model.state_dict().items()}


def seen_by_the_loss(changes, epochs=1):
    """(pairs, d) hidden states of the last epoch, by the events that follow them; no item occurs twice."""
    shown, following = [], []

    def loss(hidden, catalog, targets, scale, among=None):
        shown.append(hidden.detach().clone())
        following.append(targets)
        return SOFTMAX(hidden, catalog, targets, scale)

    unique = dataset_of([list(range(a, b)) for a, b in pairwise(DATA.offsets)])
    still = {"epochs": epochs, "lr": 1e-12, "weight_decay": 0.0}
    training = fit({**still, **changes}, loss=loss, n_items=unique.n_items)
    training.run(unique, unique.offsets[1:])
    pairs = unique.n_events - unique.n_users
    return torch.cat(shown)[-pairs:][torch.cat(following)[-pairs:].argsort()]


def test_windows_that_carry_their_state_see_the_whole_past():
    """After as many epochs as a history has windows; before, a state has come part of the way."""
    whole = seen_by_the_loss({"max_len": 0})
    close(seen_by_the_loss(CARRIED, epochs=8), whole, 1e-5)
    for nothing_remembered in ({"max_len": 5}, {**CARRIED, "batch_events": 10**6}):
        assert (seen_by_the_loss(nothing_remembered) - whole).abs().max() > 0.01


def test_recomputation_learns_what_the_whole_history_does():
    expected = run(fit({"max_len": 0}))
    for changes in (WHOLE, {**WHOLE, "recompute": 1}):
        got = run(fit(changes))
        for name, value in expected.items():
            close(got[name], value, 1e-3)


@pytest.mark.parametrize("changes", [CARRIED, WHOLE, {**CARRIED, "recompute": 2}], ids=str)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_runs_in_either_precision(changes, precision):
    weights = run(fit({**changes, "precision": precision}, dropout=0.2))
    assert all(value.isfinite().all() for value in weights.values())


class StoppedError(Exception):
    pass


def entries(path):
    return [{**json.loads(line), "seconds": 0, "cpu_seconds": 0} for line in path.read_text().splitlines()]


@pytest.mark.parametrize("changes", [CARRIED, {**CARRIED, "recompute": 2}, WHOLE], ids=str)
@pytest.mark.parametrize("stop", range(1, 9, 2))
def test_interrupted_after_any_step_it_ends_with_the_same_bits(tmp_path, changes, stop):
    """Dropout is on, and the carried state is part of what must come back."""
    changes = {**changes, "checkpoint_seconds": 0.0}
    expected = run(fit(changes, dropout=0.3, log=Log(tmp_path / "whole.jsonl")))

    def report(events, _):
        steps.extend([1] if events else [])
        if len(steps) == stop:
            raise StoppedError

    steps: list = []
    resumable = {"dropout": 0.3, "checkpoints": tmp_path / "points", "log": Log(tmp_path / "log.jsonl")}
    with pytest.raises(StoppedError):
        run(fit(changes, report=report, **resumable))
    torch.rand(17)  # a new process has another random state
    again = fit(changes, **resumable)
    assert again.position.step == stop - 1
    got = run(again)
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert entries(tmp_path / "log.jsonl") == entries(tmp_path / "whole.jsonl")


def test_a_request_reads_what_training_read():
    assert TrainConfig(**CARRIED).reads == 0
    assert TrainConfig(**WHOLE).reads == 0
    assert TrainConfig(max_len=50, windows="all").reads == TrainConfig(max_len=50, windows="last").reads == 50


def test_settings_that_mean_nothing():
    with pytest.raises(InputError, match=r"carried needs windows.*max_len"):
        TrainConfig(windows="carried", max_len=0)
    with pytest.raises(InputError, match="recompute"):
        TrainConfig(recompute=-1)


class Memoryless(NeuralModel):
    """An item's own vector: there is no state to carry."""

    name = "memoryless"

    def encode(self, batch):
        return self.items.encode(batch.items)


def test_a_model_without_a_state_is_trained_without_one():
    model = Memoryless(HydraConfig(**MODEL), ITEMS)
    for changes in (CARRIED, {"recompute": 7}):
        with pytest.raises(InputError, match="memoryless is none; leave it out"):
            encoder(model, TrainConfig(**changes))
    training = Fit(model, TrainConfig(epochs=1), SOFTMAX)
    assert training.run(DATA, DATA.offsets[1:]).epoch == 1
