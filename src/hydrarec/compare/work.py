"""One run in a process of its own: ``python -m hydrarec.compare.work``, its order a JSON line on standard input.

Standard input stays open as long as whoever gave the order lives; when it closes, the process ends.
"""

import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

from hydrarec.compare.record import record
from hydrarec.compare.version import code_version
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
    commit = code_version()  # before anybody changes the files that this process has read
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
    write_json(Path(order["file"]), record(run, dataset, {**order["about"], "commit": commit}, order["part"]))
    shutil.rmtree(run.checkpoints, ignore_errors=True)


def _goes_on(folder: Path, settings: Settings, protocol: Protocol, dataset: Dataset) -> bool:
    """Whether the folder holds this very run; one that cannot be read holds another."""
    try:
        return differs(open_run(folder), settings, protocol, dataset) is None
    except InputError:
        return False


def _end_with_the_giver() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> int:
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_giver, daemon=True).start()
    try:
        work(order)
    except HydrarecError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
