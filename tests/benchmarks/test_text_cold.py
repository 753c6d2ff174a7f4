"""Bar 2: the nearest titles, what counts as cold, and when it is reached."""

from argparse import Namespace

import cold
import numpy as np
import pyarrow as pa
import pytest
import shops
import torch
from nearest import NearestTitle
from targets import Targets

from hydrarec.data.batch import pack
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError


def test_nearest_titles_are_those_of_the_mean():
    vectors = torch.tensor([[2.0, 0, 0], [0, 3, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]])  # the last has no title
    model = NearestTitle(vectors)
    [(first, scores)] = model.score(pack([np.array([0, 1]), np.array([2]), np.array([4])]))
    half = 0.5**0.5
    expected = [[half, half, 0, 1, 0], [0, 0, 1, 0, 0], [0] * 5]
    assert first == 0
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float32), atol=1e-6)
    again = NearestTitle.from_tensors(None, 5, model.tensors())
    assert torch.allclose(again.vectors, model.vectors)


def asked(monkeypatch):
    monkeypatch.setattr(cold, "is_cold", lambda items: np.array([item.endswith("9") for item in items.to_pylist()]))
    items = ["beauty:9", "beauty:1", "toys:9", "toys:19", "toys:2"]
    domains = np.array([item.partition(":")[0] for item in items])
    return Targets(
        users=pa.array(list("abcde")), items=pa.array(items), domains=domains, events=np.ones(5, int), fingerprint="f"
    )


def test_figures_are_of_cold_targets(monkeypatch):
    targets = asked(monkeypatch)
    row = cold.of_cold(targets, np.array([1, 0.5, 0, 0.5, 0.1]), np.array([0.0, 1, 0, 0.5, 1]))
    assert (row["beauty"], row["toys"], row["all"]) == (1, 0.25, 0.5)
    assert row["others"] == pytest.approx(0.3)
    assert row["targets"] == 3
    assert row["p"] == 1.0  # one user differs: either sign is as likely
    nearest = np.ones(5)
    assert "p" not in cold.of_cold(targets, nearest, nearest)


def test_chance_is_ten_of_the_catalog(monkeypatch):
    dataset = Dataset.from_arrays(
        np.arange(100), np.array([0, 100]), item_columns={"domain": ["beauty"] * 20 + ["toys"] * 80}
    )
    row = cold.chance(dataset, asked(monkeypatch))
    assert (row["beauty"], row["toys"]) == (10 / 20, 10 / 80)


@pytest.mark.parametrize(
    ("found", "popularity", "nearest", "met"),
    [(0.1, 0.02, 0.09, True), (0.1, 0.03, 0.09, False), (0.1, 0.0, 0.1, False)],
)
def test_when_it_is_reached(found, popularity, nearest, met):
    figures = {
        cold.FOUND: found,
        "nearest-title": nearest,
        "popularity": 0.0,
        "popularity-before": popularity,
        "id": 0.0,
    }
    rows = {label: {"all": value} for label, value in {**figures, "chance": 0.001}.items()}
    assert cold.reached(rows) is met
    del rows["nearest-title"]
    assert cold.reached(rows) is None


def test_a_baseline_is_measured_once_and_written(sources, monkeypatch, tmp_path):
    monkeypatch.setattr(shops, "COLD", 0.3)
    given = Namespace(results=tmp_path / "results", shops="two", show=True, json=True)
    assert cold.baseline(given, "cold-two", "popularity-before") is None
    given.show = False
    found = cold.baseline(given, "cold-two", "popularity-before")
    file = tmp_path / "results" / "text-cold-two-loo" / "popularity-before.json"
    written = file.read_bytes()
    assert {"fingerprint", "protocol_fields", "machine", "seed", "parameters", "cpu_seconds", "commit"} <= set(found)
    given.show = True
    assert cold.baseline(given, "cold-two", "popularity-before") == found
    assert file.read_bytes() == written
    # It counts what was removed, so that it finds some of what popularity cannot.
    targets = cold.asked("cold-two")
    values = cold.values_of([found], targets, "hr10")
    assert cold.of_cold(targets, values, None)["all"] > 0
    other = Targets(**{**targets.__dict__, "fingerprint": "another"})
    with pytest.raises(InputError, match="text-cold-two-loo/popularity-before are of other data"):
        cold.values_of([found], other, "hr10")


def test_screens_are_80_columns(capsys):
    shop = dict.fromkeys(("beauty", "clothing", "health", "toys"), 0.01)
    row = {"label": "x", "title": "ids and titles", "seeds": 3, **shop, "all": 0.1, "others": 0.1}
    cold.show([{**row, "targets": 6000}, {**row, "targets": 6000, "p": 0.0001}], False)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert "not reached" in shown
