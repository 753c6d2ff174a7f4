"""Which histories are cut into stretches, and what a result depends on then; values are tested with their kernels."""

import pytest
import torch
from kernel_cases import LOADED, needs_kernels, stretches, using
from support import offsets_of

from hydrarec.ops import selective_scan

pytestmark = needs_kernels


@pytest.mark.parametrize(
    ("sizes", "heads", "threads", "cut"),
    [
        ([10_000], 1, 1, [[1]]),
        ([10_000], 1, 2, [[3]]),
        ([10_000], 1, 7, [[8]]),
        ([10_000], 2, 2, [[1], [1]]),  # enough heads for the threads
        ([10_000], 2, 6, [[4], [4]]),
        ([10_000] * 4, 1, 4, [[1] * 4]),
        ([10_000, 0, 9], 1, 6, [[5, 1, 1]]),  # the long one gets all threads but one for each of the others
        ([9, 10_000], 1, 4, [[1, 4]]),
        ([448], 1, 4, [[1]]),  # too few chunks
        ([449], 1, 4, [[3]]),
        ([0], 1, 4, [[1]]),
        ([], 1, 4, [[]]),
    ],
)
def test_few_long_histories_are_cut(sizes, heads, threads, cut):
    assert stretches(sizes, heads, threads) == cut


def test_results_depend_only_on_the_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    x, dt, B, C = (torch.rand(3000, 1, n, generator=generator).requires_grad_() for n in (24, 2, 9, 9))
    leaves = x, dt, A, B, C = x, dt, -torch.ones(1, 2).requires_grad_(), B, C

    def once():
        y, final = selective_scan(x, dt, A, B, C, offsets_of([3000]))
        return [y, final, *torch.autograd.grad(y.square().sum() + final.sum(), leaves)]

    with using(LOADED.isa, 5):
        first = once()
        for _ in range(5):
            for one, other in zip(first, once(), strict=True):
                assert torch.equal(one, other)
