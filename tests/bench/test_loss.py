"""The loss that is measured is the one it is compared with."""

import pytest
import torch
import torch.nn.functional as F

from hydrarec.bench import softmax


def test_both_compute_the_same_loss_and_gradients():
    torch.manual_seed(0)
    hidden, catalog = (F.normalize(torch.randn(n, 8), dim=1).requires_grad_() for n in (30, 50))
    targets = torch.randint(50, (30,))
    values = [loss(hidden, catalog, targets) for loss in (softmax._ours, softmax._torch)]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
    ours, theirs = (torch.autograd.grad(value, [hidden, catalog]) for value in values)
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)


def test_the_value_is_of_the_largest_catalog(tiny):
    measured = softmax.softmax_vs_torch(tiny)
    rate = {row.name: row.events_per_s for row in measured.rows}
    assert set(rate) == {f"{name}, {n} items" for name in ("full softmax", "PyTorch") for n in (20, 50)}
    assert measured.value == pytest.approx(rate["full softmax, 50 items"] / rate["PyTorch, 50 items"])
    assert {row.threads for row in measured.rows} == {1}
