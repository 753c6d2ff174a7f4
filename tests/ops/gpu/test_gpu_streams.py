"""What holds of every operation with a state: a history in pieces is the whole, and no history sees another."""

from itertools import pairwise

import pytest
import torch
from gpu_cases import DEVICE, needs_triton, normal, scan_problem
from support import close, offsets_of

from hydrarec.ops.gpu.conv import causal_conv_silu
from hydrarec.ops.gpu.mamba1 import scan_mamba1
from hydrarec.ops.gpu.ssd import scan_ssd


def scan(mamba, run):
    """Packed tensors by event, and the operation over them: (pieces, offsets, state) -> y, state."""

    def stream(lengths):
        x, dt, A, B, C, state = (v.float().to(DEVICE) for v in scan_problem(mamba, 1, 1, 2, 2, lengths))
        return (x, dt, B, C), state, lambda v, offsets, s: run(v[0], v[1], A, v[2], v[3], offsets, s)

    return stream


def convolution(lengths):
    x, weight, bias = normal(sum(lengths), 2, 3), normal(2, 3, 4), normal(2, 3, seed=1)
    state = normal(len(lengths), 3, 2, 3, seed=2)
    x, weight, bias, state = (v.float().to(DEVICE) for v in (x, weight, bias, state))
    return (x,), state, lambda v, offsets, s: causal_conv_silu(v[0], weight, bias, offsets, s)


STREAMS = [
    pytest.param(scan(2, lambda *v: scan_ssd(*v, operands=torch.float32)), id="mamba2"),
    pytest.param(scan(1, scan_mamba1), id="mamba1", marks=needs_triton),
    pytest.param(convolution, id="conv", marks=needs_triton),
]


def bounds(lengths):
    return offsets_of(lengths).to(DEVICE)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("cuts", [[1, 2, 3], [17], [0, 16, 20]], ids=str)
def test_pieces_with_the_state_carried_are_the_whole(stream, cuts):
    events, state, run = stream([20])
    whole, last = run(events, bounds([20]), state)
    parts = []
    for first, end in pairwise([0, *cuts, 20]):
        y, state = run(tuple(v[first:end] for v in events), bounds([end - first]), state)
        parts.append(y)
    close(torch.cat(parts), whole, 1e-6)
    close(state, last, 1e-6)


@pytest.mark.parametrize("stream", STREAMS)
def test_packed_is_each_history_alone(stream):
    lengths = [3, 0, 18, 1]
    events, state, run = stream(lengths)
    y, last = run(events, bounds(lengths), state)
    for user, (first, end) in enumerate(pairwise(offsets_of(lengths).tolist())):
        alone, after = run(tuple(v[first:end] for v in events), bounds([end - first]), state[user : user + 1])
        close(alone, y[first:end], 1e-6)
        close(after, last[user : user + 1], 1e-6)


@pytest.mark.parametrize("stream", STREAMS)
def test_gradients_stay_within_a_history(stream):
    lengths = [4, 17]
    events, state, run = stream(lengths)
    leaves = [v.requires_grad_() for v in (*events, state)]
    y, last = run(tuple(leaves[:-1]), bounds(lengths), leaves[-1])
    *by_event, by_state = torch.autograd.grad(y[4:].sum() + last[1].sum(), leaves)
    assert all(not v[:4].any() and v[4:].any() for v in by_event)
    assert not by_state[0].any()
    assert by_state[1].any()


@pytest.mark.parametrize("stream", STREAMS)
def test_the_future_changes_nothing(stream):
    events, state, run = stream([20])
    before, _ = run(events, bounds([20]), state)
    after, _ = run(tuple(torch.cat([v[:15], v[15:] * 0.5]) for v in events), bounds([20]), state)
    close(after[:15], before[:15], 1e-6)
