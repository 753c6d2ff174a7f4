"""Whether a folder holds the run that is asked for, so that it can go on, or nothing yet."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydrarec import processes
from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.train.run import Run, begin_run, describe_dataset, open_run
from hydrarec.train.settings import Settings

Sections = Mapping[str, Mapping[str, Any]]


def refuse_other_folder(out: Path, start: str | Path = "") -> None:
    """Raise an ``InputError`` where ``out`` is a file, what no run has written, or the run to ``start`` from."""
    if start and out.resolve() == Path(start).resolve():
        raise InputError(f"{out} is the run to start from, and would be replaced; choose another --out")
    if (out / "config.json").exists() or not out.exists():
        return
    if not out.is_dir() or any(not _of_a_beginning(path.name) for path in out.iterdir()):
        raise InputError(f"{out} exists and is not a run folder; choose another --out")


def _of_a_beginning(name: str) -> bool:
    """Whether a file may have been left by a run that was killed before it had begun."""
    return name in ("dataset", "items.parquet", "protocol.json", "table") or name.startswith(".")


def begin(out: Path, settings: Settings, protocol: Protocol, dataset: Dataset, *, anew: bool) -> Run:
    """The run folder to work in, or, in all processes but the first, what it says.

    Args:
        anew: leave nothing of a run that is there.

    Raises:
        InputError: ``out`` holds another run, and is not to begin ``anew``.
    """
    run = _folder(out, settings, protocol, dataset, anew) if processes.is_first() else None
    metrics = processes.from_first(run.metrics if run else None)
    described = describe_dataset(out, dataset)
    return run or Run(path=out, settings=settings, protocol=protocol, dataset=described, metrics=metrics)


def _folder(out: Path, settings: Settings, protocol: Protocol, dataset: Dataset, anew: bool) -> Run:
    """The run folder to work in: a new one, or one that can go on."""
    if not (out / "config.json").exists():
        return begin_run(out, settings, protocol, dataset)
    made = ("checkpoints", "log.jsonl", "metrics.json", "model.safetensors", "ranks.safetensors", "table")
    if anew or not any((out / name).exists() for name in made):  # refused before it began to train, perhaps
        for name in made:
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return begin_run(out, settings, protocol, dataset)
    run = open_run(out)
    if other := differs(run, settings, protocol, dataset):
        raise InputError(f"{out} holds another run ({other}); take another --out, or --resume never to replace it")
    return run


def differs(run: Run, settings: Settings, protocol: Protocol, dataset: Dataset) -> str | None:
    """What makes ``run`` another run than this, or None."""
    if run.dataset["fingerprint"] != dataset.fingerprint:
        return "trained on other data"
    before = {**run.settings.to_dict(), "protocol": run.protocol.to_dict()}
    return difference(before, {**settings.to_dict(), "protocol": protocol.to_dict()})


def difference(before: Sections, now: Sections) -> str | None:
    """The first key of the same sections whose value is another one, with both values; None without any."""
    for section, values in now.items():
        for key in sorted({*before[section], *values}, key=lambda key: (key != "name", key)):
            old, new = before[section].get(key), values.get(key)
            if old != new:
                return f"{section}.{key} was {old}, now {new}"
    return None
