"""Norms, SwiGLU and the interaction of a GPU against plain torch in float64."""

import pytest
import torch
import torch.nn.functional as F
from gpu_cases import DEVICE, agree, needs_triton, normal

from hydrarec.ops.gpu import interact, norm, swiglu

pytestmark = needs_triton
PRECISIONS = [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)]


@pytest.mark.parametrize(("dtype", "relative"), PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 3), (70, 37), (3, 5, 64), (0, 8)], ids=str)
def test_rms_norm(shape, dtype, relative):
    agree(
        lambda x, w: norm.rms_norm(x, w, 1e-6),
        lambda x, w: F.rms_norm(x, w.shape, w, 1e-6),
        [normal(*shape), normal(shape[-1], seed=1)],
        relative,
        dtype,
    )


@pytest.mark.parametrize(("dtype", "relative"), PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (70, 3, 37), (5, 2, 128)], ids=str)
def test_gated_rms_norm(shape, dtype, relative):
    agree(
        lambda y, gate, w: norm.gated_rms_norm(y, gate, w, 1e-5),
        lambda y, gate, w: F.rms_norm(y * F.silu(gate), shape[-1:], eps=1e-5) * w,
        [normal(*shape), normal(*shape, seed=1), normal(*shape[1:], seed=2)],
        relative,
        dtype,
    )


@pytest.mark.parametrize(("dtype", "relative"), PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 2), (30, 74), (0, 4)], ids=str)
def test_swiglu(shape, dtype, relative):
    def plain(both):
        gate, up = both.chunk(2, dim=1)
        return F.silu(gate) * up

    agree(swiglu.swiglu, plain, [normal(*shape)], relative, dtype)


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 2e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (70, 2, 14), (9, 3, 64)], ids=str)
def test_interaction(shape, dtype, relative):
    agree(
        lambda y, z: interact.interact(y, z, 0.5),
        lambda y, z: y * (1 + F.silu(z)) * 0.5,
        [normal(*shape), normal(*shape, seed=1)],
        relative,
        dtype,
    )


def test_slices_of_projections_are_read_in_place():
    wide = normal(6, 2, 24).float().to(DEVICE).transpose(0, 1).contiguous().transpose(0, 1)
    y, z = wide[..., :8], wide[..., 8:16]
    weight = torch.ones(2, 8, device=DEVICE)
    for run in (
        lambda a, b: norm.gated_rms_norm(a, b, weight, 1e-5),
        lambda a, b: interact.interact(a, b, 1.0),
    ):
        assert torch.equal(run(y, z), run(y.contiguous(), z.contiguous()))


def test_are_proper_operators():
    y, z, weight = (v.float().to(DEVICE).requires_grad_() for v in (normal(3, 1, 4), normal(3, 1, 4), normal(1, 4)))
    torch.library.opcheck(norm._forward, (y, z, weight, 1e-5))
    torch.library.opcheck(norm._forward, (y, None, weight, 1e-5))
    torch.library.opcheck(swiglu._forward, (z[:, 0],))
    torch.library.opcheck(interact._forward, (y, z, 0.5))
