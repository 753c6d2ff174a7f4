"""Several real processes train one model: as one would, from any checkpoint, and never waiting for who is gone."""

import json

import numpy as np
import pytest
from jobs import close, several, train, weights
from support import cyclic

from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.data.windows import share

IN_BATCH = ["loss.kind=sampled", "loss.sampler=in_batch", "loss.negatives=20"]
CASES = {
    "softmax": [],
    "carried": ["train.windows=carried", "train.max_len=4"],
    "rows": ["items.storage=rows", *IN_BATCH],
    "sharded": ["items.storage=sharded", *IN_BATCH],  # 10 rows in shards of 4, 4 and 2
    "mixed": ["items.storage=rows", *IN_BATCH, "loss.sampler=mixed"],
    "rows, softmax": ["items.storage=rows"],
    "hashed": ["items.storage=hashed", "loss.kind=gbce", "loss.negatives=5"],
    "domains": ["loss.kind=sampled", "loss.negatives=4"],
    "domains, in batch": IN_BATCH,
    "gru4rec": ["train.batch_events=6"],  # fewer windows in a batch than processes
}
WORLDS = {"gru4rec": 3, "sharded": 3}


def shops():
    """Users of the large shop count through items 0 to 5, a few of the small one through 6 to 8."""
    histories = [[(user + t) % 6 for t in range(7)] for user in range(32)]
    histories += [[6 + (user + t) % 3 for t in range(7)] for user in range(3)]
    return Dataset.from_arrays(
        np.array(histories).ravel(),
        np.arange(0, 36 * 7, 7),
        item_columns={"domain": ["large"] * 6 + ["small"] * 3},
        protocol=Protocol.named("loo"),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    cyclic(users=40, length=14, n_items=10).save(folder / "cyclic")
    cyclic(users=40, length=13, n_items=10).save(folder / "other")
    shops().save(folder / "shops")
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Run folders by (case, number of processes), each trained by real processes, and what these printed."""
    folder, jobs, names = tmp_path_factory.mktemp("trained"), [], []
    for case, changes in CASES.items():
        for world in (1, WORLDS.get(case, 2)):
            names.append((case, world))
            source = data / ("shops" if "domains" in case else "cyclic")
            arguments = train(source, folder / f"{case}-{world}", changes, case if case == "gru4rec" else "hydra")
            jobs.append({"arguments": [arguments] * world})
    return {name: (folder / f"{name[0]}-{name[1]}", out) for name, out in zip(names, several(jobs), strict=True)}


def test_several_processes_train_what_one_does(trained, subtests):
    for case in CASES:
        with subtests.test(case):
            (alone, _), (run, printed) = trained[case, 1], trained[case, WORLDS.get(case, 2)]
            assert [code for code, _, _ in printed] == [0] * len(printed)
            # Adagrad's first steps are as long for small gradients as for large ones: so are their rounding errors.
            close(weights(run), weights(alone), 1e-4 if case == "rows, softmax" else 1e-5)
            first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (run, alone))
            assert first["events"] == second["events"]
            assert first["test"]["queries"] == second["test"]["queries"]
            assert first["test"]["metrics"] == pytest.approx(second["test"]["metrics"], abs=1e-9)
            losses = [
                [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
                for folder in (run, alone)
            ]
            assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6)


def test_a_sharded_table_is_a_plain_one_in_parts(trained):
    close(weights(trained["sharded", 3][0]), weights(trained["rows", 1][0]))
    sizes = [file.stat().st_size for file in (trained["sharded", 3][0] / "table").iterdir()]
    assert len(sizes) == 3


def test_the_first_alone_speaks(trained):
    (_, first, _), (_, second, errors) = trained["rows", 2][1]
    assert json.loads(first)["epochs"] == 2
    assert second == errors == ""


def test_shares_are_runs_that_weigh_alike():
    draw = np.random.default_rng(0)
    for world in range(1, 6):
        sizes = draw.integers(1, 200, 40)
        runs = [share(sizes, rank, world) for rank in range(world)]
        assert np.concatenate([np.arange(40)[run] for run in runs]).tolist() == list(range(40))
        assert all(abs(sizes[run].sum() - sizes.sum() / world) <= 200 for run in runs)
    assert [share(np.array([7]), rank, 3) for rank in range(3)].count(slice(0, 1)) <= 1
    assert share(np.array([], int), 1, 2) == slice(0, 0)
