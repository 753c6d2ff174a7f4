"""A process that prepares a data set is killed or stopped: the same call goes on, and any other begins anew."""

import random
import subprocess
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydrarec.data.prepare import prepare
from hydrarec.data.reading import pack
from hydrarec.data.simulation.traffic import TrafficConfig, write_traffic
from hydrarec.data.store import Dataset
from hydrarec.errors import HydrarecError, InputError
from hydrarec.progress import Silent
from hydrarec.sharing import alone_in

LOG = TrafficConfig(n_events=20_000, n_users=500, n_items=300, days=5)
LEFT = ".set.unfinished"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(pack, "_SHARD", 5_000)


@pytest.fixture
def log(tmp_path):
    write_traffic(LOG, tmp_path / "log.parquet", progress=Silent())
    return tmp_path / "log.parquet"


def killed(folder, call, moment, what='"log.parquet", "set", min_item=2'):
    """Run ``prepare`` of ``what``; it kills itself before or after the ``call``-th note of what is done."""
    program = """
import os, signal, sys
from pathlib import Path
import hydrarec.data.prepare as module
from hydrarec.data.reading import pack
from hydrarec.data.reading.stages import Stages
pack._SHARD = 5_000
note, read, left = Stages.note, module.read_events, [int(sys.argv[1])]
def killing(stages, *facts):
    left[0] -= 1
    if not left[0] and sys.argv[2] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    note(stages, *facts)
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
def counting(*arguments, **options):
    with Path("reads").open("a") as file:
        file.write("read\\n")
    return read(*arguments, **options)
Stages.note, module.read_events = killing, counting
module.prepare(WHAT)
""".replace("WHAT", what)
    done = subprocess.run([sys.executable, "-c", program, str(call), moment], cwd=folder, check=False)
    assert done.returncode in (0, -9)
    return done.returncode == -9


def test_killed_again_and_again(tmp_path, log):
    draw, kills = random.Random(5), 0
    while killed(tmp_path, 1 + draw.randrange(2), draw.choice(["before", "after"])):
        kills += 1
        assert not (tmp_path / "set").exists()
        assert len([path for path in tmp_path.iterdir() if path.name.startswith(".set.")]) == 2  # not of every kill
    assert kills >= 5
    assert (tmp_path / "reads").read_text().count("read") <= 3  # each before the first note
    dataset = prepare(log, tmp_path / "set", min_item=2, overwrite=True)
    assert dataset.fingerprint == prepare(log, min_item=2).fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.parquet", "reads", "set"]


def test_domains_and_item_text(tmp_path, log):
    log.rename(tmp_path / "one.parquet")
    write_traffic(LOG, tmp_path / "two.parquet", seed=3, progress=Silent())
    pq.write_table(
        pa.table({"item": [*range(1, 301)], "title": [f"No. {n}" for n in range(1, 301)]}), tmp_path / "items.parquet"
    )
    what = '["one.parquet", "two.parquet"], "set", items=["items.parquet", None], memory="200MB"'
    for call in (4, 1, 1):  # after reading and counting, then between shards
        assert killed(tmp_path, call, "after", what)
    assert not killed(tmp_path, 100, "after", what)
    assert (tmp_path / "reads").read_text().count("read") == 2
    sources = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    expected = prepare(sources, items=[tmp_path / "items.parquet", None])
    dataset = Dataset.open(tmp_path / "set")
    assert dataset.fingerprint == expected.fingerprint
    assert dataset.item_table == expected.item_table


def test_a_signal_while_rows_come(tmp_path, log):
    program = """
import os, signal, sys, threading
import hydrarec.data.prepare as module
from hydrarec.cli import main
from hydrarec.data.reading.engine import to_reader
LONG = "SELECT hash(i) AS i FROM range(1000000000000) t(i)"
def slow(connection, parts):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    for batch in to_reader(connection, LONG, 1000):
        pass
module.merge = slow
sys.exit(main(["prepare", "log.parquet", "--out", "set"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hydrarec: interrupted; training and preparing go on")
    assert (tmp_path / LEFT).exists()
    lines = []
    prepare(log, tmp_path / "set", log=lines.append)
    assert lines[0] == "goes on with what an interrupted process had done"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("Query interrupted"), duckdb.InterruptException("Interrupted!"), OSError("Query interrupted")],
)
def test_what_duckdb_makes_of_a_signal_is_one(tmp_path, log, monkeypatch, error):
    with monkeypatch.context() as patch:
        stopped_at(patch, "write_arrays", error)
        with pytest.raises(KeyboardInterrupt):
            prepare(log, tmp_path / "set")
    assert (tmp_path / LEFT).exists()


def stopped_at(monkeypatch, name, error):
    """``prepare`` meets ``error`` where it would call ``name``."""

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(f"hydrarec.data.prepare.{name}", fail)


@pytest.mark.parametrize("place", ["count_core", "write_arrays", "take_arrays", "_finish"])
def test_who_stopped_it_may_go_on(tmp_path, log, monkeypatch, place):
    with monkeypatch.context() as patch:
        stopped_at(patch, place, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            prepare(log, tmp_path / "set")
    assert (tmp_path / LEFT).exists()
    assert not (tmp_path / "set").exists()
    expected, lines = prepare(log).fingerprint, []
    stopped_at(monkeypatch, "read_events", AssertionError("read again"))
    dataset = prepare(log, tmp_path / "set", log=lines.append)
    assert lines[0] == "goes on with what an interrupted process had done"
    dataset.verify()
    assert dataset.fingerprint == expected
    assert not (tmp_path / LEFT).exists()


def test_after_an_error_nothing_is_left(tmp_path, log, monkeypatch):
    stopped_at(monkeypatch, "write_arrays", HydrarecError("the disk is full"))
    with pytest.raises(HydrarecError, match="full"):
        prepare(log, tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


@pytest.mark.parametrize("change", ["options", "source", "damage"])
def test_other_work_begins_anew(tmp_path, log, change):
    assert killed(tmp_path, 4, "after")
    options = {"min_item": 2}
    if change == "options":
        options = {"min_user": 3}
    elif change == "source":
        write_traffic(LOG, log, seed=2, progress=Silent())
    else:
        (tmp_path / LEFT / "stages.duckdb").write_bytes(b"no database" * 1000)
    lines = []
    dataset = prepare(log, tmp_path / "set", log=lines.append, **options)
    assert lines[0].startswith("columns")
    assert dataset.fingerprint == prepare(log, **options).fingerprint
    assert not (tmp_path / LEFT).exists()


def test_one_process_at_a_time(tmp_path, log):
    with alone_in(tmp_path / LEFT), pytest.raises(InputError, match="another process is at work"):
        prepare(log, tmp_path / "set")
    assert prepare(log, tmp_path / "set").n_events == LOG.n_events
