"""Whole trainings with every storage of the table of items."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import Largest, close, cyclic, dataset_of
from test_resume import KILLING, arguments, one_thread

from hydrarec import Recommender
from hydrarec.data.batch import pack
from hydrarec.data.split import split
from hydrarec.errors import InputError
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.items.compact import FloatTable
from hydrarec.items.hashed import QuotientRemainder
from hydrarec.items.mapped import MappedTable
from hydrarec.items.table import ItemTable
from hydrarec.losses.config import LossConfig, make_loss
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.progress import Silent
from hydrarec.train.config import TrainConfig
from hydrarec.train.loop import Fit
from hydrarec.train.run import open_run
from hydrarec.train.settings import resolve
from hydrarec.train.train import train

STORAGES = {
    "full": {},
    "rows": {},
    "half": {},
    "int8": {},
    "hashed": {"items.buckets": 5},
    "two hashes": {"items.storage": "hashed", "items.buckets": 20, "items.hashes": 2},
    "mapped": {},
}
SMALL = {"model.d_model": 8, "model.n_heads": 2, "model.d_state": 4, "model.n_layers": 1, "model.dropout": 0.0}
SAMPLED = {"loss.kind": "sampled", "loss.negatives": 16}
V, D = 10, 8


def settings(name, **others):
    chosen = {"items.storage": name, **SMALL, **SAMPLED, **STORAGES.get(name, {}), **others}
    return resolve(overrides=[f"{key}={value}" for key, value in chosen.items()])[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return cyclic(users=60, length=12, n_items=V).save(tmp_path_factory.mktemp("data") / "data")


def scores(model):
    with torch.inference_mode():
        return torch.cat([part for _, part in model.score(pack([[0, 1], [3]]))], dim=1)


@pytest.mark.parametrize("name", STORAGES)
def test_a_run_learns_and_reads_back(name, data, tmp_path):
    more = {"train.epochs": 12, "train.batch_events": 100, "train.lr": 0.02, "train.row_lr": 0.1}
    run = train(data, tmp_path / "run", settings(name, **more), data.protocol, progress=Silent())
    assert run.metrics["test"]["metrics"]["HR@1"] > (0.5 if name == "two hashes" else 0.9)
    sizes = {"full": (80, 320), "rows": (80, 320), "half": (80, 160), "int8": (80, 120), "mapped": (80, 160)}
    sizes |= {"hashed": (7 * 8, 224), "two hashes": (160, 640)}
    assert (run.metrics["parameters"]["items"], run.metrics["item_bytes"]) == sizes[name]
    assert run.metrics["cost"]["trainable_parameters"] == sum(run.metrics["parameters"].values())
    again = Recommender.load(tmp_path / "run")
    assert again.evaluate().metrics == run.metrics["test"]["metrics"]
    again.save(tmp_path / "copy")
    copy = Recommender.load(tmp_path / "copy")
    assert torch.equal(scores(copy.model), scores(again.model))
    (best,) = again.recommend([[3, 4, 5]], k=1)["item"].to_pylist()
    assert best == 6 or name == "two hashes"


def fit(items, weights, *, changes=None, **others):
    """A training of a small Hydra whose encoder begins the same, whatever made the table, with a given table."""
    config = TrainConfig(**{"epochs": 3, "batch_events": 60, "patience": 0, "clip": 0.1, **(changes or {})})
    torch.manual_seed(5)
    shape = {key.partition(".")[2]: value for key, value in SMALL.items()}
    model = Hydra(HydraConfig(**shape, temperature=0.2), V)
    model.items = items
    tables = getattr(items, "tables", ())
    if tables:
        tables[0].write(torch.arange(V), weights)
    else:
        items.weight.data.copy_(weights)
    loss = others.pop("loss", LossConfig())
    return Fit(model, config, make_loss(loss, torch.ones(V)), **others)


def trained(items, weights, data, **others):
    training = fit(items, weights, **others)
    training.run(data, split(data).train_ends)
    return training


class DenseRowwise:
    """Rowwise Adagrad as it is written down, on a dense gradient."""

    def __init__(self, weight):
        self.weight, self.squares, self.lr = weight, torch.zeros(len(weight)), 0.0

    def leaves(self):
        return []  # the weight is a parameter of the model, and clipped as one

    @torch.no_grad()
    def step(self):
        self.squares += self.weight.grad.square().mean(1)
        self.weight -= self.lr * self.weight.grad / (self.squares.sqrt() + 1e-8)[:, None]

    def zero_grad(self):
        self.weight.grad = None


def dense(weights, data):
    """The vectors of a table with dense gradients that is trained by rowwise Adagrad."""
    training = fit(ItemTable(V, D), weights)
    weight = training.model.items.weight
    training.rows = DenseRowwise(weight)
    for group in training.optimiser.param_groups:
        group["params"] = [each for each in group["params"] if each is not weight]
    training.run(data, split(data).train_ends)
    return weight.detach()


def test_all_agree_with_the_full_table_where_nothing_is_rounded_or_shared(data, tmp_path):
    weights = 0.1 * torch.randn(V, D)
    expected = dense(weights, data)
    assert (expected - weights).abs().max() > 0.05
    mapped = MappedTable.create(tmp_path / "table", V, D, dtype=torch.float32)
    hashed = QuotientRemainder(V, D, buckets=V)
    for items in (FloatTable(V, D), mapped, hashed):
        close(trained(items, weights, data).model.items.catalog().detach(), expected, 1e-5)
    half = trained(FloatTable(V, D, dtype=torch.float16), weights, data).model.items.catalog().detach()
    close(half, expected, 0.02)
    assert not torch.equal(half, expected)


def test_gradients_of_rows_are_clipped_with_the_rest(data):
    weights = 0.1 * torch.randn(V, D)
    moved = []
    for clip in (0.0, 1e-3):
        training = fit(FloatTable(V, D), weights, changes={"clip": clip, "epochs": 1, "batch_events": 10**6})
        training.rows.eps = 1.0  # so that the size of a gradient is the size of the step
        training.run(data, split(data).train_ends)
        moved.append((training.model.items.catalog().detach() - weights).norm())
    assert 0 < moved[1] < 0.1 * moved[0]


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("name", ["half", "int8", "mapped", "hashed"])
@pytest.mark.parametrize("stop", [1, 4, 7, 10])  # of 6 steps an epoch
def test_interrupted_after_any_step_it_ends_with_the_same_bits(name, stop, data, tmp_path):
    """The rounding is random, the state of rowwise Adagrad is in the table, and the best weights are not the last."""

    def make(place):
        if name == "mapped":
            return MappedTable.create(tmp_path / place, V, D, overwrite=True)
        if name == "hashed":
            return QuotientRemainder(V, D, buckets=V)
        return FloatTable(V, D, dtype=torch.float16)

    weights = 0.1 * torch.randn(V, D)
    figures = {1: 0.1, 2: 0.3, 3: 0.2}

    def whole(place, **others):
        def validate(model):
            return {SELECTION_METRIC: figures[training.position.epoch]}

        training = fit(
            make(place),
            weights,
            changes={"checkpoint_seconds": 0.0, "epochs": 3, "batch_events": 120},
            loss=LossConfig(kind="sampled", negatives=7),
            validate=validate,
            **others,
        )
        return training

    def run(training):
        training.run(data, split(data).train_ends)
        return training.model.items.catalog().detach()

    expected = run(whole("alone"))
    steps: list = []

    def report(events, _):
        steps.extend([1] if events else [])
        if len(steps) == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(whole("stopped", report=report, checkpoints=tmp_path / "points"))
    torch.rand(17)
    again = whole("stopped", checkpoints=tmp_path / "points")
    assert again.position.step == stop - 1
    assert torch.equal(run(again), expected)
    assert again.position.best_epoch == 2


def test_killed_by_the_machine_a_mapped_table_ends_with_the_same_bits(data, tmp_path):
    more = [f"--set={key}={value}" for key, value in {"items.storage": "mapped", "train.epochs": 3}.items()]
    moments = {"alone": [], "killed": [["step", 1], ["line", 1], ["step", 15], ["seconds", 0.3]]}
    jobs = [
        {
            "arguments": [*arguments(data.path, tmp_path / name), *more],
            "out": str(tmp_path / name),
            "moments": moments[name],
        }
        for name in moments
    ]
    done = subprocess.run(
        [sys.executable, str(KILLING)],
        input=json.dumps(jobs),
        env=one_thread(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [codes[-1] for codes in json.loads(done.stdout)] == [0, 0]
    for name in ("model.safetensors", "table/vectors.bin", "table/squares.bin"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


@pytest.mark.parametrize("kind", ["sampled", "gbce"])
@pytest.mark.parametrize("name", ["rows", "int8"])
def test_nothing_in_a_step_is_as_large_as_the_catalog(name, kind, tmp_path):
    n_items = 20_000
    data = dataset_of([[7 * (user + t) for t in range(9)] for user in range(30)], n_items=n_items)
    chosen = resolve(overrides=[f"{key}={value}" for key, value in SMALL.items()])[0]
    model = Hydra(chosen.model, FloatTable(n_items, D))
    training = Fit(model, TrainConfig(epochs=1), make_loss(LossConfig(kind=kind, negatives=50), torch.ones(n_items)))
    with Largest(model.items) as largest:
        training.run(data, split(data).train_ends)
    assert 0 < largest.bytes < n_items * D


def test_what_cannot_be(data, tmp_path):
    with pytest.raises(InputError, match=r"loss\.kind=softmax scores the whole catalog.*take loss\.kind=sampled"):
        settings("mapped", **{"loss.kind": "softmax"})
    for changes, message in {
        ("items.kind=text", "items.storage=half"): "items.storage is of learned vectors",
        ("items.kind=both", "items.storage=mapped", "loss.kind=sampled"): "goes with items.kind=table alone",
        ("items.storage=hashed", "items.hashes=2"): "items.buckets",
        ("items.buckets=-1",): "must not be negative",
        ("items.storage=quarter",): "items.storage is 'quarter'",
        ("train.row_lr=0",): "row_lr must be positive",
    }.items():
        with pytest.raises(InputError, match=message):
            resolve(overrides=list(changes))
    run = train(data, tmp_path / "run", settings("mapped", **{"train.epochs": 1}), data.protocol, progress=Silent())
    (run.table / "vectors.bin").unlink()
    with pytest.raises(InputError, match=r"vectors\.bin"):
        open_run(run.path).model()
    assert Path(run.path / "metrics.json").exists()
