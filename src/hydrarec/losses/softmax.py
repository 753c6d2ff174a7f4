"""Cross-entropy over the whole catalog, holding one tile of logits at a time."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hydrarec.ops import softmax_cross_entropy, softmax_fits

_CACHED = 2**19  # logits in 2 MiB


def full_softmax(
    hidden: Tensor,
    catalog: Tensor,
    targets: Tensor,
    scale: float = 1.0,
    chunk_events: int = 512,
    chunk_items: int = 65_536,
    half: bool = False,
) -> Tensor:
    """Mean cross-entropy of softmax(scale * hidden @ catalog.T) at ``targets``.

    At most ``chunk_events * chunk_items`` logits exist at any time, in forward and in backward. When
    gradients are wanted they are accumulated in the forward, while a tile is in the processor's cache; the
    backward multiplies them by the incoming gradient. A learned temperature is a factor of ``hidden``, left
    to the caller. In float32 on a CPU a kernel does all this (``ops.softmax_fits``), with tiles of its own.

    Args:
        hidden: (T, d) hidden states; half precision is computed in float32.
        catalog: (V, d) item vectors.
        targets: (T,) int64, rows of ``catalog``.
        scale: 1 / temperature.
        chunk_events: rows of one tile, at most; so many fewer (not below 64) as keep it in a processor's cache.
        chunk_items: columns of one tile. A catalog that fits into one is scored once, a larger one twice.
        half: products are of operands rounded to bfloat16, summed in float32, where a kernel does all this; elsewhere
            hidden states and catalog are rounded.

    Returns:
        () the mean over the T events, 0 for none.
    """
    if hidden.device.type == "cpu":
        chunk_events = min(chunk_events, max(64, _CACHED // max(min(chunk_items, len(catalog)), 1)))
    dtype = torch.promote_types(torch.promote_types(hidden.dtype, catalog.dtype), torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        loss: Tensor = _FullSoftmax.apply(
            hidden.to(dtype) * scale, catalog.to(dtype), targets, chunk_events, chunk_items, half
        )
    return loss


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, catalog: Tensor, targets: Tensor, chunk_events: int, chunk_items: int, half: bool
    ) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        if softmax_fits(hidden, catalog):
            found: tuple[Tensor, Tensor, Tensor] = softmax_cross_entropy(hidden, catalog, targets, wanted, half)
            ctx.save_for_backward(*found[1:])
            return found[0]
        if half:
            hidden, catalog = (x.bfloat16().to(x.dtype) for x in (hidden, catalog))
        d_hidden = torch.zeros_like(hidden) if wanted else hidden.new_empty(0)
        d_catalog = torch.zeros_like(catalog) if wanted else hidden.new_empty(0)
        n_events, n_items = len(hidden), len(catalog)
        tile_size = min(chunk_events, n_events) * min(chunk_items, n_items)
        memory = hidden.new_empty(tile_size)
        total = hidden.new_zeros(())

        for first in range(0, n_events, chunk_events):
            x, target = hidden[first : first + chunk_events], targets[first : first + chunk_events]
            normaliser = x.new_full((len(x),), -torch.inf)  # log of the sum of exp(logits)
            for start in range(0, n_items, chunk_items):
                tile = _logits(x, catalog[start : start + chunk_items], memory)
                normaliser = torch.logaddexp(normaliser, _softmax_(tile))
            total += (normaliser - (x * catalog[target]).sum(1)).sum()
            if not wanted:
                continue
            for start in range(0, n_items, chunk_items):
                part = catalog[start : start + chunk_items]
                if n_items > chunk_items:  # otherwise the tile holds the softmax already
                    tile = _logits(x, part, memory).sub_(normaliser[:, None]).exp_()
                _subtract_one_hot_(tile, target - start)
                d_hidden[first : first + chunk_events].addmm_(tile, part)
                d_catalog[start : start + chunk_items].addmm_(tile.T, x)

        n = max(n_events, 1)
        ctx.save_for_backward(d_hidden.div_(n), d_catalog.div_(n))
        return total / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_catalog = ctx.saved_tensors
        to_hidden, to_catalog = ctx.needs_input_grad[:2]
        return (
            d_hidden * grad if to_hidden else None,
            d_catalog * grad if to_catalog else None,
            None,
            None,
            None,
            None,
        )


def _logits(x: Tensor, part: Tensor, memory: Tensor) -> Tensor:
    """(n, d), (m, d) -> (n, m), written into ``memory``."""
    return torch.mm(x, part.T, out=memory[: len(x) * len(part)].view(len(x), len(part)))


def _softmax_(tile: Tensor) -> Tensor:
    """Turn logits (n, m) into their softmax in place; return their logsumexp (n,)."""
    highest = tile.amax(1)
    torch.softmax(tile, 1, out=tile)
    return highest - tile.amax(1).log()  # the largest probability is exp(highest - logsumexp)


def _subtract_one_hot_(tile: Tensor, column: Tensor) -> None:
    """Subtract 1 at ``column`` (n,) of each row, where that lies inside the tile."""
    inside = (column >= 0) & (column < tile.shape[1])
    tile.scatter_add_(1, column.clamp(0, tile.shape[1] - 1)[:, None], -inside[:, None].to(tile.dtype))
