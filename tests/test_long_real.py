"""Real histories of tens of thousands of events, read, trained on and answered whole."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from events import TINY

from hydrarec import Recommender

SHARED = Path(__file__).parents[2] / "shared" / "datasets"
CARRIED = {"train.windows": "carried", "train.max_len": 512}
RECOMPUTED = {"train.max_len": 0, "train.recompute": 2048}


def longest_and_some(name, others):
    """(events of the user with most events and of some others, that user, its events)."""
    table = pq.read_table(SHARED / name / "interactions.parquet", columns=["user_id", "item_id", "timestamp"])
    users, counts = np.unique(table["user_id"].to_numpy(), return_counts=True)
    longest = users[counts.argmax()]
    kept = np.append(np.random.default_rng(0).choice(users, others, replace=False), longest)
    return table.filter(pc.is_in(table["user_id"], value_set=pc.cast(np.unique(kept), table["user_id"].type))), longest


@pytest.mark.parametrize("settings", [CARRIED, RECOMPUTED], ids=["carried", "recomputed"])
@pytest.mark.parametrize(("name", "most"), [("git-file-edits", 40_769), ("online-retail-ii", 12_704)])
def test_real_long_histories(tmp_path, name, most, settings):
    if not (SHARED / name).exists():
        pytest.skip(f"../shared/datasets/{name} is not there")
    events, user = longest_and_some(name, others=60)
    settings = {**TINY, "loss.kind": "sampled", "loss.negatives": 64, **settings}
    fitted = Recommender.fit(events, out=tmp_path / "run", settings=settings)
    history = events.filter(pc.equal(events["user_id"], user))["item_id"].to_pylist()
    assert len(history) == np.diff(fitted.dataset.offsets).max() == most
    assert fitted.evaluate().metrics == pytest.approx(fitted.run.metrics["test"]["metrics"])
    answer = fitted.recommend(users=[user], k=5)
    state = fitted.initial_state()
    for first in range(0, most, 10_000):
        state = fitted.observe(state, [history[first : first + 10_000]])
    again = fitted.recommend(states=state, k=5)
    assert again["score"].to_pylist() == pytest.approx(answer["score"].to_pylist(), abs=1e-4)
    assert fitted.recommend(users="all", k=1).num_rows == fitted.dataset.n_users
