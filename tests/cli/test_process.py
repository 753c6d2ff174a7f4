"""What only a process of its own can show: signals, a full disk, closed pipes."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from events import TINY_SET

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def start(*arguments, **options):
    command = [sys.executable, "-m", "hydrarec", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, **options
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    return process.returncode, out, err


def limit_files(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_interrupted_training_goes_on(place, tmp_path, ask):
    # An epoch takes milliseconds, and so does a checkpoint: it is in the midst of training at any moment.
    more = ("--set", "train.epochs=100000", "--set", "train.patience=0")
    arguments = ("train", place / "dataset", "--out", tmp_path / "run", *TINY_SET)
    process = start(*arguments, *more)
    while process.poll() is None and not list(tmp_path.glob("run/checkpoints/step-*-epoch-0*[1-9]")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("hydrarec: interrupted")
    assert not (tmp_path / "run" / "metrics.json").exists()

    # The same run, but for a smaller number of epochs, which its folder is made to believe.
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    newest = max(tmp_path.glob("run/checkpoints/step-*/position.json"))
    done = json.loads(newest.read_text())["epoch"]
    config["settings"]["train"]["epochs"] = done + 3
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    again = ("--set", f"train.epochs={done + 3}", "--set", "train.patience=0", "--resume", "auto")
    assert ask(*arguments, *again)["epochs"] == done + 3
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, done + 4))


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(place, tmp_path, call):
    more = ("--set", "train.batch_events=30", "--set", "train.clip=0", "--set", "train.checkpoint_seconds=0")
    done = call("train", place / "dataset", "--out", tmp_path / "run", *TINY_SET, *more, "--set", "train.lr=1e30")
    assert (done.code, done.out) == (1, "")
    assert "became nan at step" in done.err or "became inf at step" in done.err
    assert f"the last good checkpoint is kept in {tmp_path / 'run' / 'checkpoints'}; try a lower lr" in done.err
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_full_disk_leaves_no_data_set(place, tmp_path, size):
    process = start("prepare", place / "events.csv", "--out", tmp_path / "d", preexec_fn=limit_files(size))
    code, out, err = finish(process)
    assert (code, out) == (1, "")
    assert "hydrarec: cannot write" in err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_last_checkpoint(place, tmp_path, ask):
    process = start("train", place / "dataset", "--out", tmp_path / "run", *TINY_SET, preexec_fn=limit_files(5000))
    code, out, err = finish(process)
    assert (code, out) == (1, "")
    assert "hydrarec: cannot write" in err
    assert "nothing was changed" in err
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert ask("train", place / "dataset", "--out", tmp_path / "run", *TINY_SET)["epochs"] == 1


def test_a_full_disk_behind_standard_output(place):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "hydrarec", "info", str(place / "dataset"), "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("hydrarec: ")
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough(place):
    command = f"{sys.executable} -m hydrarec info {place / 'dataset'} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("dataset ")
