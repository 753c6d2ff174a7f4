"""Mamba-1's scan for a GPU (Triton): chunks of 16 events side by side, a logarithmic carry between them.

Three passes forward (what each chunk adds to the state; the carry; the outputs), three backward. Only the states
between chunks are kept; those inside are computed again. Source: Gu & Dao 2023.
"""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.gpu.blocks import blocks, even, head_major, power, summed
from hydrarec.ops.gpu.carry import entering_states, leaving_gradients
from hydrarec.ops.gpu.layout import Layout, cut

_EVENTS = 16
_STATES = 64  # channels times states of a block: with 16 events, what the registers of a program hold


def scan_mamba1(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``hydrarec.ops.scan.selective_scan``; A is (G, E, N), float32 tensors on a GPU."""
    if x.shape[0] == 0:
        return torch.zeros_like(x), state
    table = cut(offsets, _EVENTS)
    tables = [table.first, table.stop, table.user, table.opens, table.last, table.filled]
    y, final, *_ = _forward(even(x), even(dt), A.contiguous(), even(B), even(C), state, tables, table.depth)
    return y, final


def _geometry(x: Tensor, B: Tensor, table: Layout) -> tuple[tuple[int, int, int], dict[str, int]]:
    E, BN = x.shape[2], power(B.shape[2])
    BE = power(E, max(1, _STATES // BN))
    return (table.total, x.shape[1], blocks(E, BE)), {"Q": table.size, "BE": BE, "BN": BN}


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for v in tensors for stride in v.stride()[:2]]


def _per_chunk(x: Tensor, B: Tensor, table: Layout) -> Tensor:
    return x.new_empty(table.total, x.shape[1], x.shape[2], B.shape[2])


@torch.library.custom_op("hydrarec::gpu_mamba1", mutates_args=())
def _forward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, tables: list[Tensor], depth: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, the final states, the states before each chunk (n, G, E, N), and the sums of its steps (n, G, E)."""
    from hydrarec.ops.gpu.kernels import mamba1 as kernels

    table = Layout(_EVENTS, depth, *tables)
    T, G, E = x.shape
    widths = (G, E, B.shape[2])
    bounds = (table.first, table.stop)
    grid, sizes = _geometry(x, B, table)
    added, total = _per_chunk(x, B, table), x.new_empty(table.total, G, E)
    y = head_major(x, T, G, E)
    with torch.cuda.device_of(x):
        kernels.summaries[grid](x, dt, A, B, *bounds, added, total, *widths, *_strides(x, dt, B), **sizes)
        entering, final = entering_states((total.unsqueeze(3) * A).exp_(), added, state, table)
        entering = entering.contiguous()
        kernels.outputs[grid](x, dt, A, B, C, *bounds, entering, y, T, *widths, *_strides(x, dt, B, C), **sizes)
    return y, final, entering, total


@torch.library.custom_op("hydrarec::gpu_mamba1_backward", mutates_args=())
def _backward(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, entering: Tensor, total: Tensor,
    tables: list[Tensor], depth: int, dy: Tensor, dfinal: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    from hydrarec.ops.gpu.kernels import mamba1 as kernels

    table = Layout(_EVENTS, depth, *tables)
    T, G, E = x.shape
    widths = (G, E, B.shape[2])
    bounds = (table.first, table.stop)
    grid, sizes = _geometry(x, B, table)
    dy = even(dy)
    dentering, dA = _per_chunk(x, B, table), _per_chunk(x, B, table)
    dx, ddt, dB, dC = (head_major(v, *v.shape) for v in (x, dt, B, C))
    with torch.cuda.device_of(x):
        kernels.pullbacks[grid](dt, A, C, dy, *bounds, dentering, *widths, *_strides(dt, C, dy), **sizes)
        leaving, dstate = leaving_gradients((total.unsqueeze(3) * A).exp_(), dentering, dfinal, table)
        leaving = leaving.contiguous()
        results = (dx, ddt, dA, dB, dC)
        strides = _strides(x, dt, B, C, dy)
        kernels.gradients[grid[:2]](
            x, dt, A, B, C, *bounds, entering, leaving, dy, *results, T, *widths, *strides, **sizes
        )
    return dx, ddt, summed(dA, A), dB, dC, dstate


@_forward.register_fake
def _(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor, tables: list[Tensor], depth: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    entering = x.new_empty(tables[0].numel(), *A.shape)
    return head_major(x, *x.shape), torch.empty_like(state), entering, entering.new_empty(entering.shape[:3])


@_backward.register_fake
def _(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, entering: Tensor, total: Tensor,
    tables: list[Tensor], depth: int, dy: Tensor, dfinal: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dx, ddt, dB, dC = (head_major(v, *v.shape) for v in (x, dt, B, C))
    return dx, ddt, torch.empty_like(A), dB, dC, torch.empty_like(dfinal)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, dt, A, B, C, _, tables, ctx.depth = inputs
    ctx.save_for_backward(x, dt, A, B, C, *output[2:], *tables)


def _gradients(ctx: Any, dy: Tensor, dfinal: Tensor, *_: Tensor) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    *gradients, dstate = _backward(*saved[:7], list(saved[7:]), ctx.depth, dy, dfinal)
    return *gradients, dstate, [None] * len(saved[7:]), None


_forward.register_autograd(_gradients, setup_context=_keep)
