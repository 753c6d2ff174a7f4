"""The training of a neural model on a data set: what the loop needs is put together here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hydrarec.data.domains import domains_of
from hydrarec.data.prefix import training_events
from hydrarec.data.protocol import Protocol
from hydrarec.data.split import Split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.evaluate.evaluate import Evaluation
from hydrarec.evaluate.groups import of_domains
from hydrarec.evaluate.metrics import SELECTION_K, SELECTION_METRIC
from hydrarec.items.make import new_items
from hydrarec.machine import keep_freed_memory
from hydrarec.models.neural import NeuralModel
from hydrarec.progress import Progress
from hydrarec.train.checkpoint import Position
from hydrarec.train.costs import costs
from hydrarec.train.flops import Work, flops
from hydrarec.train.log import Log
from hydrarec.train.loop import Fit
from hydrarec.train.objective import contrasted, loss_of
from hydrarec.train.run import Run, open_run
from hydrarec.train.settings import Settings
from hydrarec.train.start import Shared, StartConfig, freeze, hash_of_weights, take_over
from hydrarec.train.windows import training_windows


def fit_neural(
    kind: type[NeuralModel],
    dataset: Dataset,
    parts: Split,
    run: Run,
    progress: Progress,
    measure: Callable[..., Evaluation],
    device: str,
) -> tuple[NeuralModel, dict[str, Any]]:
    """Train as ``run`` says, from where its checkpoints stand.

    Returns:
        The model, and what is to be told of the training.
    """
    keep_freed_memory()
    settings = run.settings
    refuse_mapped(settings, device)
    config, start = settings.train, settings.start
    counts = np.bincount(training_events(dataset, parts.train_ends)[0], minlength=dataset.n_items)
    items, tuning = new_items(settings.items, dataset, settings.model.d_model, counts, progress, run.table)
    model = kind.for_data(settings.model, dataset, items)
    if start.run:
        _start_from(start, model, dataset)
    model.to(device)
    position = Position()
    if tuning:
        tuning.backbone.to(device)
        if start.run:  # what was learned there reads the texts here
            tuning.refresh()
            position.tokens_forward, _ = tuning.take_counts()
    total = round(training_windows(dataset, parts.train_ends, config).events * config.epochs)
    selecting = selecting_protocol(run.protocol)

    def validate(model: NeuralModel) -> dict[str, Any]:
        measured = measure(model, part="valid", protocol=selecting)
        domains = of_domains(measured.groups)
        return {**measured.metrics, **({"domains": domains} if domains else {})}

    work = Work.of(model, dataset, counts, contrasted(settings, dataset, counts), tuning, settings.loss)
    if start.mode == "zero-shot":
        model.eval()
        facts = _facts(position, model, work)
        if len(parts.valid):
            facts["validation"] = {SELECTION_METRIC: validate(model)[SELECTION_METRIC]}
        return model, facts
    fit = Fit(
        model,
        config,
        loss_of(settings, dataset, counts, device),
        validate=validate if len(parts.valid) else None,
        checkpoints=run.checkpoints,
        log=Log(run.path / "log.jsonl"),
        tuning=tuning if tuning and tuning.learns else None,
        position=position,
    )
    done = min(total, total * fit.position.epoch // config.epochs + fit.position.batch * config.batch_events)
    with progress.task("train", total=total, done=done, unit="events") as task:
        fit.report = task.advance
        position = fit.run(dataset, parts.train_ends)
        if position.epoch < config.epochs:
            task.advance(0, f"stopped: nothing better since epoch {position.best_epoch}")
    facts = _facts(position, model, work)
    if fit.best:
        facts["validation"] = {SELECTION_METRIC: position.best}
    return model, facts


def refuse_mapped(settings: Settings, device: str) -> None:
    """Raise an ``InputError`` where the table of items lies in a file and ``device`` would learn on a copy of it."""
    if settings.items.storage == "mapped" and device != "cpu":
        raise InputError(f"items.storage=mapped works on the CPU's memory, not on {device}; take half or int8 there")


def _facts(position: Position, model: NeuralModel, work: Work) -> dict[str, Any]:
    return {
        "epochs": position.epoch,
        "best_epoch": position.best_epoch or position.epoch,
        **costs(position),
        "parameters": model.parameter_counts(),
        "item_bytes": model.items.stored_bytes,
        "cost": flops(work, position, model),
    }


def selecting_protocol(protocol: Protocol) -> Protocol:
    """What validates: the metric that chooses the weights is there, whatever else the protocol asks for."""
    return replace(protocol, cutoffs=tuple(sorted({*protocol.cutoffs, SELECTION_K})))


def _start_from(start: StartConfig, model: NeuralModel, dataset: Dataset) -> None:
    """Give ``model`` the weights of a trained run, and leave learning what is to."""
    path = Path(start.run)
    run = open_run(path)
    if hash_of_weights(path) != start.weights:
        raise InputError(f"{path} has changed since this training began; begin again with --resume never")
    trained = run.model()
    if not isinstance(trained, NeuralModel):
        raise InputError(
            f"{path} holds {trained.name}, which is fitted by counting events; name a trained neural model"
        )
    take_over(model, trained, _shared(dataset, run))
    freeze(model, start.mode)
    if start.mode != "zero-shot" and not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"with start.mode={start.mode} nothing would learn; --set items.adapter=16 adds adapters")


def _shared(dataset: Dataset, run: Run) -> Shared:
    """Items of the same id and text in both, and domains of the same name."""
    here, there = dataset.item_table, run.items()
    columns = [name for name in here.column_names if name in there.column_names and name != "events"]
    if here["item"].type != there["item"].type:
        columns = []
    keys = [list(zip(*(table[name].to_pylist() for name in columns), strict=True)) for table in (here, there)]
    place = {key: row for row, key in enumerate(keys[1])}
    rows = [(row, place[key]) for row, key in enumerate(keys[0]) if key in place]
    names = domains_of(here)[0], domains_of(there)[0]
    codes = [(code, names[1].index(name)) for code, name in enumerate(names[0]) if name in names[1]]
    return Shared(items=_pairs(rows), domains=_pairs(codes))


def _pairs(found: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
