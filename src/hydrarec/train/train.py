"""From a data set and settings to a finished run folder."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.numpy import save_file

from hydrarec import processes
from hydrarec.data.protocol import Protocol
from hydrarec.data.split import Split, split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.evaluate.evaluate import Evaluation, evaluate
from hydrarec.evaluate.metrics import SELECTION_METRIC
from hydrarec.files import whole_file
from hydrarec.machine import machine, peak_memory_bytes
from hydrarec.models.contract import CountModel, Model
from hydrarec.models.neural import NeuralModel
from hydrarec.models.registry import model_classes
from hydrarec.progress import Progress, counter
from hydrarec.sharing import alone_in
from hydrarec.train.checkpoint import Position
from hydrarec.train.costs import costs
from hydrarec.train.neural import fit_neural, selecting_protocol
from hydrarec.train.resume import begin, refuse_other_folder
from hydrarec.train.run import Run, finish_run
from hydrarec.train.settings import Settings

Resume = Literal["auto", "never"]


def train(
    dataset: Dataset,
    out: Path,
    settings: Settings,
    protocol: Protocol,
    *,
    resume: Resume = "auto",
    progress: Progress,
    device: str = "cpu",
    test: bool = True,
) -> Run:
    """Train a model under a protocol, measure it on the test split, and write the run folder ``out``.

    Args:
        test: False leaves the test split alone, as a trial of settings must; a later call with True measures the
            finished run there.
        resume: ``auto`` goes on with an unfinished run of the same settings and data, and gives back a finished one;
            ``never`` begins again.

    Of several processes the first one alone reads and writes ``out``.

    Raises:
        InputError: ``out`` holds another run or another process trains there, or the data does not fit the protocol.
    """
    facts = {"protocol": protocol.to_dict(), "data set": dataset.fingerprint, "test": test}
    processes.require_same({"settings": settings.to_dict(), **facts})
    if not processes.is_first():
        return _train(dataset, out, settings, protocol, resume, progress, device, test)
    refuse_other_folder(out, settings.start.run)
    with alone_in(out):
        return _train(dataset, out, settings, protocol, resume, progress, device, test)


def _train(
    dataset: Dataset,
    out: Path,
    settings: Settings,
    protocol: Protocol,
    resume: Resume,
    progress: Progress,
    device: str,
    test: bool,
) -> Run:
    if getattr(settings.model, "time", False) and not dataset.has_times:
        raise InputError(
            f"model {settings.name} reads when events happen (model.time) and the data set has no times; "
            "bring times, or --set model.time=false"
        )
    parts = split(dataset, protocol)
    run = begin(out, settings, protocol, dataset, anew=resume == "never")
    if run.finished and ("test" in run.metrics or not test):
        return run
    torch.manual_seed(settings.train.seed)
    measure = partial(_measure, dataset=dataset, parts=parts, protocol=protocol, settings=settings, device=device)
    _, kind = model_classes(settings.name)
    model: Model
    if run.finished:  # trained before, without a look at the test split
        model, facts = run.model(), run.metrics
        model = model.to(device) if isinstance(model, NeuralModel) else model
    elif issubclass(kind, NeuralModel):
        model, facts = fit_neural(kind, dataset, parts, run, progress, measure, device)
    else:
        assert issubclass(kind, CountModel), kind
        model, facts = _fit_counts(kind, dataset, parts, run, measure)
    results = {**facts, **_results(run, model)}
    if test:
        with progress.task("test", total=len(parts.test), unit="targets") as task:
            measured = measure(model, part="test", confidence=True, progress=counter(task))
        if processes.is_first():
            _write_ranks(run, measured)
        results["test"] = measured.to_dict()
    results["peak_memory_bytes"] = max(peak_memory_bytes(), facts.get("peak_memory_bytes", 0))
    return finish_run(run, model, results)


def _fit_counts(
    kind: type[CountModel], dataset: Dataset, parts: Split, run: Run, measure: Callable[..., Evaluation]
) -> tuple[CountModel, dict[str, Any]]:
    began, began_cpu = time.monotonic(), time.process_time()
    model = kind.fit(run.settings.model, dataset, parts)
    took = Position(
        seconds=time.monotonic() - began,
        cpu_seconds=time.process_time() - began_cpu,
        events=int((parts.train_ends - np.asarray(dataset.offsets)[:-1]).sum()),
    )
    facts = {"epochs": 1, **costs(took), "parameters": parameters(model)}
    if len(parts.valid):
        metrics = measure(model, part="valid", protocol=selecting_protocol(run.protocol)).metrics
        facts["validation"] = {SELECTION_METRIC: metrics[SELECTION_METRIC]}
    return model, facts


def parameters(model: Model) -> dict[str, int]:
    """Numbers learned: in the item table, and in everything else."""
    if isinstance(model, NeuralModel):
        return model.parameter_counts()
    return {"items": sum(t.numel() for t in model.tensors().values()), "encoder": 0}


def _measure(
    model: Model,
    *,
    part: str,
    dataset: Dataset,
    parts: Split,
    protocol: Protocol,
    settings: Settings,
    device: str,
    confidence: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    return evaluate(
        model,
        dataset,
        getattr(parts, part),
        protocol=protocol,
        train_ends=parts.train_ends,
        max_len=settings.train.reads,
        confidence=confidence,
        lists=confidence,
        progress=progress,
        seed=settings.train.seed,
        device=device,
    )


def _write_ranks(run: Run, measured: Evaluation) -> None:
    """``ranks.safetensors``: ``greater`` and ``ties`` (Q,) of the test targets, in order; see ``evaluate.Ranks``."""
    with whole_file(run.path / "ranks.safetensors") as temporary:
        save_file({"greater": measured.greater, "ties": measured.ties}, temporary)


def _results(run: Run, model: Model) -> dict[str, Any]:
    return {
        "protocol": run.protocol.to_dict(),
        "fingerprint": run.dataset["fingerprint"],
        "seed": run.settings.train.seed,
        "sees_request_time": model.sees_request_time,
        "machine": machine(),
    }
