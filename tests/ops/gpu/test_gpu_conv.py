"""Convolution + SiLU of a GPU against the plain one in float64."""

import pytest
import torch
import torch.nn.functional as F
from gpu_cases import DEVICE, RAGGED, agree, needs_triton, normal
from support import offsets_of

from hydrarec.ops import causal_conv
from hydrarec.ops.gpu import conv
from hydrarec.ops.gpu.conv import causal_conv_silu

pytestmark = needs_triton


def problem(taps, lengths, G=2, width=5):
    T, U = sum(lengths), len(lengths)
    return [
        normal(T, G, width),
        normal(G, width, taps),
        normal(G, width, seed=1),
        normal(U, taps - 1, G, width, seed=2),
    ]


def with_offsets(lengths):
    return lambda x, w, b, s: causal_conv_silu(x, w, b, offsets_of(lengths).to(x.device), s)


def plain(lengths):
    def run(x, weight, bias, state):
        y, after = causal_conv(x, weight, bias, offsets_of(lengths), state)
        return F.silu(y), after

    return run


@pytest.mark.parametrize("taps", [1, 2, 3, 4])
def test_values_state_and_gradients(taps):
    lengths = [2, *RAGGED, 3]
    agree(with_offsets(lengths), plain(lengths), problem(taps, lengths), 1e-6)


def test_many_blocks_of_events_and_channels():
    agree(with_offsets([150, 1]), plain([150, 1]), problem(3, [150, 1], G=1, width=67), 1e-5)


def test_half_precision():
    agree(with_offsets(RAGGED), plain(RAGGED), problem(4, RAGGED), 1e-2, torch.bfloat16)


def test_no_events_and_no_state():
    x, weight, bias, state = (v.float().to(DEVICE) for v in problem(3, [0, 0]))
    y, after = with_offsets([0, 0])(x, weight, bias, state)
    assert y.shape == x.shape
    assert torch.equal(after, state)
    x, weight, bias, state = (v.float().to(DEVICE) for v in problem(3, [4, 1]))
    without, zeros = (with_offsets([4, 1])(x, weight, bias, s) for s in (None, torch.zeros_like(state)))
    assert torch.equal(without[0], zeros[0])
    assert torch.equal(without[1], zeros[1])


def test_reads_slices_and_writes_head_major():
    x, weight, bias, state = (v.float().to(DEVICE) for v in problem(2, [9]))
    wide = torch.cat([x, x, x], dim=2)[..., 5:10]
    y, _ = with_offsets([9])(wide, weight, bias, state)
    assert torch.equal(y, with_offsets([9])(x, weight, bias, state)[0])
    assert y.transpose(0, 1).is_contiguous()


def test_is_a_proper_operator():
    x, weight, bias, state = (v.float().to(DEVICE).requires_grad_() for v in problem(2, [3, 2], G=1, width=2))
    torch.library.opcheck(conv._forward, (x, weight, bias, offsets_of([3, 2]).to(DEVICE), state))
