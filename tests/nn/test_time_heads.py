"""The heads that forget with time against sums written out."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close, small_config
from test_time import batch_of

from hydrarec.nn.encoder import HydraEncoder
from hydrarec.nn.time import Gaps
from hydrarec.nn.time_heads import SCALES, TimeHeads

HOUR, YEAR = 3600, 365 * 86_400


def heads_of(**changes):
    torch.manual_seed(0)
    return TimeHeads(small_config(time_heads=4, **changes))


def written_out(heads, h, times, asked):
    """The same for one history, in float64, every sum by itself."""
    h = h.double()
    normed = F.rms_norm(h, (h.shape[1],), heads.norm.weight.double(), heads.norm.eps)
    joint = F.silu(normed @ heads.w_vz.weight.double().T)
    v, z = joint.unflatten(1, (2, 4, heads.width)).unbind(1)
    scale = heads.log_scale.double().exp()
    rows = []
    for i, request in enumerate(asked):
        weights = torch.stack([torch.exp(-(request - times[j]) / scale) for j in range(i + 1)])  # (i + 1, K)
        sums = (weights[:, :, None] * v[: i + 1]).sum(0)
        total = weights.sum(0)[:, None]
        rows.append(torch.cat([sums / (1 + total) * z[i], (1 + total).log()], 1).flatten())
    return h + torch.stack(rows) @ heads.w_o.weight.double().T


gap = st.one_of(st.sampled_from([0, 1, HOUR, YEAR, 10 * YEAR]), st.integers(0, 2 * YEAR))


@given(st.lists(gap, min_size=2, max_size=8))
@settings(max_examples=40)
def test_the_sums_and_their_gradients(gaps):
    heads = heads_of()
    times = torch.tensor(gaps).cumsum(0).tolist()
    times, asked = times[:-1], times[1:]
    batch = batch_of([times], [asked])
    h = torch.randn(len(times), 8, requires_grad=True)
    parameters = [h, *heads.parameters()]
    got, _ = heads(h, Gaps.of(batch), batch.offsets, None)
    expected = written_out(heads, h, times, asked)
    close(got, expected, 1e-5)
    weight = torch.randn_like(got)
    found = torch.autograd.grad((got * weight).sum(), parameters)
    wanted = torch.autograd.grad((expected * weight).sum(), parameters)
    largest = max(float(each.abs().max()) for each in wanted)
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() <= 2e-4 * max(float(other.abs().max()), 1e-2 * largest)


@pytest.mark.parametrize("cut", [1, 2, 3])
@torch.no_grad()
def test_the_state_carries_the_sums(cut):
    heads = heads_of()
    times, asked = [5, 5, 900, YEAR], [5, 900, YEAR, 2 * YEAR]
    h = torch.randn(4, 8)
    batch = batch_of([times], [asked])
    gaps = Gaps.of(batch)
    whole, last = heads(h, gaps, batch.offsets, None)
    parts, state = [], heads.initial_state(1)
    for where in (slice(cut), slice(cut, None)):
        piece = Gaps(since=gaps.since[where], first=gaps.first[where], until=gaps.until[where])
        offsets = torch.tensor([0, len(piece.since)])
        out, state = heads(h[where], piece, offsets, state)
        parts.append(out)
    close(torch.cat(parts), whole, 1e-6)
    close(state, last, 1e-6)


@torch.no_grad()
def test_a_head_forgets_at_its_scale():
    heads = heads_of()
    assert heads.log_scale.exp()[[0, -1]].tolist() == pytest.approx(list(SCALES), rel=1e-4)
    alone, after = (batch_of([[0, wait]], [[wait, wait]]) for wait in (0, 3 * HOUR))
    h = torch.randn(2, 8)
    sums = [heads(h, Gaps.of(batch), batch.offsets, None)[1][0, :, -1] for batch in (alone, after)]
    assert sums[0].tolist() == pytest.approx([2, 2, 2, 2], rel=1e-3)
    assert sums[1].tolist() == pytest.approx([1 + float(torch.exp(-3 * HOUR / s)) for s in heads.log_scale.exp()])


@torch.no_grad()
def test_the_same_answer_later_is_another():
    heads = heads_of()
    h = torch.randn(3, 8)
    soon, late = (batch_of([[0, 10, 20]], [[10, 20, at]]) for at in (21, YEAR))
    first, second = (heads(h, Gaps.of(batch), batch.offsets, None)[0] for batch in (soon, late))
    torch.testing.assert_close(first[:2], second[:2])
    assert not torch.allclose(first[2], second[2])


def test_an_encoder_has_them_only_where_time_is_read():
    def count(time, heads):
        encoder = HydraEncoder(small_config(time_heads=heads), time=time)
        return sum(parameter.numel() for parameter in encoder.parameters())

    d, layers, features = 8, 2, 2 * 64 * 8
    assert count(False, 4) == count(False, 0)
    assert count(True, 0) == count(False, 0) + features
    scales, norm, w_vz, w_o = 4, d, 2 * d * 2 * d, (2 * d + 4) * d
    assert count(True, 4) == count(True, 0) + layers * (scales + norm + w_vz + w_o)
