"""What one core of this machine can do at best."""

import time
from collections.abc import Callable

import torch

from hydrarec.bench.measure import Variant, threads
from hydrarec.bench.rows import Subject
from hydrarec.bench.scale import Scale

_ROUNDS = 7


def gemm(size: int) -> Subject:
    """A square float32 matrix product on one core."""
    a, b, out = (torch.randn(size, size) for _ in range(3))
    return Subject(
        variant=Variant(run=lambda: torch.mm(a, b, out=out)),
        events=1,
        work="matrix product",
        shape=f"{size} x {size} x {size}",
        flops=2.0 * size**3,
    )


def copy(n_bytes: int) -> Subject:
    """A large array copied on one core."""
    source, target = torch.zeros(2, n_bytes, dtype=torch.uint8)
    return Subject(
        variant=Variant(run=lambda: target.copy_(source)),
        events=1,
        work="copy",
        shape=f"{n_bytes >> 20} MB read, as much written",
    )


def ceilings(scale: Scale) -> dict[str, float]:
    """Best rate of seven, of one core.

    Returns:
        ``gemm_float32_gflops`` of large squares, ``gemm_float32_best_gflops`` of the best of some shapes,
        ``gemm_bfloat16_gflops``, and ``memory_gb_per_s``, read plus written while a large array is copied.
    """
    n = scale.gemm
    shapes = [(n, n, n), (n // 2, n // 2, n // 2), (4 * n, n // 4, n // 4), (n // 4, 4 * n, n // 4)]
    with threads(1):
        rates = [_gemm_rate(shape, torch.float32) for shape in shapes]
        return {
            "gemm_float32_gflops": rates[0],
            "gemm_float32_best_gflops": max(rates),
            "gemm_bfloat16_gflops": _gemm_rate(shapes[1], torch.bfloat16),  # the half size: slow where it is emulated
            "memory_gb_per_s": _copy_rate(64 * n * n),
        }


def _gemm_rate(shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    rows, inner, columns = shape
    a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
    return 2e-9 * rows * inner * columns / _best(lambda: torch.mm(a, b))


def _copy_rate(n_bytes: int) -> float:
    source, target = torch.zeros(2, n_bytes, dtype=torch.uint8)
    return 2e-9 * n_bytes / _best(lambda: target.copy_(source))


def _best(call: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls: a ceiling is what nothing disturbed."""
    call()
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
