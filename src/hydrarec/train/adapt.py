"""A trained run adapted to other items: those of a new domain."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hydrarec.config import override
from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.files import write_json
from hydrarec.items.text.items import TextItems
from hydrarec.items.text.prompt import has_text, sentences
from hydrarec.items.text.reader import TextReader
from hydrarec.machine import usable_device
from hydrarec.models.neural import NeuralModel
from hydrarec.progress import Progress, counter
from hydrarec.train.run import Run, open_run
from hydrarec.train.settings import Settings, section_classes
from hydrarec.train.start import Mode, StartConfig, hash_of_weights
from hydrarec.train.train import Resume, train

_RANK = 16  # of the adapters that mode ``adapter`` adds where the run has none


def adapt(
    path: Path,
    dataset: Dataset,
    out: Path,
    *,
    mode: Mode,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    protocol: Protocol | None = None,
    resume: Resume = "auto",
    progress: Progress,
    device: str = "cpu",
    test: bool = True,
) -> Run:
    """Start from the run in ``path``, learn on ``dataset`` what ``mode`` says, and measure there.

    What the run had been trained on is measured again with the weights as they are afterwards, where its data set is
    still there: ``metrics.json`` has it as ``before``, with the ``change``.

    Args:
        mode: see ``StartConfig``.
        overrides: ``section.key=value``, or a bare key that one section alone has, over the run's settings.
        protocol: None: the data set's own.
        test: False measures on no test split, neither here nor where the run came from; see ``train``.

    Raises:
        InputError: the run is not finished or knows its items by id alone, ``out`` is it or holds
            another one, or ``device`` cannot be used.
    """
    device, run = usable_device(device), open_run(path)
    if not isinstance(run.model(), NeuralModel) or run.settings.items.kind == "table":
        raise InputError(
            f"{path} knows its items by id alone and cannot score items that it was not trained on; "
            "train with items.kind=text"
        )
    adapted = train(
        dataset,
        out,
        _settings(run, mode, overrides, seed),
        protocol or dataset.protocol,
        resume=resume,
        progress=progress,
        device=device,
        test=test,
    )
    if test and "before" not in adapted.metrics:
        again = _again(run, adapted, progress, device)
        write_json(adapted.path / "metrics.json", {**adapted.metrics, "before": again})
        adapted = open_run(adapted.path)
    return adapted


def _settings(run: Run, mode: Mode, overrides: Sequence[str], seed: int | None) -> Settings:
    sections: dict[str, Any] = run.settings.to_dict()
    items = run.settings.items
    if mode == "adapter" and not items.adapter:
        sections["items"] = asdict(replace(items, adapter=_RANK))
    settings = Settings.from_dict(override(sections, overrides, section_classes(run.settings.name)), "settings")
    if seed is not None:
        settings = replace(settings, train=replace(settings.train, seed=seed))
    start = StartConfig(run=str(run.path), weights=hash_of_weights(run.path), mode=mode)
    return replace(settings, start=start)


def _again(run: Run, adapted: Run, progress: Progress, device: str) -> dict[str, Any] | None:
    """The test metrics of ``run`` on its own data, as they were and with the weights of ``adapted``; None: no data."""
    try:
        dataset = run.open_dataset()
    except InputError:
        return None
    model, new = run.model(), adapted.model()
    assert isinstance(model, NeuralModel)
    assert isinstance(new, NeuralModel)
    known = run.metrics.get("test")  # a run may have been trained without
    before = known["metrics"] if known else _measure(run, model, dataset, progress, device)
    _bring_back(run, model, adapted, new, progress)
    after = _measure(run, model, dataset, progress, device)
    return {"fingerprint": dataset.fingerprint, "metrics": before, "after": after}


def _measure(run: Run, model: NeuralModel, dataset: Dataset, progress: Progress, device: str) -> dict[str, float]:
    """Metrics of ``model`` on the test split of what ``run`` was trained on."""
    parts = split(dataset, run.protocol)
    with progress.task("test before", total=len(parts.test), unit="targets") as task:
        return evaluate(
            model.to(device),
            dataset,
            parts.test,
            protocol=run.protocol,
            train_ends=parts.train_ends,
            max_len=run.settings.train.reads,
            progress=counter(task),
            device=device,
        ).metrics


@torch.no_grad()
def _bring_back(run: Run, model: NeuralModel, adapted: Run, new: NeuralModel, progress: Progress) -> None:
    """Give ``model`` what its own items share with those of ``new``: layers, the map of texts, the language model."""
    assert isinstance(model.items, TextItems)
    assert isinstance(new.items, TextItems)
    learned = dict(new.named_parameters())
    for name, parameter in model.named_parameters():
        if not name.startswith(("items.table", "items.adapters", "items.learned", "domains.")):
            parameter.copy_(learned[name])
    if new.items.learned:
        texts = sentences(run.items(), run.settings.items.text)
        there = has_text(texts)
        vectors = TextReader(adapted.settings.items, new.items).read(texts.filter(pa.array(there)), progress)
        model.items.vectors = model.items.with_vectors(torch.from_numpy(np.flatnonzero(there)), vectors)
    model.eval()
