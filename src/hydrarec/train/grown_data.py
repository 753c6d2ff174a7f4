"""The data set of a run that goes on: what it was trained on, and the events of a new day."""

import os
import shutil
from pathlib import Path
from typing import Any

from hydrarec.data.append import append
from hydrarec.data.folder import is_dataset
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError


def with_new_events(path: Path, before: Dataset, source: Any, folder: Path, columns: dict[str, Any]) -> Dataset:
    """The data set with the new events: ``source`` itself, or one in the new folder of the run."""
    place = folder / "dataset"
    if isinstance(source, str | Path) and is_dataset(source):
        if columns:
            raise InputError(f"the data set is prepared already; {sorted(columns)[0]} cannot be chosen any more")
        whole = Dataset.open(source)
        if before.fingerprint not in whole.lineage:
            raise InputError(f"{source} has no events that were added (prepare --append) to those of the run")
        if not Path(source).resolve().is_relative_to(path.resolve()):
            return whole
        _copy(Path(source), place)
        return Dataset.open(place)
    if before.path is None:
        raise InputError("the run was trained on data in memory; train it on a data set folder")
    _copy(before.path, place)
    for unseen in sorted(place.glob("days/[0-9]*"))[len(before.lineage) :]:  # that others have added since
        shutil.rmtree(unseen)
    return append(source, place, **columns)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_link, ignore=shutil.ignore_patterns(".*"))


def _link(source: str, target: str) -> None:
    """Files of a data set are never written again: a link is as good as a copy where the disk is the same."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
