"""Where a training starts: from nothing, or from a trained run, of which a part goes on learning."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hydrarec.errors import InputError
from hydrarec.items.rows import RowEncoder
from hydrarec.items.text.items import TextItems
from hydrarec.models.neural import NeuralModel

Mode = Literal["zero-shot", "head", "adapter", "full"]


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Settings of the start.

    Attributes:
        run: the folder of a trained run whose weights are taken; empty: there is none.
        weights: hash of its weights, filled in: a run that has changed since is another start.
        mode: what learns: nothing (``zero-shot``), the sequence layers alone (``head``), the adapters of domains, their
            vectors and those in the language model (``adapter``), or everything (``full``).
    """

    run: str = ""
    weights: str = ""
    mode: Mode = "full"

    def __post_init__(self) -> None:
        if not self.run and self.mode != "full":
            raise InputError(f"start.mode={self.mode} needs a trained run to start from: start.run")


def hash_of_weights(run: Path) -> str:
    """The first 16 hexadecimal digits of SHA-256.

    Raises:
        InputError: the run has no weights.
    """
    file = run / "model.safetensors"
    if not file.exists():
        raise InputError(f"{run} is no finished run (no model.safetensors); train it first")
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What a model and the one it starts from both know: rows of items, codes of domains.

    Attributes:
        items: (n,) rows here and there.
        domains: (m,) codes here and there.
    """

    items: tuple[Tensor, Tensor]
    domains: tuple[Tensor, Tensor]


@torch.no_grad()
def take_over(model: NeuralModel, trained: NeuralModel, shared: Shared) -> None:
    """Give ``model`` of other items, and perhaps other domains, the weights of ``trained``.

    Everything is taken that does not belong to single items or domains, and what belongs to those that both know. Other
    items have nothing of the table until they have been trained, other domains start as none.

    Raises:
        InputError: one of the two knows its items by id alone, or they have other layers.
    """
    items, before = model.items, trained.items
    if not isinstance(items, TextItems) or not isinstance(before, TextItems):
        raise InputError(
            "a run that knows its items by id alone starts none on other items; train with items.kind=text"
        )
    if isinstance(items.table, RowEncoder) or isinstance(before.table, RowEncoder):
        raise InputError("a run starts from another with items.storage=full alone; train so, or with items.kind=text")
    own, theirs = dict(model.named_parameters()), dict(trained.named_parameters())
    missing = [name for name in own if name not in theirs and not name.startswith(("items.", "domains."))]
    if missing:
        raise InputError(f"the run to start from has other layers: it lacks {missing[0]}; take its settings")
    by_row = {"items.table.weight": shared.items}
    by_domain = dict.fromkeys(("items.adapters.down", "items.adapters.up", "domains.weight"), shared.domains)
    items.rescale(before.scale)
    for name, value in theirs.items():
        rows = {**by_row, **by_domain}.get(name)
        if rows is None:
            if name not in own or own[name].shape != value.shape:
                raise InputError(f"the run to start from has other layers: {name} does not fit; take its settings")
            own[name].copy_(value)
        elif name in own:
            if name != "items.adapters.down":
                own[name].zero_()
            own[name][rows[0]] = value[rows[1]]
    if items.table is not None and before.table is None:
        items.table.weight.zero_()


def freeze(model: NeuralModel, mode: Mode) -> None:
    """Leave learning only what ``mode`` says."""
    for name, parameter in model.named_parameters():
        of_items = name.startswith(("items.", "domains."))
        adapter = name.startswith(("items.adapters", "items.learned", "domains."))
        learns = {"zero-shot": False, "head": not of_items, "adapter": adapter, "full": True}[mode]
        parameter.requires_grad_(parameter.requires_grad and learns)
