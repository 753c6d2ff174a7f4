"""The selective scan on a GPU, behind the signature of ``hydrarec.ops.scan.selective_scan``."""

from torch import Tensor

from hydrarec.ops.blocked import scan_blocked
from hydrarec.ops.gpu import usable
from hydrarec.ops.gpu.mamba1 import scan_mamba1
from hydrarec.ops.gpu.ssd import scan_ssd


def scan_gpu(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Mamba-2 as products of matrices on any device; Mamba-1 through Triton where it runs, else in plain PyTorch."""
    if A.dim() == 2:
        return scan_ssd(x, dt, A, B, C, offsets, state)
    return (scan_mamba1 if usable(x) else scan_blocked)(x, dt, A, B, C, offsets, state)
