"""Checkpoints: all that training needs to go on as if it had never stopped.

A checkpoint is a folder ``checkpoints/step-NNNNNNNN-epoch-NNNNN`` that appears whole, by a rename. No two have the
same name, so that none has to make room for another. The last two are kept: where the newest cannot be read, training
goes on from the one before. The older of two is dropped before a third is written, so that there are never three.

One holds tensors (``tensors.safetensors``: model, optimiser, random state, best weights so far, the states that windows
begin from) and plain values (``position.json``). The rows of a sharded table are in files that each process writes
(``items.shards``). Of a table of items that lies on disk it holds a copy, ``table``; beside it lies that of the best
weights, ``best-epoch-NNNNN``.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hydrarec import processes
from hydrarec.errors import InputError, first_line
from hydrarec.files import read_json, whole_folder, write_json
from hydrarec.items.mapped import MappedTable
from hydrarec.items.shards import SHARD, load_shards, save_shard
from hydrarec.nn.state import EncoderState
from hydrarec.progress import say


@dataclass(kw_only=True)
class Position:
    """Where training stands.

    Attributes:
        epoch: the epoch in progress, from 0.
        batch: batches of it that are done.
        step: optimiser steps since the beginning.
        seconds, cpu_seconds: training time so far, all runs together, on the clock and of the process.
        validating: seconds of these that validation took.
        events: events of all batches so far.
        tokens_forward, tokens_backward: tokens that a language model has read so far, without padding.
        best: best validation NDCG@10 so far, -1 before the first.
        best_epoch, best_seconds, best_cpu_seconds, best_events: where training stood when it was found.
        stale: validations since.
        loss_sum: sum of the losses of this epoch's batches.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    validating: float = 0.0
    events: int = 0
    tokens_forward: int = 0
    tokens_backward: int = 0
    best: float = -1.0
    best_epoch: int = 0
    best_seconds: float = 0.0
    best_cpu_seconds: float = 0.0
    best_events: int = 0
    stale: int = 0
    loss_sum: float = 0.0


def best_table(folder: Path, position: Position) -> Path:
    """Where the table of the best weights lies, of a model whose table of items lies on disk."""
    return folder / f"best-epoch-{position.best_epoch:05d}"


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    position: Position,
    memory: EncoderState | None = None,
) -> None:
    """Drop all but the newest checkpoint, what a crash left half written too, and write another beside it.

    The first process writes; with a sharded table all processes call this together.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    tensors |= {f"memory.{name}": value for name, value in (memory.tensors() if memory is not None else {}).items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in state.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    # The last batch of an epoch and the end of that epoch are the same step.
    place = folder / f"step-{position.step:08d}-epoch-{position.epoch:05d}"
    shard = {name: value for name, value in tensors.items() if SHARD in name}
    if not processes.is_first():
        save_shard(Path(processes.from_first("")), shard)
        return
    _drop_all_but_newest(folder, position)
    with whole_folder(place, overwrite=True) as temporary:
        shared = {name: _alone(value) for name, value in tensors.items() if name not in shard}
        save_file(shared, temporary / "tensors.safetensors")
        for table in _on_disk(model):
            table.snapshot(temporary / "table")
        write_json(temporary / "position.json", asdict(position))
        if shard:
            processes.from_first(str(temporary.resolve()))
            save_shard(temporary, shard)


def _drop_all_but_newest(folder: Path, position: Position) -> None:
    """``position``: of the checkpoint to be written; the table of its best weights lies there already."""
    kept = {best_table(folder, position)}
    for newest in _all(folder)[-1:]:
        with suppress(InputError, TypeError):  # damaged
            kept |= {newest, best_table(folder, _position(newest))}
    for old in folder.iterdir() if folder.exists() else ():
        if old not in kept:
            shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[Position, dict[str, Tensor], EncoderState | None] | None:
    """Restore the newest checkpoint into ``model``, ``optimiser`` and the random state; None if there is none.

    One that cannot be read is dropped, with a warning, where the one before can. Of several processes the first one
    reads it and the others get it from there, however many saved it.

    Returns:
        The position, the best weights so far, and the states that windows begin from.

    Raises:
        InputError: every checkpoint is damaged, or of another model.
    """
    damaged: dict[Path, InputError] = {}
    places = [str(place) for place in reversed(_all(folder))] if processes.is_first() else []
    for place in map(Path, processes.from_first(places)):
        try:
            found = _load(place, model, optimiser)
        except InputError as error:
            damaged[place] = error
            continue
        if processes.is_first():
            for each, why in damaged.items():
                say(f"warning: {why}; training goes on from the one before, {place.name}")
                shutil.rmtree(each, ignore_errors=True)
        return found
    for why in damaged.values():
        raise InputError(f"{why}; train with --resume never to begin again")
    return None


def _load(
    place: Path, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[Position, dict[str, Tensor], EncoderState | None]:
    """Restore the checkpoint in ``place``.

    Raises:
        InputError: a process cannot; all raise it.
    """
    position, tensors, shard = Position(), dict[str, Tensor](), dict[str, Tensor]()
    with _all_or_none(place):
        if processes.is_first():
            position, tensors = _position(place), load_file(place / "tensors.safetensors")
        if any(SHARD in name for name in model.state_dict()):
            items: Any = model.get_submodule("items")
            shard = load_shards(place, items.n_items, processes.rank(), processes.world())
    position = Position(**processes.from_first(asdict(position)))
    tensors = processes.tensors_from_first(tensors) | shard
    with _all_or_none(place):
        for table in _on_disk(model):
            table.restore(place / "table")
        model.load_state_dict(_part(tensors, "model."))
        saved = optimiser.state_dict()
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimiser.").items():
            index, key = name.split(".", 1)
            states.setdefault(int(index), {})[key] = value
        optimiser.load_state_dict({"state": states, "param_groups": saved["param_groups"]})
        state = {name: value.to(_device(model)) for name, value in _part(tensors, "memory.").items()}
        memory = EncoderState(**state) if state else None
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
    return position, _part(tensors, "best."), memory


@contextmanager
def _all_or_none(place: Path) -> Iterator[None]:
    """Raise an ``InputError`` in every process where within any cannot read or take what is in ``place``."""
    reason = ""
    try:
        yield
    except (InputError, SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = first_line(error)
    for each in processes.gather_facts(reason):
        if each:
            raise InputError(f"checkpoint {place} is damaged or of another model ({each})")


def _position(place: Path) -> Position:
    return Position(**read_json(place / "position.json", remedy="every checkpoint has one"))


def _on_disk(model: nn.Module) -> list[MappedTable]:
    return [module for module in model.modules() if isinstance(module, MappedTable)]


def _alone(value: Tensor) -> Tensor:
    """``value`` as its file wants it, contiguous with memory of its own; large tables are so, and are not copied."""
    own = value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes
    return value if own else value.contiguous().clone()


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
