"""The scans of a GPU against the float64 reference."""

import pytest
import torch
from gpu_cases import DEVICE, RAGGED, agree, needs_triton, outcome, scan_problem, with_offsets
from support import close, offsets_of

from hydrarec.ops.chunked import scan_chunked
from hydrarec.ops.gpu import mamba1
from hydrarec.ops.gpu.mamba1 import scan_mamba1
from hydrarec.ops.gpu.scan import scan_gpu
from hydrarec.ops.gpu.ssd import scan_ssd
from hydrarec.ops.reference import scan_reference

KINDS = [(1, 1, 1, 1), (2, 2, 3, 5), (3, 1, 7, 2)]  # G, m, P, N
LENGTHS = [[5], [0, 70, 1, 0, 130, 64, 0], [16] * 5]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_mamba2_with_exact_operands(kind, lengths, dtype, relative):
    mine = with_offsets(scan_ssd, lengths, operands=dtype)
    agree(mine, with_offsets(scan_reference, lengths), scan_problem(2, *kind, lengths), relative, dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_mamba2_with_half_operands(kind, lengths):
    """bfloat16 has 8 bits, each operand is off by up to 2^-9; a gradient of A is a small difference of large sums."""
    mine = with_offsets(scan_ssd, lengths, operands=torch.bfloat16)
    agree(mine, with_offsets(scan_reference, lengths), scan_problem(2, *kind, lengths), 5e-2, forward=1e-2)


def test_mamba2_over_a_long_history():
    """Decays that remember thousands of events: the carry must not lose what is far away."""
    lengths = [3000, 1, 5000]
    inputs = scan_problem(2, 1, 2, 2, 3, lengths)
    inputs[1] *= 1e-3
    mine = with_offsets(scan_ssd, lengths, operands=torch.float32)
    agree(mine, with_offsets(scan_chunked, lengths), inputs, 2e-5)


def test_mamba2_forgets_everything_or_nothing():
    for step in (0.0, 1e4):
        inputs = scan_problem(2, 1, 2, 2, 3, [150])
        inputs[1] = torch.full_like(inputs[1], step)
        mine, reference = (with_offsets(scan, [150]) for scan in (scan_gpu, scan_reference))
        for got, expected in zip(mine(*inputs), reference(*inputs), strict=True):
            assert got.isfinite().all()
            close(got, expected, 1e-12)


@pytest.mark.parametrize("mamba", [1, 2])
def test_no_events_keep_the_state(mamba):
    inputs = scan_problem(mamba, 2, 2, 2, 3, [0, 0])
    y, final = with_offsets(scan_gpu, [0, 0])(*inputs)
    assert y.shape == (0, 2, 4)
    assert torch.equal(final, inputs[-1])


def test_mamba1_without_triton_is_plain_pytorch():
    inputs = scan_problem(1, 2, 2, 2, 3, RAGGED)
    for got, expected in zip(
        with_offsets(scan_gpu, RAGGED)(*inputs), with_offsets(scan_reference, RAGGED)(*inputs), strict=True
    ):
        close(got, expected, 1e-12)


@needs_triton
@pytest.mark.parametrize(("kind", "lengths"), [((1, 1, 1, 1), [3, 40]), ((2, 1, 3, 3), RAGGED)])
def test_mamba1(kind, lengths, monkeypatch):
    monkeypatch.setattr(mamba1, "_STATES", 8)  # channels in several blocks, the last one ragged
    agree(
        with_offsets(scan_mamba1, lengths), with_offsets(scan_reference, lengths), scan_problem(1, *kind, lengths), 1e-5
    )


@needs_triton
def test_mamba1_reads_slices():
    """The encoder hands over slices of its projections, memory head-major."""
    x, dt, A, B, C, state = (v.float().to(DEVICE) for v in scan_problem(1, 2, 1, 3, 2, [18]))
    joint = torch.cat([x, dt, B, C], dim=2).transpose(0, 1).contiguous().transpose(0, 1)
    run = with_offsets(scan_mamba1, [18])
    for got, expected in zip(
        run(*joint.split([3, 3, 2, 2], dim=2)[:2], A, *joint.split([3, 3, 2, 2], dim=2)[2:], state),
        run(x, dt, A, B, C, state),
        strict=True,
    ):
        assert torch.equal(got, expected)


@needs_triton
def test_only_the_final_state_is_differentiated():
    inputs = scan_problem(1, 1, 1, 2, 2, [3, 20])
    runs = [lambda *v, scan=scan: with_offsets(scan, [3, 20])(*v)[1] for scan in (scan_mamba1, scan_reference)]
    got, expected = outcome(runs[0], inputs, torch.float32, DEVICE), outcome(runs[1], inputs, torch.float64, "cpu")
    for one, other in zip(got, expected, strict=True):
        close(one, other, 1e-5)


@needs_triton
def test_mamba1_is_a_proper_operator():
    x, dt, A, B, C, state = (v.float().to(DEVICE).requires_grad_() for v in scan_problem(1, 1, 1, 2, 1, [3, 17]))
    table = mamba1.cut(offsets_of([3, 17]).to(DEVICE), 16)
    tables = [table.first, table.stop, table.user, table.opens, table.last, table.filled]
    torch.library.opcheck(mamba1._forward, (x, dt, A, B, C, state, tables, table.depth))
