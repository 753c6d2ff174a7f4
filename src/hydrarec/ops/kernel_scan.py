"""The compiled scans as operators of torch: ``hydrarec::mamba1_scan`` and ``hydrarec::mamba2_scan``."""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.checks import check_bounds, check_like, check_scan_kernel
from hydrarec.ops.library import chunk_starts, dense_rows, required_kernels
from hydrarec.ops.operators import operator


def scan_kernel(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """See ``hydrarec.ops.scan.selective_scan``; float32 on the CPU. Rows may be strided, a head's values may not."""
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, dt, A, B, C, state))
    y, final, _ = kernel_scan(x, dt, A, B, C, offsets, state, keep)
    return y, final


@operator("scan")
def kernel_scan(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y (T, G, E), final states (U, G, E, N), and with ``keep`` the states at the starts of chunks."""
    check_scan_kernel(x, dt, A, B, C, offsets, state)
    offsets = offsets.contiguous()
    x, dt, B, C = map(dense_rows, (x, dt, B, C))
    starts = chunk_starts(offsets)
    y, final = x.new_empty(x.shape), state.new_empty(state.shape)
    bounds = x.new_empty(bounds_shape(A, state, int(starts[-1]) if keep else 0))
    tensors = (offsets, starts, x, dt, A.contiguous(), B, C, state.contiguous(), bounds if keep else None)
    required_kernels().call(f"{_name(A)}_forward", scan_sizes(*tensors), tensors, (y, final), torch.get_num_threads())
    return y, final, bounds


@kernel_scan.register_fake
def _(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor, keep: bool) -> Any:
    chunks = torch.library.get_ctx().new_dynamic_size() if keep else 0
    return x.new_empty(x.shape), state.new_empty(state.shape), x.new_empty(bounds_shape(A, state, chunks))


@operator("scan_backward")
def kernel_scan_backward(
    dy: Tensor,
    dfinal: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    offsets: Tensor,
    bounds: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, dt, A, B, C and the initial states."""
    check_scan_kernel(x, dt, A, B, C, offsets, dfinal)
    check_like("dy", dy, x.shape)
    check_bounds(bounds, offsets, *bounds_shape(A, dfinal, 0)[1:])
    offsets, bounds = offsets.contiguous(), bounds.contiguous()
    x, dt, B, C, dy = map(dense_rows, (x, dt, B, C, dy))
    gradients = [t.new_empty(t.shape) for t in (x, dt, A, B, C, dfinal)]
    gradients[2].zero_()
    tensors = (offsets, chunk_starts(offsets), x, dt, A.contiguous(), B, C, None, bounds)
    sizes = [*scan_sizes(*tensors), *dy.stride()[:2]]
    arguments = (sizes, tensors, (dy, dfinal.contiguous()), gradients, torch.get_num_threads())
    required_kernels().call(f"{_name(A)}_backward", *arguments)
    return tuple(gradients)  # type: ignore[return-value]  # of any length, to mypy


@kernel_scan_backward.register_fake
def _(
    dy: Tensor, dfinal: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, bounds: Tensor
) -> Any:
    return tuple(t.new_empty(t.shape) for t in (x, dt, A, B, C, dfinal))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, _, keep = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.kept = keep
    ctx.mark_non_differentiable(output[2])


def _backward(ctx: Any, dy: Tensor, dfinal: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    if not ctx.kept:
        raise RuntimeError("hydrarec::scan was called without keep=True, which its gradient needs")
    *gradients, dstate = kernel_scan_backward(dy, dfinal, *ctx.saved_tensors)
    return *gradients, None, dstate, None


kernel_scan.register_autograd(_backward, setup_context=_setup)


def _name(A: Tensor) -> str:
    return "mamba1_scan" if A.dim() == 3 else "mamba2_scan"


def scan_sizes(
    offsets: Tensor, starts: Tensor, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *_: Tensor | None
) -> list[int]:
    """What the kernel needs to know of the tensors it is called with."""
    T, G, E = x.shape
    m = A.shape[1] if A.dim() == 2 else E
    strides = [stride for t in (x, dt, B, C) for stride in t.stride()[:2]]
    return [T, offsets.numel() - 1, G, E, B.shape[2], m, *strides]


def bounds_shape(A: Tensor, state: Tensor, chunks: Any) -> tuple[Any, ...]:
    """Mamba-2 keeps states with channels for lanes: (chunks, G, m N lanes of E/m, padded to 16)."""
    _, G, E, N = state.shape
    if A.dim() == 3:
        return chunks, G, E * N
    m = A.shape[1]
    return chunks, G, m * N * (-(-(E // m) // 16) * 16)
