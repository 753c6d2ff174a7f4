"""Real users, over HTTP: ranks are those of the evaluation, whose model has read each history in one pass."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from events import TINY
from serving import served

from hydrarec import Protocol, Recommender
from hydrarec.data.split import split
from hydrarec.serve.http.bodies import K

TOYS = Path(__file__).parents[3] / "shared" / "datasets" / "amazon2014-toys" / "interactions.parquet"
USERS = 1_000
SETTINGS = {**TINY, "model.time": True, "train.max_len": 0, "loss.kind": "sampled", "loss.negatives": 64}


def some_users():
    table = pq.read_table(TOYS, columns=["user_id", "item_id", "timestamp"])
    chosen = np.random.default_rng(0).choice(pc.unique(table["user_id"]).to_numpy(False), USERS, replace=False)
    return table.filter(pc.is_in(table["user_id"], value_set=pc.cast(chosen, table["user_id"].type)))


def test_a_thousand_real_users(tmp_path):
    if not TOYS.exists():
        pytest.skip("../shared/datasets/amazon2014-toys is not there")
    protocol = Protocol(split="loo", candidates="all", exclude_seen=True)
    fitted = Recommender.fit(some_users(), out=tmp_path / "run", settings=SETTINGS, protocol=protocol)
    measured, data = fitted.evaluate(), fitted.dataset
    targets = split(data, protocol).test
    assert len(targets) == USERS
    items, times, ids = np.asarray(data.items), np.asarray(data.times), data.item_table["item"].to_pylist()
    events = [
        {"user": str(user), "item": ids[items[place]], "time": int(times[place]), "id": str(place)}
        for user, target in enumerate(targets)
        for place in range(int(data.offsets[user]), int(target))
    ]
    events.sort(key=lambda event: event["time"])  # as they happened, all users among each other
    with served(fitted.run.path, "--state", tmp_path / "store") as server, httpx.Client(timeout=60) as client:
        for first in range(0, len(events), 500):
            answer = client.post(f"{server.url}/events", json={"events": events[first : first + 500]})
            assert answer.json()["duplicates"] == 0

        def rank(user):
            """Place of the user's target among the best, from 0; None beyond."""
            query = {"k": K, "at": int(times[targets[user]]), "exclude_seen": True}
            answer = client.get(f"{server.url}/users/{user}/recommendations", params=query).json()
            found = [each["item"] for each in answer["recommendations"]]
            target = ids[items[targets[user]]]
            return found.index(target) if target in found else None

        with ThreadPoolExecutor(8) as threads:
            ranks = list(threads.map(rank, range(USERS)))
    differ = 0
    for found, greater, ties in zip(ranks, measured.greater, measured.ties, strict=True):
        if greater + ties < K - 2:
            assert found is not None
            assert greater - 1 <= found <= greater + ties + 1  # scores may differ in the last digits
            differ += not greater <= found <= greater + ties
    assert differ <= USERS / 100
