"""RMSNorm through the kernel, where there is one."""

from torch import Tensor, nn

from hydrarec.ops import rms_norm


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + eps) * weight, (T, d) -> (T, d) (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__(width, eps=eps)
        self.eps: float = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)
