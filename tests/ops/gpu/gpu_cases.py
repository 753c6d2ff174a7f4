"""What the tests of the GPU's operations share: the device, random problems, and the comparison with a reference."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from support import close, offsets_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed: pip install --no-deps triton==3.7.1 (200 MB)"
)
# Empty histories, single events, exact multiples of a chunk and ragged tails.
RAGGED = [0, 20, 1, 0, 35, 16, 0]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scan_problem(mamba: int, G: int, m: int, P: int, N: int, lengths: list[int]) -> list[torch.Tensor]:
    """x, dt, A, B, C, state of E = m * P channels, and offsets where the scans take them."""
    T, E = sum(lengths), m * P
    dt = torch.nn.functional.softplus(normal(T, G, E if mamba == 1 else m, seed=1) * 2 - 2)
    A = -torch.exp(normal(G, E, N, seed=2) if mamba == 1 else normal(G, m, seed=2))
    B, C = normal(T, G, N, seed=3), normal(T, G, N, seed=4)
    return [normal(T, G, E), dt, A, B, C, normal(len(lengths), G, E, N, seed=5)]


def with_offsets(scan: Callable, lengths: list[int], **options: object) -> Callable:
    """The scan as a function of differentiable tensors alone."""
    return lambda x, dt, A, B, C, state: scan(x, dt, A, B, C, offsets_of(lengths).to(x.device), state, **options)


def outcome(run: Callable, inputs: list[torch.Tensor], dtype: torch.dtype, device: str) -> list[torch.Tensor]:
    """Results, and gradients of a random linear function of them, on the CPU."""
    leaves = [v.to(device, dtype, copy=True).requires_grad_() for v in inputs]
    results = run(*leaves)
    results = results if isinstance(results, tuple) else (results,)
    weights = [normal(*v.shape, seed=i).to(v) for i, v in enumerate(results)]
    gradients = torch.autograd.grad(results, leaves, weights, materialize_grads=True)
    return [v.detach().cpu() for v in (*results, *gradients)]


def agree(
    mine: Callable,
    reference: Callable,
    inputs: list[torch.Tensor],
    relative: float,
    dtype: torch.dtype = torch.float32,
    forward: float | None = None,
) -> None:
    """``mine`` in ``dtype`` on the device against ``reference`` in float64: every gradient and the values.

    Both see the same numbers: those that ``dtype`` can hold. ``forward`` is a tolerance of the values alone.
    """
    got = outcome(mine, inputs, dtype, DEVICE)
    expected = outcome(reference, [v.to(dtype).double() for v in inputs], torch.float64, "cpu")
    n_values = len(got) - len(inputs)
    for i, (one, other) in enumerate(zip(got, expected, strict=True)):
        assert one.dtype is dtype
        close(one, other, forward if forward and i < n_values else relative)
