"""A training on several domains, from events to the loaded run."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from events import ITEMS, TINY, event_table, history

from hydrarec import InputError, Recommender
from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.losses.config import LossConfig, make_loss
from hydrarec.models.hydra import Hydra, HydraConfig
from hydrarec.train.config import TrainConfig
from hydrarec.train.log import Log
from hydrarec.train.loop import Fit
from hydrarec.train.summary import summary
from hydrarec.train.windows import training_windows

SOFTMAX = make_loss(LossConfig(), torch.ones(1))


def shops(*, n_small=8, n_large=32, length=7):
    """Users of the large shop have items 0 to 5, those of the small one 6 to 8; they count through them."""
    large = [[(user + t) % 6 for t in range(length)] for user in range(n_large)]
    small = [[6 + (user + t) % 3 for t in range(length)] for user in range(n_small)]
    return Dataset.from_arrays(
        np.array(large + small).ravel(),
        np.arange(0, (n_large + n_small + 1) * length, length),
        item_columns={"domain": ["large"] * 6 + ["small"] * 3},
        protocol=Protocol.named("loo"),
    )


DATA = shops()
ENDS = np.asarray(DATA.offsets)[1:]


def fit(changes, **others):
    config = TrainConfig(**{"epochs": 2, "batch_events": 40, "patience": 0, **changes})
    torch.manual_seed(config.seed)
    model = Hydra.for_data(HydraConfig(d_model=8, n_layers=1, n_heads=2, d_state=3, dropout=0.1), DATA)
    return Fit(model, config, others.pop("loss", SOFTMAX), **others)


def shown(changes):
    """Targets of every batch of a training."""
    batches: list = []

    def loss(hidden, catalog, targets, scale, among=None):
        batches.append(targets.tolist())
        return SOFTMAX(hidden, catalog, targets, scale)

    fit(changes, loss=loss).run(DATA, ENDS)
    return batches


@pytest.mark.parametrize(("power", "small"), [(1.0, 8), (0.5, 13), (0.0, 20)])
def test_an_epoch_shows_domains_by_the_power(power, small):
    targets = Counter(item >= 6 for batch in shown({"domain_power": power, "epochs": 1}) for item in batch)
    assert targets == {True: 6 * small, False: 6 * (40 - small)}  # sqrt(32) : sqrt(8) is 26.67 : 13.33 of 40


def test_power_1_is_the_order_of_data_without_domains(monkeypatch):
    one = shown({"domain_power": 1.0})
    monkeypatch.setattr("hydrarec.train.windows.window_domains", lambda data, source: np.zeros(len(source.first), int))
    assert shown({"domain_power": 0.5}) == one


def test_carried_windows_come_in_their_order_whatever_the_power():
    carried = {"windows": "carried", "max_len": 3}
    assert shown({**carried, "domain_power": 0.0}) == shown({**carried, "domain_power": 1.0})
    assert training_windows(DATA, ENDS, TrainConfig(**carried)).events == 40 * 6


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 4, 7, 9])
def test_interrupted_it_ends_with_the_same_bits(tmp_path, stop):
    changes = {"checkpoint_seconds": 0.0, "domain_power": 0.3}
    whole = fit(changes)
    whole.run(DATA, ENDS)
    steps: list = []

    def report(events, _):
        steps.extend([1] if events else [])
        if len(steps) == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(changes, checkpoints=tmp_path, report=report).run(DATA, ENDS)
    again = fit(changes, checkpoints=tmp_path)
    assert again.position.step == stop - 1
    again.run(DATA, ENDS)
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.model.state_dict().items())
    assert expected["domains.weight"].abs().min() > 0


def test_validation_is_shown_and_logged_by_domain(tmp_path):
    lines: list = []
    domains = {name: {"queries": 3, SELECTION_METRIC: 0.1 + 0.1 * place} for place, name in enumerate("abcde")}
    training = fit(
        {},
        validate=lambda model: {SELECTION_METRIC: 0.5, "domains": domains},
        log=Log(tmp_path / "log.jsonl"),
        report=lambda events, text: lines.append(text),
    )
    training.run(DATA, ENDS)
    assert lines[-1].endswith("  NDCG@10 0.5000  a 0.1000, b 0.2000, c 0.3000, d 0.4000, ...")
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["domains"] == domains
    assert training.position.best == 0.5  # all targets choose


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    events = event_table()
    names = ["odd" if item % 2 else "even" for item in events["item"].to_pylist()]
    place = tmp_path_factory.mktemp("domains") / "run"
    settings = {**TINY, "train.epochs": 2}
    return Recommender.fit(events.append_column("domain", [names]), out=place, settings=settings)


def test_the_log_and_the_summary_have_metrics_by_domain(trained):
    entries = [json.loads(line) for line in (trained.run.path / "log.jsonl").read_text().splitlines()]
    for entry in entries:
        assert set(entry["domains"]) == {"even", "odd"}
        queries = [each["queries"] for each in entry["domains"].values()]
        means = [each[SELECTION_METRIC] for each in entry["domains"].values()]
        assert np.average(means, weights=queries) == pytest.approx(entry[SELECTION_METRIC])
    told = summary(trained.run)["domains"]
    assert told["odd"] == trained.run.metrics["test"]["groups"]["domain odd"]
    assert sum(each["queries"] for each in told.values()) == trained.run.metrics["test"]["queries"]


def test_a_loaded_model_knows_domains_however_it_is_asked(trained):
    model = trained.run.model()
    assert model.domains.item_domains.tolist() == [item % 2 for item in range(1, ITEMS + 1)]
    assert model.domains.weight.abs().min() > 0
    known = history(5)
    whole = trained.recommend([known], k=ITEMS)
    state = trained.initial_state()
    for item in known:
        state = trained.observe(state, [[item]])
    stepped = trained.recommend(states=state, k=ITEMS)
    assert stepped["item"].to_pylist() == whole["item"].to_pylist()
    np.testing.assert_allclose(stepped["score"], whole["score"], rtol=1e-4, atol=1e-5)


def test_training_from_all_and_without_vectors(trained, tmp_path):
    settings = {**TINY, "loss.negatives_from": "all", "model.domain_embedding": False, "train.domain_power": 1}
    other = Recommender.fit(trained.dataset, out=tmp_path / "run", settings=settings)
    assert other.run.model().domains is None
    with pytest.raises(InputError, match=r"loss\.negatives_from was all, now own"):
        Recommender.fit(trained.dataset, out=tmp_path / "run", settings={**settings, "loss.negatives_from": "own"})
