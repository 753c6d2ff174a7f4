"""Several processes of the command line that train together, for tests; see ``several.py``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from hydrarec.train.run import open_run

SMALL = [
    "train.epochs=2",
    "train.batch_events=70",
    "train.max_len=6",
    "train.patience=0",
]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HYDRAREC_TIMEOUT": "200"}


def train(data, out, changes=(), model="hydra"):
    layers = ["model.d_model=8", "model.dropout=0"] + ["model.n_heads=2", "model.d_state=4"] * (model == "hydra")
    words = [word for setting in [*SMALL, *layers, *changes] for word in ("--set", setting)]
    return ["train", str(data), "--out", str(out), "--model", model, "--json", *words]


def several(jobs, timeout=500):
    """[(exit code, standard output, standard error) of each process] of each job."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "several.py")],
        input=json.dumps(jobs),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def weights(run):
    return open_run(run).model().tensors()


def close(one, other, most=1e-5):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value.float(), other[name].float(), rtol=0, atol=most), name
