"""Trainings whose items are read, from a data set with titles to the loaded run."""

import json

import numpy as np
import pytest
import torch
from language_models import TITLES, needs_llm
from safetensors.torch import load_file

from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.progress import Silent
from hydrarec.train.run import open_run
from hydrarec.train.settings import resolve
from hydrarec.train.train import train

pytestmark = needs_llm

COLD = 7  # an item in nobody's training part
LOO = Protocol.named("loo")


def shop(titles=TITLES, **columns):
    """Users count through items 0 to 6; the last one saw item 7 at the end."""
    histories = [[(user + t) % 7 for t in range(8)] for user in range(20)]
    histories[-1][-1] = COLD
    offsets = np.arange(0, 20 * 8 + 1, 8)
    return Dataset.from_arrays(
        np.array(histories).ravel(), offsets, item_columns={"title": titles, **columns}, protocol=LOO
    )


def settings(llama, **changes):
    plain = {
        "model.d_model": 8,
        "model.n_layers": 1,
        "model.n_heads": 2,
        "model.d_state": 4,
        "model.dropout": 0.1,
        "train.epochs": 3,
        "train.patience": 0,
        "train.batch_events": 40,
        "train.checkpoint_seconds": 0,
        "items.kind": "text",
        "items.text.model": json.dumps(str(llama)),
        "items.tuning.lr": 1e-2,
    }
    return resolve(overrides=[f"{key}={value}" for key, value in {**plain, **changes}.items()], seed=1)[0]


class StoppedError(Exception):
    pass


class StopAfter(Silent):
    """Progress that ends the training after so many of its batches."""

    def __init__(self, batches):
        self.left = batches

    def task(self, name, **about):
        outer = self
        task = super().task(name, **about)
        if name != "train":
            return task

        class Stopping:
            def __enter__(self):
                self.task = task.__enter__()
                return self

            def __exit__(self, *error):
                return task.__exit__(*error)

            def advance(self, n, text=""):
                if n:
                    outer.left -= 1
                    if outer.left < 0:
                        raise StoppedError
                self.task.advance(n, text)

        return Stopping()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HYDRAREC_CACHE", str(tmp_path / "cache"))


MODES = [
    {},
    {"items.kind": "both"},
    {"items.tuning.mode": "lora"},
    {"items.tuning.mode": "full", "items.tuning.layers": 1},
    {"items.tuning.mode": "partial", "items.tuning.budget": 3},
    {"items.tuning.mode": "cached", "items.tuning.every": 3},
]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode.values())) or "frozen")
def test_a_stopped_training_goes_on_as_if_it_had_not_stopped_and_is_loaded_as_it_was(llama, tmp_path, mode):
    data, chosen = shop(), settings(llama, **mode)
    whole = train(data, tmp_path / "whole", chosen, LOO, progress=Silent())
    with pytest.raises(StoppedError):
        train(data, tmp_path / "stopped", chosen, LOO, progress=StopAfter(4))
    assert list((tmp_path / "stopped" / "checkpoints").iterdir())
    gone_on = train(data, tmp_path / "stopped", chosen, LOO, progress=Silent())
    expected, found = (load_file(run.path / "model.safetensors") for run in (whole, gone_on))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    model = open_run(tmp_path / "whole").model()
    assert {name: value.shape for name, value in model.tensors().items()} == {
        name: value.shape for name, value in expected.items()
    }
    learned = [name for name in expected if name.startswith("items.learned.")]
    assert bool(learned) == (mode.get("items.tuning.mode", "frozen") != "frozen")
    assert whole.metrics["test"]["metrics"]["NDCG@10"] == gone_on.metrics["test"]["metrics"]["NDCG@10"]


def test_the_language_model_learns_and_the_vectors_are_its_last(llama, tmp_path):
    from hydrarec.items.text.backbone import Backbone
    from hydrarec.items.text.config import TextConfig
    from hydrarec.items.text.tokenizer import ItemTokenizer
    from hydrarec.items.text.trainable import make_trainable, put
    from hydrarec.items.text.tuning import by_name

    run = train(shop(), tmp_path / "run", settings(llama, **{"items.tuning.mode": "lora"}), LOO, progress=Silent())
    items = run.model().items
    frozen = Backbone.load(TextConfig(model=str(llama)))
    tokens, offsets = map(torch.from_numpy, ItemTokenizer.load(llama, TextConfig(model=str(llama)))(_texts()))
    with torch.no_grad():
        before = frozen.encode(tokens, offsets)
        put(make_trainable(frozen, adapters=8, layers=0), by_name(items.learned))
        after = frozen.encode(tokens, offsets)
    torch.testing.assert_close(items.vectors, (after - items.means) * items.scale, rtol=1e-4, atol=1e-4)
    assert (after - before).abs().max() > 1e-2


def _texts():
    return TITLES


@pytest.mark.parametrize("kind", ["text", "both"])
def test_an_item_that_was_never_trained_is_no_negative(llama, tmp_path, kind):
    run = train(shop(), tmp_path / "run", settings(llama, **{"items.kind": kind}), LOO, progress=Silent())
    items = run.model().items
    if kind == "both":
        assert items.known.tolist() == [1.0] * 7 + [0.0]
        cold = load_file(run.path / "model.safetensors")["items.table.weight"][COLD]
        torch.manual_seed(1)
        assert cold.abs().max() <= 0.04  # as it was drawn


def test_items_without_text_have_vectors_of_the_table_or_none(llama, tmp_path):
    titles = [*TITLES[:3], None, " ", *TITLES[5:]]
    run = train(shop(titles), tmp_path / "run", settings(llama), LOO, progress=Silent())
    vectors = run.model().catalog()
    assert not vectors[[3, 4]].any()
    assert vectors[[0, 1, 2]].abs().max() > 1e-2


def test_data_without_any_text_is_refused(llama, tmp_path):
    with pytest.raises(InputError, match=r"no item of the data set has a text; prepare it with titles"):
        train(shop([" "] * 8), tmp_path / "run", settings(llama), LOO, progress=Silent())
    plain = Dataset.from_arrays(np.array([0, 1, 0, 1] * 4), np.arange(0, 17, 4), protocol=LOO)
    with pytest.raises(InputError, match="no column of text"):
        train(plain, tmp_path / "other", settings(llama), LOO, progress=Silent())


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_rivals_read_texts_too(llama, tmp_path, name):
    overrides = ["model.d_model=8", "train.epochs=1", "items.kind=text", f"items.text.model={json.dumps(str(llama))}"]
    chosen = resolve(model=name, overrides=overrides, seed=1)[0]
    run = train(shop(), tmp_path / "run", chosen, LOO, progress=Silent())
    assert run.model().catalog().shape == (8, 8)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("items.kind=words", "items.kind is 'words'; it must be one of"),
        ("items.tuning.every=0", "items.tuning.every is 0; it must be at least 1"),
        ("items.tuning.layers=-1", "items.tuning.layers is -1"),
        ("items.tuning.lr=0", "items.tuning.lr is 0.0; it must be positive"),
        ("items.text.modl=x", "did you mean 'model'?"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        resolve(overrides=[setting])
