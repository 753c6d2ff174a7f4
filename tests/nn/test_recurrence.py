from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from support import close, offsets_of, ragged

from hydrarec.nn.recurrence import by_turns, packed, recurrence, turns


def by_loop(u, decay, offsets):
    """h_t = a_t h_{t-1} + u_t, one event after another; everything packed."""
    rows = []
    for first, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        h = torch.zeros_like(u[0]) if len(u) else None
        for t in range(first, end):
            h = (decay if decay.dim() == 1 else decay[t]) * h + u[t]
            rows.append(h)
    return torch.stack(rows) if rows else u * 1


def by_recurrence(u, decay, offsets):
    order = turns(offsets)
    each = decay if decay.dim() == 1 else by_turns(decay, order)
    return packed(recurrence(by_turns(u, order), each, order), order)


def draw(lengths, constant, H=3, dtype=torch.complex128):
    generator = torch.Generator().manual_seed(7)
    T = sum(lengths)
    modulus = 0.5 + 0.5 * torch.rand((H,) if constant else (T, H), generator=generator, dtype=torch.float64)
    angle = 6.28 * torch.rand(modulus.shape, generator=generator, dtype=torch.float64)
    u = torch.randn(T, H, 2, generator=generator, dtype=torch.float64)
    return torch.view_as_complex(u).to(dtype), torch.polar(modulus, angle).to(dtype)


@pytest.mark.parametrize("constant", [True, False])
@settings(max_examples=30)
@given(lengths=ragged(9))
def test_it_is_the_loop_and_so_are_its_gradients(constant, lengths):
    offsets = offsets_of(lengths)
    results = []
    for form in (by_loop, by_recurrence):
        u, decay = (each.requires_grad_() for each in draw(lengths, constant))
        h = form(u, decay, offsets)
        weights = torch.arange(1.0, h.numel() + 1, dtype=torch.float64).view(h.shape)
        (h * weights * (1 - 2j)).real.sum().backward()
        results.append((h.detach(), u.grad, decay.grad if decay.grad is not None else torch.zeros_like(decay)))
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("constant", [True, False])
def test_finite_differences(constant):
    offsets = offsets_of([3, 0, 1, 4])
    u, decay = (each.requires_grad_() for each in draw([3, 0, 1, 4], constant, H=2))
    assert torch.autograd.gradcheck(lambda u, decay: by_recurrence(u, decay, offsets), (u, decay))


def test_single_precision_over_a_long_history():
    offsets = offsets_of([900, 30])
    u, decay = draw([900, 30], True)
    decay = decay / decay.abs() * 0.999
    got = by_recurrence(u.to(torch.complex64), decay.to(torch.complex64), offsets)
    expected = by_loop(u, decay, offsets)
    close(torch.view_as_real(got), torch.view_as_real(expected), 1e-4)


@given(lengths=ragged(9))
def test_turns(lengths):
    offsets = offsets_of(lengths)
    order = turns(offsets)
    T = sum(lengths)
    assert sorted(order.order.tolist()) == list(range(T))
    assert order.order[order.inverse].tolist() == list(range(T))
    assert order.counts == [sum(length > t for length in lengths) for t in range(max(lengths))]
    # Row by row, a turn's histories are the first of the turn before.
    user = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    rows = user[order.order].split(order.counts)
    for before, after in pairwise(rows):
        assert before[: len(after)].tolist() == after.tolist()
    x = torch.arange(T * 2.0).view(T, 2)
    assert torch.equal(packed(by_turns(x, order), order), x)


def test_a_decay_that_needs_no_gradient_gets_none():
    offsets = offsets_of([3, 2])
    u, decay = draw([3, 2], True)
    by_recurrence(u.requires_grad_(), decay, offsets).abs().sum().backward()
    assert u.grad is not None
    assert decay.grad is None
