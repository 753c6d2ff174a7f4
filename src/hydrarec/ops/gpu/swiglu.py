"""SwiGLU's elementwise part in one kernel, forward and backward (Triton)."""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.gpu.blocks import blocks

_BLOCK = 1024


@torch.library.custom_op("hydrarec::gpu_swiglu", mutates_args=())
def _forward(both: Tensor) -> Tensor:
    from hydrarec.ops.gpu.kernels import elementwise as kernels

    T, width = both.shape
    y = both.new_empty(T, width // 2)
    if y.numel():
        with torch.cuda.device_of(both):
            kernels.swiglu[(blocks(y.numel(), _BLOCK),)](both, y, y.numel(), width // 2, BLOCK=_BLOCK)
    return y


@torch.library.custom_op("hydrarec::gpu_swiglu_backward", mutates_args=())
def _backward(both: Tensor, dy: Tensor) -> Tensor:
    from hydrarec.ops.gpu.kernels import elementwise as kernels

    dboth, dy = torch.empty_like(both), dy.contiguous()
    if dy.numel():
        with torch.cuda.device_of(both):
            grid = (blocks(dy.numel(), _BLOCK),)
            kernels.swiglu_backward[grid](both, dy, dboth, dy.numel(), dy.shape[1], BLOCK=_BLOCK)
    return dboth


@_forward.register_fake
def _(both: Tensor) -> Tensor:
    return both.new_empty(both.shape[0], both.shape[1] // 2)


@_backward.register_fake
def _(both: Tensor, dy: Tensor) -> Tensor:
    return torch.empty_like(both)


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, dy: Tensor) -> Tensor:
    (both,) = ctx.saved_tensors
    dboth: Tensor = _backward(both, dy)
    return dboth


_forward.register_autograd(_gradients, setup_context=_keep)


def swiglu(gate_up: Tensor) -> Tensor:
    """SiLU(gate) * up (Shazeer 2020) of gate_up (T, 2h), gate first, on a GPU: (T, h); float32 inside."""
    y: Tensor = _forward(gate_up.contiguous())
    return y
