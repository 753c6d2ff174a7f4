"""The server that re-encodes, which ours is measured against, answers as it should."""

import importlib.util
import json
from pathlib import Path

from events import ITEMS, TINY, event_table, history

from hydrarec import Recommender

PLACE = Path(__file__).parents[2] / "benchmarks" / "serving" / "reencode.py"


def test_the_last_events_are_encoded(tmp_path):
    spec = importlib.util.spec_from_file_location("reencode", PLACE)
    reencode = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reencode)
    settings = {key: value for key, value in TINY.items() if key != "model.d_state"} | {"train.max_len": 4}
    recommender = Recommender.fit(event_table(), out=tmp_path, model="sasrec", settings=settings)
    app = reencode.App(recommender, length=4, past=0)
    users = {str(user): history(user, 2 + 3 * user) for user in (1, 2)}
    for user, items in users.items():
        app._apply([(user, str(item)) for item in items])
    answers = [json.loads(answer) for answer in app._answer([(user, 3) for user in users])]
    expected = recommender.recommend([items[-4:] for items in users.values()], k=3).to_pylist()
    assert [answer["events"] for answer in answers] == [5, 8]
    for number, answer in enumerate(answers):
        assert [each["item"] for each in answer["recommendations"]] == [
            row["item"] for row in expected if row["user"] == number
        ]
    fresh = reencode.App(recommender, length=4, past=4)
    fresh._apply([("new", "1")])
    assert len(fresh.histories["new"]) == 4
    assert fresh.histories["new"][-1] == recommender.vocabulary.rows([1])[0]
    assert len(fresh.ids) == ITEMS
    assert b"hydrarec_requests" in fresh.metrics.text()  # which a load asks for first
