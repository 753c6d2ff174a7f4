"""A trained run that goes on with a day's events: measured on them first, then trained on them."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from hydrarec import processes
from hydrarec.config import override
from hydrarec.data.prefix import training_events
from hydrarec.data.store import Dataset
from hydrarec.errors import HydrarecError, InputError
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.files import whole_file, whole_folder
from hydrarec.items.text.items import TextItems
from hydrarec.machine import keep_freed_memory, peak_memory_bytes, usable_device
from hydrarec.models.neural import NeuralModel
from hydrarec.models.registry import model_classes
from hydrarec.progress import Progress, counter
from hydrarec.sharing import alone_in
from hydrarec.train.admit import admit
from hydrarec.train.grown_data import with_new_events
from hydrarec.train.log import Log
from hydrarec.train.loop import Fit
from hydrarec.train.neural import refuse_mapped
from hydrarec.train.objective import loss_of
from hydrarec.train.run import Run, describe_dataset, finish_run, open_run, write_config
from hydrarec.train.settings import Settings, section_classes
from hydrarec.train.windows import training_windows

# What of [train] is otherwise than in the run. A day is learned once, so all of it, whatever its domain.
_ONE_DAY = {"epochs": 1, "schedule": "constant", "warmup": 0.0, "domain_power": 1.0}
_LEFT = ("checkpoints", "dataset")


@dataclass(frozen=True, kw_only=True)
class Day:
    """What came of a day.

    Attributes:
        events, users: how many there were, and of how many users.
        items: rows of the vocabulary afterwards.
        new: ids that got a row: one of those ``evicted`` or, of the rest, a fresh one.
        evicted: ids that lost theirs.
        age: days since the items' last events, ``median`` and ``max``.
        metrics: of the events, before they were learned; empty where none could be asked for.
        seconds: in all; ``train_seconds``: of them, training.
    """

    events: int
    users: int
    items: int
    new: int
    evicted: int
    age: dict[str, float]
    metrics: dict[str, float]
    seconds: float
    train_seconds: float
    peak_memory_bytes: int


def continue_run(
    path: Path,
    source: Any,
    *,
    keep_days: float = 30.0,
    overrides: Sequence[str] = (),
    columns: Mapping[str, Any] | None = None,
    dataset: Path | None = None,
    progress: Progress,
    device: str = "cpu",
) -> tuple[Run, Day]:
    """Let the run in ``path`` go on with new events; the folder changes whole or not at all.

    New ids get the rows of items that had no event for ``keep_days``, the longest unused first, then fresh ones. An id
    keeps its row until then. The run is measured on the new events, trained on them with the events before them as
    history, and has a data set of its own afterwards, ``dataset``, whose files are links to those it had. Several
    processes do it together where all see the folder; the first one puts the data together.

    Args:
        source: events, which are added to what the run was trained on; or its data set, to which they were added.
        overrides: ``train.key=value``; without any, one epoch at the run's learning rate.
        columns: keywords of ``prepare``.
        dataset: where what the run was trained on lies now, if it moved.

    Raises:
        InputError: the run cannot be continued, or the events do not go with its own.
    """
    began = time.monotonic()
    if not keep_days >= 0:
        raise InputError(f"--keep-days is {keep_days}; it must not be negative")
    place = usable_device(device)
    refuse_mapped(_settings(open_run(path), overrides), place)  # what cannot go on gets no lock and no copy
    with _next(path) as folder:
        run = replace(open_run(folder), path=path)
        settings = _settings(run, overrides)
        before = run.open_events(dataset)
        whole = _whole(path, before, source, folder, dict(columns or {}))
        model = replace(run, path=folder).model()
        assert isinstance(model, NeuralModel)
        processes.total(torch.zeros(1))  # all have read the folder, which is gone when one of them fails
        torch.manual_seed(settings.train.seed + run.dataset.get("days", 0) + 1)  # each day's new items are others
        data, fresh, admitted, age = admit(run, model, before, whole, keep_days, progress)
        ends, since = np.asarray(data.offsets)[1:], _first_new(data, fresh)
        model.to(place)
        metrics = _measure(model, data, since, fresh, run, progress, place)
        trained = _train(model, data, ends - since, settings, progress)
        day = Day(
            events=int(fresh.sum()),
            users=int((since < ends).sum()),
            items=data.n_items,
            new=len(admitted.reused) + admitted.grown,
            evicted=len(admitted.evicted),
            age=age,
            metrics=metrics,
            seconds=time.monotonic() - began,
            train_seconds=trained,
            peak_memory_bytes=peak_memory_bytes(),
        )
        _write(folder, run, model, data, whole, day)
    return open_run(path), day


@contextmanager
def _next(path: Path) -> Iterator[Path]:
    """A copy of the run's folder, which takes its place. The first process makes it, and all have it at a time.

    Raises:
        InputError: another process does not see it.
    """
    if processes.is_first():
        with alone_in(path, wait=True), whole_folder(path, overwrite=True) as folder:
            shutil.copytree(path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_LEFT, ".*"))
            processes.from_first(str(folder.resolve()))
            with _called(folder, path):
                yield folder
    else:
        folder = Path(processes.from_first(""))
        if not folder.is_dir():
            raise InputError(
                f"process {processes.rank()} does not see {folder}; the run must lie where all hosts see it"
            )
        with _called(folder, path):
            yield folder
    processes.total(torch.zeros(1))  # nobody looks at the folder before it is in its place


@contextmanager
def _called(folder: Path, path: Path) -> Iterator[None]:
    """Let errors name the run in ``path`` where they name its copy, which is gone when they are read."""
    try:
        yield
    except HydrarecError as error:
        raise type(error)(str(error).replace(str(folder), str(path))) from error


def _whole(path: Path, before: Dataset, source: Any, folder: Path, columns: dict[str, Any]) -> Dataset:
    """The data set with the new events, which the first process puts together."""
    if processes.is_first():
        whole = with_new_events(path, before, source, folder, columns)
        processes.from_first(str(whole.path.resolve()) if whole.path else None)
        return whole
    return Dataset.open(processes.from_first(None))


def _settings(run: Run, overrides: Sequence[str]) -> Settings:
    """How a day is trained.

    Raises:
        InputError: the run is not one that can be continued, or an override is not of training.
    """
    if not issubclass(model_classes(run.settings.name)[1], NeuralModel):
        raise InputError(
            f"{run.path} holds {run.settings.name}, which is fitted by counting events and cannot go on from what it "
            "has; train it again on all events"
        )
    if run.settings.items.storage == "mapped" and processes.world() > 1:
        raise InputError(f"{run.path} has its table in a file that one process writes; leave out torchrun and --procs")
    sections: dict[str, Any] = run.settings.to_dict()
    windows = "all" if run.settings.train.windows == "carried" else run.settings.train.windows
    sections["train"] |= {**_ONE_DAY, "windows": windows}
    chosen = override(sections, overrides, section_classes(run.settings.name))
    settings = Settings.from_dict(chosen, "settings")
    if any(chosen[name] != sections[name] for name in sections if name not in ("train", "loss")):
        raise InputError("a run that goes on keeps its model and items; only settings of train and loss can be given")
    return settings


def _first_new(data: Dataset, fresh: np.ndarray) -> np.ndarray:
    """(U,) int64, where the first event of each user is that is ``fresh`` (E,); the end of those without."""
    offsets = np.asarray(data.offsets)
    there = np.append(np.flatnonzero(fresh), len(fresh))
    first: np.ndarray = np.minimum(there[np.searchsorted(there, offsets[:-1])], offsets[1:])
    return first


def _measure(
    model: NeuralModel,
    data: Dataset,
    train_ends: np.ndarray,
    fresh: np.ndarray,
    run: Run,
    progress: Progress,
    device: str,
) -> dict[str, float]:
    """Metrics on the new events, each given all before it; targets as the run's protocol chooses them."""
    positions, offsets = np.flatnonzero(fresh), np.asarray(data.offsets)
    owner = np.searchsorted(offsets, positions, side="right") - 1
    if run.protocol.target == "every":
        chosen = np.ones(len(positions), bool)
    else:  # the first new event of each user, or the last
        chosen = (np.diff(owner, prepend=-1) if run.protocol.target == "next" else np.diff(owner, append=-1)) != 0
    positions = positions[chosen & (positions > offsets[owner])]
    if not len(positions) or not len(training_events(data, train_ends)[0]):
        return {}
    with progress.task("test", total=len(positions), unit="targets") as task:
        return evaluate(
            model.eval(),
            data,
            positions,
            protocol=run.protocol,
            train_ends=train_ends,
            max_len=run.settings.train.reads,
            confidence=False,
            lists=False,
            progress=counter(task),
            device=device,
        ).metrics


def _train(model: NeuralModel, data: Dataset, fresh: np.ndarray, settings: Settings, progress: Progress) -> float:
    """Train on windows that end in the last ``fresh`` (U,) events of each user; the seconds it took."""
    ends = np.asarray(data.offsets)[1:]
    keep_freed_memory()
    counts = np.bincount(data.items, minlength=data.n_items)
    known = torch.from_numpy(counts > 0)
    device = next(model.parameters()).device
    try:
        total = training_windows(data, ends, settings.train, fresh).events * settings.train.epochs
    except InputError:  # every user is new, and has one event
        return 0.0
    if isinstance(model.items, TextItems) and model.items.table is not None:
        model.items.known.copy_(known)
    training = Fit(model, settings.train, loss_of(settings, data, counts, device))
    with progress.task("train", total=round(total), unit="events") as task:
        training.report = task.advance
        seconds = training.run(data, ends, fresh).seconds
    if model.items.fallback is not None:
        model.items.fallback.known.copy_(known)
    return seconds


def _write(folder: Path, run: Run, model: NeuralModel, data: Dataset, whole: Dataset, day: Day) -> None:
    """Bring what lies in the new folder up to the day."""
    days = run.dataset.get("days", 0) + 1
    entry = asdict(day)
    if processes.is_first():
        with whole_file(folder / "items.parquet") as temporary:
            pq.write_table(data.item_table, temporary)
        write_config(folder, run.settings, {**describe_dataset(folder, whole), "days": days}, data.item_table)
        Log(folder / "log.jsonl").write({"day": days, **entry})
    counts = {"parameters": model.parameter_counts(), "item_bytes": model.items.stored_bytes}
    finish_run(replace(run, path=folder), model, {**run.metrics, **counts, "day": entry})
