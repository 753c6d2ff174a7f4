"""A training step of a whole encoder: forward, backward and AdamW.

Looking up items and the softmax over the catalog are the same work for every encoder, and are left out.
"""

from collections.abc import Sequence

import torch
from torch import nn

from hydrarec.bench.contenders import CONTENDERS, Input, packed_input, padded_input
from hydrarec.bench.measure import Variant, default_threads
from hydrarec.bench.rows import Subject


class TrainingStep:
    """For each batch in turn: the gradients of its input and of all parameters, for a weighted sum of the outputs as
    loss, and a step of fused AdamW."""

    def __init__(self, encoder: nn.Module, inputs: Sequence[Input]) -> None:
        self.inputs = inputs
        self.optimiser = torch.optim.AdamW(encoder.parameters(), fused=True)

    def __call__(self) -> None:
        for each in self.inputs:
            self.optimiser.zero_grad(set_to_none=True)
            each.x.grad = None
            each.forward(each.x).backward(each.weights)  # the gradient of sum(h * weights)
            self.optimiser.step()


def training(
    name: str,
    batches: Sequence[Sequence[int]],
    d: int,
    *,
    width: int | None = None,
    threads: int | None = None,
    repeat: int = 1,
    shape: str | None = None,
    note: str = "",
) -> Subject:
    """A training step, or one for each batch in turn.

    Args:
        name: a name in ``CONTENDERS``.
        batches: lengths of the histories of each batch.
        d: width of the model.
        width: to which a rival's rectangles are padded; None: to the longest history of each.
        threads: of torch; None: two, or what torch may use where that is less.
        repeat: calls that make one measurement.
        shape: what the row says of the input; None: batch x length, all histories being equally long.
    """
    longest = max(max(lengths) for lengths in batches)
    encoder = CONTENDERS[name](d, width or longest).train()
    if name == "Hydra":
        inputs = [packed_input(encoder, lengths, d) for lengths in batches]
    else:
        inputs = [padded_input(encoder, lengths, d, width or max(lengths)) for lengths in batches]
    return Subject(
        variant=Variant(run=TrainingStep(encoder, inputs), threads=threads or default_threads(), repeat=repeat),
        events=sum(map(sum, batches)),
        work="training step",
        shape=shape or f"{len(batches[0])} x {longest}, d {d}",
        length=None if shape else longest,
        parameters=sum(parameter.numel() for parameter in encoder.parameters()),
        note=note,
    )
