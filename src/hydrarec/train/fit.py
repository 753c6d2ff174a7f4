"""From whatever a caller names to a finished run: settings, data set, protocol, training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydrarec import processes
from hydrarec.data.folder import is_dataset
from hydrarec.data.obtain import obtain
from hydrarec.data.protocol import Protocol, SplitName
from hydrarec.data.split import leakage_warning
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.machine import usable_device
from hydrarec.models.neural import NeuralModel
from hydrarec.models.registry import model_classes
from hydrarec.progress import Progress
from hydrarec.train.resume import refuse_other_folder
from hydrarec.train.run import Run
from hydrarec.train.settings import Settings, choose_protocol, resolve
from hydrarec.train.train import Resume, train


def fit(
    source: Any,
    out: Path,
    *,
    model: str | None = None,
    recipe: Path | None = None,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    protocol: SplitName | None = None,
    protocol_fields: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    resume: Resume = "auto",
    progress: Progress,
    log: Callable[[str], None] | None = None,
    device: str = "cpu",
) -> Run:
    """Train and measure a model on a frame, a file of events, or a data set.

    Everything that can be refused without reading the events is refused first. Several processes (``processes.joined``)
    train one model on a data set that all can open; the first one alone reads and writes ``out``.

    Args:
        overrides: ``section.key=value``, over the recipe.
        protocol: None takes the recipe's or the data set's own, ``time`` for new data.
        protocol_fields: fields that differ from those that the name stands for.
        columns: keywords of ``prepare``.
        log: told what was chosen and found, a line at a time.

    Raises:
        InputError: bad input, or ``out`` holds another run.
    """
    say = log or (lambda line: None)
    settings, from_recipe = resolve(model=model, recipe=recipe, overrides=overrides, seed=seed)
    fields = {**from_recipe, **(protocol_fields or {})}
    fresh = choose_protocol(Protocol.named("time"), protocol, fields)
    neural = issubclass(model_classes(settings.name)[1], NeuralModel)
    place = usable_device(device) if neural else "cpu"
    _refuse_in_parallel(source, settings, neural)
    if processes.is_first():
        refuse_other_folder(out, settings.start.run)
    dataset = obtain(source, out, protocol=fresh, log=log, **(columns or {}))
    chosen = choose_protocol(dataset.protocol, protocol, fields)
    if (warning := leakage_warning(chosen)) is not None:
        say(f"warning: {warning}")
    finished = resume == "auto" and (out / "metrics.json").exists()
    run = train(dataset, out, settings, chosen, resume=resume, progress=progress, device=place)
    if finished:
        say(f"{out} was finished before; these are its results")
    return run


def _refuse_in_parallel(source: Any, settings: Settings, neural: bool) -> None:
    """Raise an ``InputError`` where several processes cannot do what one can."""
    if processes.world() == 1:
        return
    if not neural:
        raise InputError(f"{settings.name} is counted by one process; leave out torchrun or --procs")
    if not isinstance(source, Dataset) and not (isinstance(source, str | Path) and is_dataset(source)):
        raise InputError(
            f"several processes train on a prepared data set, and {source} is none that this one can open; run "
            "`hydrarec prepare` first, and give every host the data set"
        )
    if settings.items.storage == "mapped":
        raise InputError("items.storage=mapped is a file that one process writes; take rows, half, int8 or sharded")
    if settings.items.kind != "table" and settings.items.tuning.mode != "frozen":
        raise InputError("a language model learns in one process alone; take items.tuning.mode=frozen")
