"""A mean over events of which one chunk is held at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import embedding
from torch.utils.checkpoint import checkpoint


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

    def part(x: Tensor, positive: Tensor, target: Tensor) -> Tensor:
        return per_event(x, positive, against, target[:, None] == negatives).sum()

    dtype = torch.promote_types(torch.promote_types(hidden.dtype, catalog.dtype), torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        hidden = hidden.to(dtype) * scale
        positives, against = embedding(targets, catalog).to(dtype), embedding(negatives, catalog).to(dtype)
        total = hidden.new_zeros(())
        chunks = (hidden.split(chunk_events), positives.split(chunk_events), targets.split(chunk_events))
        for chunk in zip(*chunks, strict=True):
            total = total + checkpoint(part, *chunk, use_reentrant=False, preserve_rng_state=False)
    return total / max(len(hidden), 1)
