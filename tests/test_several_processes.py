"""Evaluation and bulk recommendation in several real processes: what one process finds."""

import json

import pyarrow.parquet as pq
import pytest
from jobs import several, train
from support import cyclic

SHARDED = ["items.storage=sharded", "loss.kind=sampled", "loss.negatives=8", "train.epochs=1"]
WORLDS = (1, 2, 3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder for two runs: one with a table in two shards, one whose processes share the users."""
    folder = tmp_path_factory.mktemp("runs")
    cyclic(users=40, length=14, n_items=20).save(folder / "data")
    return folder


@pytest.fixture(scope="module")
def asked(runs):
    """What each number of processes answers, by (run, command, number); and what two say to one user's."""
    jobs = [
        {"arguments": [train(runs / "data", runs / "sharded", SHARDED)] * 2},
        {"arguments": [train(runs / "data", runs / "plain", ["train.epochs=1"])]},
    ]
    commands = {
        "evaluate": [],
        "recommend": ["--all", "-k", "4", "--exclude-seen"],
    }
    names = [(run, command, world) for run in ("sharded", "plain") for command in commands for world in WORLDS]
    for run, command, world in names:
        out = ["--out", str(runs / f"{run}-{world}.parquet")] if command == "recommend" else []
        jobs.append({"arguments": [[command, str(runs / run), *commands[command], *out, "--json"]] * world})
    jobs.append({"arguments": [["recommend", str(runs / "plain"), "--user", "0", "--procs", "2"]]})
    sharded, plain, *answers = several(jobs)
    assert [code for code, _, _ in (*sharded, *plain)] == [0, 0, 0]
    return dict(zip([*names, "one user"], answers, strict=True))


@pytest.mark.parametrize("run", ["sharded", "plain"])
def test_any_number_of_processes_measures_the_same(run, asked):
    answers = []
    for world in WORLDS:
        for code, _, errors in asked[run, "evaluate", world]:
            assert (code, errors) == (0, ""), errors
        first, *others = [out for _, out, _ in asked[run, "evaluate", world]]
        assert others == [""] * (world - 1)
        answers.append(json.loads(first))
    assert answers[0]["metrics"]["NDCG@10"] > 0
    assert answers[1] == answers[2] == answers[0]


@pytest.mark.parametrize("run", ["sharded", "plain"])
def test_any_number_of_processes_recommends_the_same(run, runs, asked):
    for world in WORLDS:
        assert [code for code, _, _ in asked[run, "recommend", world]] == [0] * world
        assert [out for _, out, _ in asked[run, "recommend", world]][1:] == [""] * (world - 1)
    alone, *others = [pq.read_table(runs / f"{run}-{world}.parquet") for world in WORLDS]
    assert alone.num_rows > 40
    for found in others:
        assert found.drop(["score"]) == alone.drop(["score"])
        assert found["score"].to_numpy() == pytest.approx(alone["score"].to_numpy(), abs=1e-5)


def test_several_processes_want_work_to_share(asked):
    ((code, _, error),) = asked["one user"]
    assert code == 2
    assert "several processes answer --all" in error
