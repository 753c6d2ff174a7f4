"""A mean over events of which one chunk is held at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding


def mean_over_events(
    per_event: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    hidden: Tensor,
    catalog: Tensor,
    targets: Tensor,
    negatives: Tensor,
    scale: float,
    chunk_events: int,
) -> Tensor:
    """Mean of a sampled loss in float32; each chunk's logits are dropped and computed again in the backward.

    Args:
        per_event: from scaled hidden states (n, d), target vectors (n, d), vectors of the negatives (N, d)
            and a mask (n, N), true where a negative is the target itself, to losses (n,).
        hidden: (T, d).
        catalog: (V, d).
        targets: (T,) int64.
        negatives: (N,) int64.
        scale: 1 / temperature.
        chunk_events: events of one chunk.
    """

    def part(x: Tensor, positive: Tensor, against: Tensor, target: Tensor) -> Tensor:
        return per_event(x, positive, against, target[:, None] == negatives).sum()

    dtype = torch.promote_types(torch.promote_types(hidden.dtype, catalog.dtype), torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = hidden.to(dtype) * scale
        positives, against = embedding(targets, catalog).to(dtype), embedding(negatives, catalog).to(dtype)
        total = hidden.new_zeros(())
        chunks = (hidden.split(chunk_events), positives.split(chunk_events), targets.split(chunk_events))
        for x, positive, target in zip(*chunks, strict=True):
            total = total + _Recomputed.apply(part, x, positive, against, target)
    return total / max(len(hidden), 1)


class _Recomputed(torch.autograd.Function):
    """``function(*tensors)`` that keeps the tensors and nothing of what it makes of them.

    ``torch.utils.checkpoint`` would do, and loads torch's compiler: as slow as to load torch.
    """

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(*tensors)
        return function(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        tensors = [each.detach().requires_grad_(need) for each, need in zip(ctx.saved_tensors, wanted, strict=True)]
        with torch.enable_grad():
            value = ctx.function(*tensors) * grad  # as an argument of the next call it would load SymPy
        grads = iter(torch.autograd.grad(value, [each for each in tensors if each.requires_grad]))
        return None, *(next(grads) if need else None for need in wanted)
