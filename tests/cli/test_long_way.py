"""The whole way with one history of 65,536 events, in a process whose memory is measured."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

EVENTS, ITEMS, SHORT = 65_536, 40, (300, 57, 20)
SETTINGS = ["model.d_model=16", "model.n_layers=1", "model.n_heads=2", "model.d_state=8", "train.epochs=1"]
WAYS = {
    "carried": ["train.windows=carried", "train.max_len=512", "train.batch_events=2048"],
    "recomputed": ["train.max_len=0", "train.recompute=2048"],
}
MEGABYTES = 300  # whole histories without recomputation took 473
# Runs each list of commands in a fork; prints the megabytes that they added to the process at its highest.
RUN = """
import json, os, sys
import pandas, hydrarec.recommender
from hydrarec.cli import main
from hydrarec.machine import peak_memory_bytes
for commands in json.loads(sys.argv[1]):
    if not os.fork():
        before = peak_memory_bytes()
        for command in commands:
            assert main(command) == 0, command
        print(json.dumps({"added": (peak_memory_bytes() - before) / 2**20}))
        sys.exit()
    assert os.wait()[1] == 0
"""


def in_processes(*runs):
    """What each command printed, and the megabytes of all."""
    run = [[[str(word) for word in command] for command in commands] for commands in runs]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(run)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = iter(map(json.loads, done.stdout.splitlines()))
    return [([next(lines) for _ in commands], next(lines)["added"]) for commands in runs]


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """One long history and some short ones over the same time; everybody counts upwards through the items."""
    lengths = (EVENTS, *SHORT)
    table = pa.table(
        {
            "user": np.repeat(np.arange(len(lengths)), lengths),
            "item": np.concatenate([np.arange(n) % ITEMS for n in lengths]),
            "time": np.concatenate([np.linspace(0, 10**8, n).astype(np.int64) for n in lengths]),
        }
    )
    path = tmp_path_factory.mktemp("long") / "events.parquet"
    pq.write_table(table, path)
    return path


def the_whole_way(place, events, way):
    run, out = place / "run", place / "everybody.parquet"
    settings = [word for setting in SETTINGS + WAYS[way] for word in ("--set", setting)]
    return (
        ["prepare", events, "--out", place / "dataset", "--target", "every", "--json"],
        ["train", place / "dataset", "--out", run, *settings, "--json"],
        ["evaluate", run, "--json"],
        ["recommend", run, "--user", "0", "-k", "3", "--json"],
        ["recommend", run, "--all", "--out", out, "--json"],
    )


@pytest.fixture(scope="module")
def done(events, tmp_path_factory):
    """What the commands of each way printed, and the megabytes of all."""
    found = in_processes(*(the_whole_way(tmp_path_factory.mktemp(way), events, way) for way in WAYS))
    return dict(zip(WAYS, found, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_a_history_of_65536_events(done, way):
    (prepared, trained, measured, recommended, everybody), added = done[way]
    assert prepared["events"] == EVENTS + sum(SHORT)
    assert prepared["targets"]["test"] == measured["queries"] > EVENTS / 10
    assert measured["metrics"] == trained["metrics"]
    assert measured["metrics"]["HR@10"] > (0.99 if way == "carried" else 1.2 * 10 / ITEMS)  # many steps, or two
    if way == "carried":
        assert recommended["recommendations"][0]["item"] == EVENTS % ITEMS
    assert everybody["rows"] == 10 * (1 + len(SHORT))
    assert added < MEGABYTES
