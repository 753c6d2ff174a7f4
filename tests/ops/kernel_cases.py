"""What the tests of compiled kernels share: instruction sets, threads, shapes, gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from hypothesis import strategies as st
from support import offsets_of

from hydrarec.ops import library

LOADED = library.kernels()
needs_kernels = pytest.mark.skipif(LOADED is None, reason=str(library.kernels_or_reason()))

ISAS = LOADED.isas if LOADED else []


@contextmanager
def using(isa: str, threads: int = 1) -> Iterator[None]:
    """Kernels of one instruction set, on so many threads."""
    kernels = library.Kernels(LOADED._library)
    kernels.isa = isa
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with mock.patch.object(library, "kernels", return_value=kernels):
            yield
    finally:
        torch.set_num_threads(before)


def stretches(sizes: list[int], heads: int, threads: int) -> list[list[int]]:
    """How many stretches a call cuts each history into, for each head."""
    counts = torch.zeros(heads, len(sizes), dtype=torch.int64)
    arguments = [len(sizes), heads], (offsets_of(sizes),), (counts,), threads
    library.required_kernels().call("stretches", *arguments)
    return counts.tolist()


def gradients_of(results: list[torch.Tensor], leaves: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of a sum that weighs every result by fixed random numbers; zeros where a leaf has no part in it."""
    generator = torch.Generator().manual_seed(7)
    loss = sum((r * torch.randn(r.shape, generator=generator, dtype=torch.float64).to(r)).sum() for r in results)
    return list(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))


def outcome(run: Callable[..., tuple[torch.Tensor, ...]], problem: dict, dtype: torch.dtype) -> list[torch.Tensor]:
    """Results and gradients of every float input, computed in ``dtype`` from the same float32 numbers."""
    leaves = {name: value.detach().clone().to(dtype).requires_grad_() for name, value in problem.items()}
    results = list(run(**leaves))
    return [r.detach() for r in (*results, *gradients_of(results, list(leaves.values())))]


def near(got: torch.Tensor, expected: torch.Tensor, relative: float, floor: float = 0.0) -> None:
    """Largest difference, measured against the largest value, or against ``floor``: terms of a sum that may cancel."""
    assert got.shape == expected.shape
    if expected.numel():
        difference, largest = (got.double() - expected.double()).abs().max(), expected.double().abs().max()
        scale = max(float(largest), float(floor), 1e-30)
        assert difference <= relative * scale, f"{difference / scale:.2e} > {relative:.0e}"


def lengths(most: int = 150, users: int = 4) -> st.SearchStrategy[list[int]]:
    """Lengths of histories: none, single events, around the ends of chunks of 64, anything."""
    edge = st.sampled_from([0, 1, 2, 3, 63, 64, 65, 127, 128, 129]).filter(lambda n: n <= most)
    return st.lists(st.one_of(edge, st.integers(0, most)), min_size=1, max_size=users)


def strided(t: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same numbers in other places: a view of a larger tensor, head-major, events apart or values apart."""
    way = int(torch.randint(4, (), generator=generator))
    if way == 0:
        return t.transpose(0, 1).contiguous().transpose(0, 1)
    if way == 1:  # as `split` leaves them
        return torch.cat([torch.full_like(t, torch.nan), t, torch.full_like(t, torch.nan)], -1)[
            ..., t.shape[-1] : 2 * t.shape[-1]
        ]
    if way == 2:
        return torch.stack([t, torch.full_like(t, torch.nan)], 1).flatten(0, 1)[::2]
    return torch.stack([t, torch.full_like(t, torch.nan)], -1)[..., 0]
