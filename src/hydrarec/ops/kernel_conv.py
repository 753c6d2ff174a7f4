"""The compiled convolution with SiLU behind it as an operator of torch: ``hydrarec::conv_silu``."""

from typing import Any

import torch
from torch import Tensor

from hydrarec.ops.checks import check_conv, check_like
from hydrarec.ops.library import dense_rows, kernels, required_kernels
from hydrarec.ops.operators import operator


def conv_fits(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernel takes this input: it is there, on the CPU, at most single precision, 1 to 4 taps."""
    single = torch.promote_types(x.dtype, weight.dtype) != torch.float64
    return kernels() is not None and x.device.type == "cpu" and single and 1 <= weight.shape[2] <= 4


def conv_silu_kernel(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See ``hydrarec.ops.conv.causal_conv_silu``; computes in float32 on the CPU. Rows may be strided."""
    dtype = torch.promote_types(x.dtype, weight.dtype)
    start = None if state is None else state.float()
    y, after = kernel_conv(x.float(), weight.float(), bias.float(), offsets, start)
    return y.to(dtype), after.to(x.dtype if state is None else torch.promote_types(x.dtype, state.dtype))


@operator("conv_silu")
def kernel_conv(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """y (T, G, F) and the new state (U, K-1, G, F), all float32."""
    check_conv(x, weight, bias, offsets, state)
    x = dense_rows(x)
    (U, G, F, K), tensors = _inputs(x, weight, bias, offsets, state)
    y, after = x.new_empty(x.shape), x.new_empty(U, K - 1, G, F)
    sizes = [U, G, F, K, *x.stride()[:2]]
    required_kernels().call("conv_forward", sizes, tensors, (y, after), torch.get_num_threads())
    return y, after


@kernel_conv.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    after = x.new_empty(offsets.shape[0] - 1, weight.shape[2] - 1, *x.shape[1:])
    return x.new_empty(x.shape), after


@operator("conv_silu_backward")
def kernel_conv_backward(
    dy: Tensor, dafter: Tensor, x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias and the state; the last is empty where that is None."""
    check_conv(x, weight, bias, offsets, state)
    check_like("dy", dy, x.shape)
    check_like("dafter", dafter, (offsets.shape[0] - 1, weight.shape[2] - 1, *x.shape[1:]))
    x, dy, dafter = dense_rows(x), dense_rows(dy), dafter.contiguous()
    (U, G, F, K), tensors = _inputs(x, weight, bias, offsets, state)
    dx, dweight, dbias = x.new_empty(x.shape), x.new_zeros(weight.shape), x.new_zeros(bias.shape)
    dstate = x.new_empty(0 if state is None else state.shape)
    sizes = [U, G, F, K, *x.stride()[:2], *dy.stride()[:2]]
    outputs = (dx, dweight, dbias, None if state is None else dstate)
    required_kernels().call("conv_backward", sizes, tensors, (dy, dafter), outputs, torch.get_num_threads())
    return dx, dweight, dbias, dstate


@kernel_conv_backward.register_fake
def _(
    dy: Tensor, dafter: Tensor, x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dstate = x.new_empty(0 if state is None else state.shape)
    return x.new_empty(x.shape), x.new_empty(weight.shape), x.new_empty(bias.shape), dstate


def _inputs(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, state: Tensor | None
) -> tuple[tuple[int, int, int, int], list[Tensor | None]]:
    """U, G, F and K, and the tensors in the kernel's order."""
    given = None if state is None else state.contiguous()
    sizes = (offsets.shape[0] - 1, *(int(n) for n in weight.shape))
    return sizes, [offsets.contiguous(), x, weight.contiguous(), bias.contiguous(), given]  # type: ignore[return-value]  # of any length, to mypy


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, dy: Tensor, dafter: Tensor) -> tuple[Tensor | None, ...]:
    dx, dweight, dbias, dstate = kernel_conv_backward(dy, dafter, *ctx.saved_tensors)
    return dx, dweight, dbias, None, None if ctx.saved_tensors[-1] is None else dstate


kernel_conv.register_autograd(_backward, setup_context=_setup)
