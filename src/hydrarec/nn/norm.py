"""RMSNorm through the kernel, where there is one; vectors of length 1."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hydrarec.ops import rms_norm


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + eps) * weight, (T, d) -> (T, d) (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__(width, eps=eps)
        self.eps: float = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def unit(x: Tensor) -> Tensor:
    """x / max(|x|, 1e-12), (..., d) -> (..., d). As ``F.normalize``, with a backward that takes half the time."""
    y: Tensor = _Unit.apply(x)
    return y


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_(min=1e-12)
        y: Tensor = x / length
        ctx.save_for_backward(y, length)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, length = ctx.saved_tensors
        along = (y * grad).sum(-1, keepdim=True)
        return torch.addcmul(grad, y, along, value=-1).div_(length)
