"""The feed-forward kernel against the same composed of PyTorch's parts, in float64."""

import pytest
import torch
import torch.nn.functional as F
from kernel_cases import needs_kernels
from support import close

from hydrarec.ops.elementwise import dropout_add
from hydrarec.ops.feed_forward import feed_forward, feed_forward_backward, feed_forward_kernel

pytestmark = needs_kernels
EPS = 1e-6


def inputs(T, d, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((T, d), (d,), (2 * n, d), (d, n))
    scales = (1, 1, d**-0.5, n**-0.5)
    return [torch.randn(*shape, generator=generator) * scale for shape, scale in zip(shapes, scales, strict=True)]


def composed(h, norm, gate_up, down, mask):
    gate, up = (F.rms_norm(h, norm.shape, norm, EPS) @ gate_up.T).chunk(2, dim=1)
    return h + (F.silu(gate) * up) @ down.T * mask


def mask_of(T, d, p, seed):
    """1 / (1 - p) or 0: what dropout's kernel makes of ones, which the feed-forward part must make, too."""
    return torch.ops.hydrarec.dropout_add(None, torch.ones(T, d), p, seed)


@pytest.mark.parametrize(
    ("T", "d", "n"), [(1, 1, 1), (5, 3, 2), (97, 16, 32), (200, 64, 128), (33, 50, 7), (193, 130, 40)]
)
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_values_and_gradients(T, d, n, p):
    given = inputs(T, d, n)
    mine = [t.clone().requires_grad_() for t in given]
    exact = [t.double().requires_grad_() for t in given]
    y = feed_forward(*mine, EPS, p, 7)
    expected = composed(*exact, mask_of(T, d, p, 7).double())
    close(y, expected, 1e-6)
    dy = torch.randn(T, d)
    got = torch.autograd.grad(y, mine, dy)
    for one, other in zip(got, torch.autograd.grad(expected, exact, dy.double()), strict=True):
        close(one, other, 1e-5)


def test_no_rows():
    given = [t.requires_grad_() for t in inputs(0, 8, 4)]
    y = feed_forward(*given, EPS, 0.5, 1)
    assert y.shape == (0, 8)
    for gradient, weight in zip(torch.autograd.grad(y, given, torch.empty(0, 8)), given, strict=True):
        assert gradient.shape == weight.shape
        assert not gradient.any()


def test_rows_may_be_strided():
    h, *weights = inputs(40, 16, 24)
    wide = torch.stack([h, h], dim=1).flatten(1)  # (40, 32)
    turned = h.T.contiguous().T
    expected = feed_forward(h, *weights, EPS, 0.2, 3)
    for view in (wide[:, :16], turned):
        assert torch.equal(feed_forward(view, *weights, EPS, 0.2, 3), expected)


def test_threads_agree():
    given, results = inputs(500, 32, 64), []
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            leaves = [t.clone().requires_grad_() for t in given]
            y = feed_forward(*leaves, EPS, 0.1, 5)
            results.append([y, *torch.autograd.grad(y.sum(), leaves)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            close(a, b, 1e-5)


def test_not_a_number_is_not_swallowed():
    h, *weights = inputs(10, 16, 8)
    h[3, 5] = torch.nan
    y = feed_forward(h, *weights, EPS, 0.0, 0)
    assert y[3].isnan().all()
    assert torch.isfinite(y[:3]).all()
    assert torch.isfinite(y[4:]).all()


def test_operators():
    given = [t.requires_grad_() for t in inputs(20, 8, 6)]
    plain = [t.detach() for t in given]
    for keep in (True, False):
        torch.library.opcheck(feed_forward_kernel, (*given, EPS, 0.2, 9, keep))
        kept = feed_forward_kernel(*plain, EPS, 0.2, 9, keep)[1]
        torch.library.opcheck(feed_forward_backward, (torch.randn(20, 8), *plain, kept, EPS, 0.2, 9))


def test_kept_or_computed_again():
    """The gradient is the same whether the products were kept or not."""
    given, dy = inputs(70, 12, 10), torch.randn(70, 12)
    kept = [feed_forward_kernel(*given, EPS, 0.2, 9, keep)[1] for keep in (True, False)]
    assert [len(k) for k in kept] == [70, 0]
    one, other = (feed_forward_backward(dy, *given, k, EPS, 0.2, 9) for k in kept)
    for a, b in zip(one, other, strict=True):
        close(a, b, 1e-6)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("wrong", [lambda t: t[:-1] if len(t) > 20 else torch.cat([t, t]), torch.Tensor.double])
def test_wrong_arguments_raise(place, wrong):
    given = inputs(20, 8, 6)
    given[place] = wrong(given[place]) if place else given[place].double()
    with pytest.raises(ValueError, match="expected"):
        feed_forward(*given, EPS, 0.0, 0)


def test_the_mask_is_that_of_the_residual():
    torch.manual_seed(4)
    y = dropout_add(torch.zeros(64, 32), torch.ones(64, 32), 0.25, True)
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert 0.2 < (y == 0).float().mean() < 0.3
