"""Cross-entropy over the whole catalog, with its gradients, against the same in plain PyTorch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hydrarec.bench.measure import Variant, interleave
from hydrarec.bench.rows import Measured, Subject, rows
from hydrarec.bench.scale import Scale
from hydrarec.losses.softmax import full_softmax

_TEMPERATURE = 0.07
_EVENTS = 1024  # of a training step


def softmax_vs_torch(scale: Scale) -> Measured:
    """How many times the events a second of PyTorch's cross-entropy, for the largest catalog; rows for all of them."""
    subjects: dict[str, Subject] = {}
    for n_items in scale.catalogs:
        shape = f"{_EVENTS} x {n_items}, d {scale.narrow}"
        for name, loss in (("full softmax", _ours), ("PyTorch", _torch)):
            variant = Variant(run=_step(loss, scale.narrow, n_items))
            subjects[f"{name}, {n_items} items"] = Subject(
                variant=variant, events=_EVENTS, work="loss and gradients", shape=shape
            )
    found = rows(subjects, interleave({name: each.variant for name, each in subjects.items()}, scale))
    ours, theirs = (found[f"{name}, {scale.catalogs[-1]} items"] for name in ("full softmax", "PyTorch"))
    return Measured(ours.events_per_s / theirs.events_per_s, list(found.values()))


def _step(loss: Callable[[Tensor, Tensor, Tensor], Tensor], d: int, n_items: int) -> Callable[[], object]:
    hidden = F.normalize(torch.randn(_EVENTS, d), dim=1).requires_grad_()
    catalog = F.normalize(torch.randn(n_items, d), dim=1).requires_grad_()
    targets = torch.randint(n_items, (_EVENTS,))
    return lambda: torch.autograd.grad(loss(hidden, catalog, targets), [hidden, catalog])


def _ours(hidden: Tensor, catalog: Tensor, targets: Tensor) -> Tensor:
    return full_softmax(hidden, catalog, targets, 1 / _TEMPERATURE)


def _torch(hidden: Tensor, catalog: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(hidden @ catalog.T / _TEMPERATURE, targets)
