import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from hydrarec.losses.gbce import gbce
from hydrarec.losses.sampled import sampled_softmax
from hydrarec.losses.softmax import full_softmax


def problem(events: int, items: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(events, width, generator=generator, dtype=dtype)
    catalog = torch.randn(items, width, generator=generator, dtype=dtype)
    return hidden, catalog, torch.randint(items, (events,), generator=generator)


def reference(hidden, catalog, targets, scale):
    hidden, catalog = hidden.clone().requires_grad_(), catalog.clone().requires_grad_()
    loss = cross_entropy(hidden @ catalog.T * scale, targets)
    loss.backward()
    return loss.detach(), hidden.grad, catalog.grad


def ours(hidden, catalog, targets, scale, **chunks):
    hidden, catalog = hidden.clone().requires_grad_(), catalog.clone().requires_grad_()
    loss = full_softmax(hidden, catalog, targets, scale, **chunks)
    loss.backward()
    return loss.detach(), hidden.grad, catalog.grad


@given(
    events=st.integers(1, 40),
    items=st.integers(1, 50),
    width=st.integers(1, 9),
    scale=st.floats(0.1, 30),
    chunk_events=st.integers(1, 50),
    chunk_items=st.integers(1, 60),
    seed=st.integers(0, 999),
)
@settings(max_examples=60)
def test_value_and_gradients_are_those_of_cross_entropy(events, items, width, scale, chunk_events, chunk_items, seed):
    given_problem = problem(events, items, width, seed)
    got = ours(*given_problem, scale, chunk_events=chunk_events, chunk_items=chunk_items)
    for mine, theirs in zip(got, reference(*given_problem, scale), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-11)


def test_gradcheck():
    hidden, catalog, targets = problem(5, 7, 3)
    assert torch.autograd.gradcheck(
        lambda h, c: 3 * full_softmax(h, c, targets, 2.0, 2, 3),
        (hidden.requires_grad_(), catalog.requires_grad_()),
    )


@pytest.mark.parametrize("chunk_items", [4096, 100])
def test_float32_at_a_real_size_and_extreme_logits(chunk_items):
    hidden, catalog, targets = problem(700, 1000, 16, dtype=torch.float32)
    expected = reference(hidden.double(), catalog.double(), targets, 20.0)  # logits to about 400: exp overflows
    for mine, theirs in zip(ours(hidden, catalog, targets, 20.0, chunk_items=chunk_items), expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=1e-5)


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


def test_never_more_than_one_tile_of_logits(monkeypatch):
    monkeypatch.setattr("hydrarec.losses.softmax.softmax_fits", lambda *_: False)
    hidden, catalog, targets = problem(300, 400, 2, dtype=torch.float32)
    with Largest() as largest:
        ours(hidden, catalog, targets, 1.0, chunk_events=32, chunk_items=64)
    assert largest.elements == 32 * 64
    with Largest() as largest:
        reference(hidden, catalog, targets, 1.0)
    assert largest.elements == 300 * 400  # the instrument sees what it should see


@pytest.mark.parametrize("sampled", [sampled_softmax, gbce])
def test_sampled_losses_hold_one_chunk_too(sampled):
    hidden, catalog, targets = problem(300, 400, 2, dtype=torch.float32)
    negatives = torch.arange(100)
    with Largest() as largest:
        loss = sampled(hidden.requires_grad_(), catalog, targets, negatives, torch.zeros(100), chunk_events=32)
        loss.backward()
    assert largest.elements == 32 * 100


def test_autocast_computes_in_float32():
    hidden, catalog, targets = problem(50, 60, 8, dtype=torch.float32)
    exact = full_softmax(hidden, catalog, targets, 5.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert full_softmax(hidden, catalog, targets, 5.0) == exact
    half = hidden.bfloat16().requires_grad_()
    loss = full_softmax(half, catalog, targets, 5.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss.detach(), full_softmax(hidden.bfloat16().float(), catalog, targets, 5.0))


def test_one_gradient_only_and_none():
    hidden, catalog, targets = problem(9, 11, 4)
    _, d_hidden, d_catalog = reference(hidden, catalog, targets, 1.0)
    leaf = hidden.clone().requires_grad_()
    full_softmax(leaf, catalog, targets).backward()
    torch.testing.assert_close(leaf.grad, d_hidden)
    leaf = catalog.clone().requires_grad_()
    full_softmax(hidden, leaf, targets).backward()
    torch.testing.assert_close(leaf.grad, d_catalog)
    assert not full_softmax(hidden, catalog, targets).requires_grad


def test_no_events_and_non_finite_input():
    hidden, catalog, targets = problem(4, 5, 3)
    assert full_softmax(hidden[:0], catalog, targets[:0]) == 0
    hidden[1, 1] = torch.nan
    assert full_softmax(hidden, catalog, targets).isnan()
