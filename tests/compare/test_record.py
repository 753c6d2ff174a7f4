"""What a run's file has of validation, where the data has domains."""

import numpy as np
import pytest
from events import TINY, USERS, event_table

from hydrarec import Recommender
from hydrarec.compare.record import of_queries, record
from hydrarec.compare.values import unpack
from hydrarec.evaluate.ranks import MISSED


def test_a_curve_for_each_domain_beside_that_of_all(tmp_path):
    events = event_table()
    names = ["odd" if item % 2 else "even" for item in events["item"].to_pylist()]
    fitted = Recommender.fit(
        events.append_column("domain", [names]),
        out=tmp_path / "run",
        settings={**TINY, "train.epochs": 3, "train.validate_every": 2},
        protocol="loo",
    )
    found = record(fitted.run, fitted.dataset, {"model": "x"}, None)
    curves = found["domain_curves"]
    assert sorted(curves) == ["even", "odd"]
    assert [point[0] for point in found["curve"]] == [2, 3]
    odd = np.mean([item % 2 for item in fitted.dataset.item_table["item"].to_numpy()[_valid(fitted)]])
    for (_, overall, *_), even, uneven in zip(found["curve"], curves["even"], curves["odd"], strict=True):
        assert odd * uneven + (1 - odd) * even == pytest.approx(overall, abs=2e-6)


def _valid(fitted):
    from hydrarec.data.split import split

    positions = split(fitted.dataset, fitted.run.protocol).valid
    assert len(positions) == USERS
    return np.asarray(fitted.dataset.items)[positions]


def test_figures_of_queries_are_expectations_over_ties():
    greater, ties = np.array([0, 9, 10, 9, MISSED]), np.array([0, 0, 0, 3, 0])
    packed = of_queries(greater, ties)
    hits, gains = (unpack(packed[name], "f4", name) for name in ("hr10", "ndcg10"))
    assert hits == pytest.approx([1, 1, 0, 1 / 4, 0])
    assert gains == pytest.approx([1, 1 / np.log2(11), 0, 1 / np.log2(11) / 4, 0], abs=1e-7)
