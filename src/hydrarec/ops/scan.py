"""The selective scan: one signature, several back ends."""

from collections.abc import Callable

import torch
from torch import Tensor

from hydrarec.ops.checks import check_scan
from hydrarec.ops.chunked import scan_chunked
from hydrarec.ops.kernel_scan import scan_kernel
from hydrarec.ops.library import kernels
from hydrarec.ops.reference import scan_reference
from hydrarec.ops.status import warn_of_absence

ScanBackend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _on_gpu(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, offsets: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    from hydrarec.ops.gpu.scan import scan_gpu  # not before a tensor lies there

    return scan_gpu(x, dt, A, B, C, offsets, state)


# Fastest first.
backends: dict[str, ScanBackend] = {"gpu": _on_gpu, "chunked": scan_chunked, "reference": scan_reference}
if kernels() is not None:
    backends = {"kernel": scan_kernel, **backends}


def usable(name: str, x: Tensor) -> bool:
    """Whether a back end is the one to take x: the kernel computes in float32 on the CPU."""
    if name == "kernel":
        return x.device.type == "cpu" and x.dtype == torch.float32
    return name != "gpu" or x.is_cuda


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    offsets: Tensor,
    state: Tensor | None = None,
    *,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Run h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t^T, y_t = h_t C_t over packed histories.

    Each history starts from its own ``state`` and never sees another. Source: Gu & Dao 2023 (Mamba-1),
    Dao & Gu 2024 (Mamba-2), in G heads with their own B and C. Half precision, also under autocast, is computed in
    float32: a recurrence adds up its rounding errors.

    Args:
        x: (T, G, E) inputs.
        dt: step sizes, positive: (T, G, E) for Mamba-1; (T, G, m) for Mamba-2, m dividing E.
        A: decay rates, negative: (G, E, N) for Mamba-1; (G, m) for Mamba-2.
        B: (T, G, N) what enters the state.
        C: (T, G, N) what is read from it.
        offsets: (U+1,) int64, bounds of the U histories.
        state: (U, G, E, N) initial states; None is zeros.
        backend: a name in ``backends``; None takes the fastest that takes x.

    Returns:
        y (T, G, E), and the state after each history's last event (U, G, E, N), both at least float32.

    Raises:
        ValueError: shapes do not fit, or offsets are not bounds of histories.
    """
    check_scan(x, dt, A, B, C, offsets, state)
    dtype = torch.promote_types(torch.promote_types(x.dtype, dt.dtype), torch.float32)
    if state is None:
        state = x.new_zeros(offsets.numel() - 1, x.shape[1], x.shape[2], B.shape[2], dtype=dtype)
    x = x.to(dtype)
    if backend is None:
        backend = next(name for name in backends if usable(name, x))
        if x.device.type == "cpu":
            warn_of_absence()
    run = backends[backend]
    with torch.autocast(x.device.type, enabled=False):
        return run(x, dt.to(dtype), A.to(dtype), B.to(dtype), C.to(dtype), offsets, state.to(dtype))
