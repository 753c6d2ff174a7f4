"""The state carried from chunk to chunk, for all chunks at once, in a logarithmic number of steps.

h_k = decay_k h_{k-1} + added_k is associative in the pairs (decay, added): windows of 1, 2, 4 ... chunks are joined
until they reach as far as the longest history (Hillis & Steele 1986; Blelloch 1990). A history that opens has decay
zero, so that no window reaches across; nothing else marks the bounds.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hydrarec.ops.gpu.layout import Layout


def entering_states(decay: Tensor, added: Tensor, state: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """The state before each chunk and after each history.

    Args:
        decay: (n, ...) by how much the state shrinks over each chunk; broadcasts to ``added``.
        added: (n, ...) what each chunk adds.
        state: (U, ...) before each history.

    Returns:
        entering (n, ...), and the final state (U, ...).
    """
    if layout.total == 0:
        return torch.zeros_like(added), state.clone()
    opens = _like(layout.opens, added)
    initial = state.index_select(0, layout.user)
    leaving = _recur(decay * ~opens, torch.where(opens, torch.addcmul(added, decay, initial), added), layout.depth)
    final = leaving.index_select(0, layout.last.clamp(min=0))
    return torch.where(opens, initial, _shifted(leaving)), torch.where(_like(layout.filled, final), final, state)


def leaving_gradients(decay: Tensor, dentering: Tensor, dfinal: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Backward of ``entering_states``: the same recurrence from the end.

    Args:
        decay: (n, ...) as there.
        dentering: (n, ...) gradient of the state before each chunk, from inside the chunk.
        dfinal: (U, ...) gradient of the final state.

    Returns:
        Gradients of the state after each chunk (n, ...), which is that of what the chunk added, and of the initial
        state (U, ...).
    """
    if layout.total == 0:
        return torch.zeros_like(dentering), dfinal.clone()
    filled = _like(layout.filled, dfinal)
    closes = torch.cat([layout.opens[1:], layout.opens.new_ones(1)])  # the next chunk opens a history
    inner = ~_like(closes, dentering)
    back = torch.where(inner, _shifted(dentering.flip(0)).flip(0), dfinal.index_select(0, layout.user))
    through = _shifted(decay.flip(0)).flip(0) * inner
    g = _recur(through.flip(0), back.flip(0), layout.depth).flip(0)
    before = torch.addcmul(dentering, decay, g)  # gradient of the state before each chunk, all told
    opening = torch.cat([layout.last.new_full((1,), -1), layout.last])[:-1] + 1  # first chunk of each history
    return g, torch.where(filled, before.index_select(0, opening.clamp(max=layout.total - 1)), dfinal)


class _Carry(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, added: Tensor, state: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        entering, final = entering_states(decay, added, state, layout)
        ctx.layout = layout
        ctx.save_for_backward(decay, entering)
        return entering, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dentering: Tensor, dfinal: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        decay, entering = ctx.saved_tensors
        dadded, dstate = leaving_gradients(decay, dentering, dfinal, ctx.layout)
        return (dadded * entering).sum_to_size(decay.shape), dadded, dstate, None


def carry(decay: Tensor, added: Tensor, state: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """``entering_states``, differentiable; of the steps between, nothing is kept."""
    result: tuple[Tensor, Tensor] = _Carry.apply(decay, added, state, layout)
    return result


def _recur(decay: Tensor, added: Tensor, depth: int) -> Tensor:
    """h_k = decay_k h_{k-1} + added_k along the first dimension, no chain of non-zero decays longer than ``depth``."""
    step = 1
    while step < depth:
        joined, reach = added.clone(), decay.clone()
        joined[step:].addcmul_(decay[step:], added[:-step])
        reach[step:].mul_(decay[:-step])
        added, decay, step = joined, reach, 2 * step
    return added


def _shifted(x: Tensor) -> Tensor:
    """Each entry in the place of the next one; the first becomes zero."""
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


def _like(flags: Tensor, x: Tensor) -> Tensor:
    """(n,) -> (n, 1, ...), with as many dimensions as x."""
    return flags.view(-1, *[1] * (x.dim() - 1))
