"""One run, as the process of a comparison does it."""

import os
import shutil
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from hydrarec.compare.record import record
from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.errors import HydrarecError, InputError
from hydrarec.files import write_json
from hydrarec.progress import Silent
from hydrarec.train.resume import differs
from hydrarec.train.run import open_run
from hydrarec.train.settings import Settings
from hydrarec.train.train import train


def work(order: dict[str, Any]) -> None:
    """Train, measure, write the result file, and drop the checkpoints, which can be several times what is kept.

    A run folder of other settings is begun again: the result files are what is kept, and there is none for it.

    Args:
        order: ``dataset``, ``folder`` and ``file`` (paths), ``settings``, ``protocol``, ``part`` (what to measure on:
            ``test``, ``valid``, or None for a trial), and ``about``, to be written with the result.
    """
    dataset = Dataset.open(order["dataset"])
    settings, protocol = Settings.from_dict(order["settings"], "order"), Protocol.from_dict(order["protocol"])
    folder = Path(order["folder"])
    run = train(
        dataset,
        folder,
        settings,
        protocol,
        resume="auto" if _goes_on(folder, settings, protocol, dataset) else "never",
        progress=Silent(),
        test=order["part"] == "test",
    )
    write_json(Path(order["file"]), record(run, dataset, order["about"], order["part"]))
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _goes_on(folder: Path, settings: Settings, protocol: Protocol, dataset: Dataset) -> bool:
    """Whether the folder holds this very run; one that cannot be read holds another."""
    try:
        return differs(open_run(folder), settings, protocol, dataset) is None
    except InputError:
        return False


def work_apart(order: dict[str, Any], giver: Connection) -> None:
    """``work`` as all that a process does; what it says goes to a file, and the last line is why it failed.

    Args:
        order: besides that of ``work``, ``said`` (the file) and ``environment``.
        giver: stays open as long as whoever gave the order lives; when it closes, the process ends.

    Raises:
        SystemExit: with the code of the process.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C is for the giver, who ends this process
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.environ.clear()
    os.environ.update(order["environment"])
    torch.set_num_threads(int(order["environment"]["OMP_NUM_THREADS"]))
    threading.Thread(target=_end_with, args=(giver,), daemon=True).start()
    try:
        work(order)
    except HydrarecError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(2 if isinstance(error, InputError) else 1)


def _end_with(giver: Connection) -> None:
    giver.poll(None)  # nothing is ever sent
    os._exit(1)
