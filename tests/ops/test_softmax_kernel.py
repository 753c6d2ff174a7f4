"""The kernel of the full softmax against cross-entropy in float64: every instruction set, with and without tiles."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import ISAS, LOADED, near, needs_kernels, using
from support import close
from torch.nn.functional import cross_entropy

from hydrarec.losses.config import LossConfig, loss
from hydrarec.losses.softmax import full_softmax
from hydrarec.ops import library
from hydrarec.ops.softmax import softmax_cross_entropy, softmax_fits

pytestmark = needs_kernels
SETS = [*(["tiles"] if LOADED and LOADED.tiles else []), *ISAS]


@contextmanager
def on(name, threads=1):
    """An instruction set, or the widest with matrix tiles."""
    with using("avx512" if name == "tiles" else name, threads):
        library.kernels().tiles = name == "tiles"
        yield


def problem(events, items, width, largest=4.0, seed=0):
    """Logits up to about ``largest``."""
    generator = torch.Generator().manual_seed(seed)
    scale = (largest / 4 / width**0.5) ** 0.5  # of a standard normal product, 4 is seldom exceeded
    hidden = torch.randn(events, width, generator=generator) * scale
    catalog = torch.randn(items, width, generator=generator) * scale
    return hidden, catalog, torch.randint(items, (events,), generator=generator)


def reference(hidden, catalog, targets):
    hidden, catalog = hidden.double().requires_grad_(), catalog.double().requires_grad_()
    loss = cross_entropy(hidden @ catalog.T, targets)
    return loss.detach(), *torch.autograd.grad(loss, (hidden, catalog))


def sums_of_absolute_terms(hidden, catalog, targets):
    """Of both gradients: what is left where they cancel is no more accurate than this."""
    terms = (hidden.double() @ catalog.double().T).softmax(1)
    terms[torch.arange(len(targets)), targets] += 1
    terms /= len(targets)
    return terms @ catalog.double().abs(), terms.T @ hidden.double().abs()


def agree(name, given_problem, tolerance=1e-5, threads=1, cancels=True, of_mean=None, half=False):
    """The mean to 3e-6 of itself, or to ``of_mean``; gradients against their largest value, or that of their terms,
    which may cancel."""
    with on(name, threads):
        loss, *gradients = softmax_cross_entropy(*given_problem, half=half)
    expected, *exact = reference(*given_problem)
    assert abs(loss.double() - expected) <= (of_mean or 3e-6 * max(expected, 1.0))
    for mine, theirs, terms in zip(gradients, exact, sums_of_absolute_terms(*given_problem), strict=True):
        near(mine, theirs, tolerance, terms.max() if cancels else 0.0)


SHAPES = [(1, 1, 1), (1, 2, 1), (5, 3, 2), (2, 130, 65), (130, 257, 64), (300, 129, 32), (129, 999, 100)]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("events", "items", "width"), SHAPES)
def test_value_and_gradients(name, events, items, width):
    agree(name, problem(events, items, width))


@pytest.mark.parametrize("name", SETS)
@given(
    events=st.integers(1, 300),
    items=st.integers(2, 400),
    width=st.integers(1, 140),
    largest=st.sampled_from([0.1, 4.0, 20.0]),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 999),
)
@settings(max_examples=40)
def test_any_shape(name, events, items, width, largest, threads, seed):
    agree(name, problem(events, items, width, largest, seed), threads=threads)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("seed", range(3))
def test_logits_to_a_hundred(name, seed):
    """What float32 itself does to such a logit is 1e-5 of its exponential."""
    agree(name, problem(200, 300, 64, 100.0, seed), 3e-5)


@pytest.mark.parametrize("name", SETS)
def test_certain_targets_have_accurate_gradients(name):
    """What is left of a probability once 1 is subtracted is not lost in what 1 is rounded to."""
    hidden, catalog, _ = problem(40, 50, 32, 20.0)
    targets = (hidden @ catalog.T).argmax(1)
    probability = (hidden.double() @ catalog.double().T).softmax(1).gather(1, targets[:, None])[:, 0]
    sure = ((probability > 0.6) & (probability < 0.95)).nonzero()[:, 0]
    assert len(sure) > 5
    for event in sure:
        agree(name, (hidden[event : event + 1], catalog, targets[event : event + 1]), 3e-5, cancels=False)


@pytest.mark.parametrize("name", SETS)
def test_ties_and_targets_at_every_place(name):
    hidden, catalog, _ = problem(300, 300, 48)
    catalog[1::2] = catalog[::2]
    agree(name, (hidden, catalog, torch.arange(300)))
    agree(name, (hidden, catalog, torch.full((300,), 299)))
    agree(name, (torch.zeros(7, 5), torch.ones(9, 5), torch.arange(7)))
    agree(name, (torch.ones(7, 5), torch.ones(1, 5), torch.zeros(7, dtype=torch.int64)))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("rising", [1.0, -1.0])
def test_logits_that_rise_all_the_way_and_fall(name, rising):
    """The reference for exponentials must follow, or remain."""
    slope = torch.linspace(-60, 60, 500)[:, None] * rising
    agree(name, (torch.ones(20, 1) * torch.linspace(0.5, 1.5, 20)[:, None], slope, torch.arange(20) * 25), 2e-5)


@pytest.mark.parametrize("name", SETS)
def test_rows_of_very_different_size(name):
    hidden, catalog, targets = problem(100, 200, 40)
    agree(name, (hidden * 10.0 ** torch.linspace(-12, 0, 100)[:, None], catalog, targets))
    agree(name, (hidden, catalog * 10.0 ** torch.linspace(-12, 0, 200)[:, None], targets))
    agree(name, (hidden * 1e-20, catalog * 1e20, targets))
    agree(name, (torch.zeros_like(hidden), catalog, targets))


@pytest.mark.parametrize("name", SETS)
def test_no_events_and_no_gradients(name):
    hidden, catalog, targets = problem(150, 200, 24)
    with on(name):
        loss, d_hidden, d_catalog = softmax_cross_entropy(hidden[:0], catalog, targets[:0])
        assert (loss, d_hidden.shape, d_catalog.any()) == (0, (0, 24), False)
        alone, *nothing = softmax_cross_entropy(hidden, catalog, targets, False)
        assert alone == softmax_cross_entropy(hidden, catalog, targets)[0]
        assert [t.numel() for t in nothing] == [0, 0]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_shows_in_the_mean(name, bad):
    for which, row in ((0, 0), (0, 149), (1, 0), (1, 199)):
        given_problem = problem(150, 200, 24)
        given_problem[which][row, 3] = bad
        with on(name):
            assert softmax_cross_entropy(*given_problem)[0].isnan()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_for_the_same_threads(name, threads):
    given_problem = problem(400, 900, 33)
    with on(name, threads):
        first, again = (softmax_cross_entropy(*given_problem) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
    agree(name, given_problem, threads=threads)


@pytest.mark.parametrize("name", SETS)
def test_more_events_than_stay_in_cache(name):
    agree(name, problem(3000, 300, 64), threads=2)


@pytest.mark.parametrize("name", SETS)
def test_rows_may_be_strided(name):
    hidden, catalog, targets = problem(150, 200, 24)
    with on(name):
        expected = softmax_cross_entropy(hidden, catalog, targets)
        wide = torch.cat([hidden, torch.full_like(hidden, torch.nan)], 1)[:, :24]
        got = softmax_cross_entropy(wide, catalog.T.contiguous().T, torch.stack([targets, targets], 1)[:, 1])
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)


def halves_agree(name, given_problem, threads=1):
    """Against float64: a rounded operand is off by 2^-9 of itself at most, and so is a rounded gradient of a logit."""
    hidden, catalog, _ = given_problem
    off = float((hidden.abs() @ catalog.abs().T).max()) * 2**-8
    agree(name, given_problem, 2 * off + 2**-7, threads, of_mean=2 * off + 1e-6, half=True)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("events", "items", "width"), SHAPES)
def test_halves(name, events, items, width):
    halves_agree(name, problem(events, items, width))


@pytest.mark.parametrize("name", SETS)
@given(
    events=st.integers(1, 300),
    items=st.integers(2, 400),
    width=st.integers(1, 140),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 999),
)
@settings(max_examples=30)
def test_halves_of_any_shape(name, events, items, width, threads, seed):
    halves_agree(name, problem(events, items, width, 4.0, seed), threads)


@pytest.mark.parametrize("name", SETS)
def test_halves_are_rounded_to_nearest(name):
    """Between the neighbours 1 and 1 + 2^-7, 1 + 3 * 2^-9 is nearer to the upper."""
    logits = []
    for value in (1.0, 1 + 3 * 2**-9, 1 + 2**-7):
        with on(name):
            both = torch.tensor([[value], [0.0]])
            logits.append(float(softmax_cross_entropy(torch.ones(1, 1), both, torch.zeros(1).long(), half=True)[0]))
    assert logits[0] > logits[1] == logits[2]


@pytest.mark.parametrize("name", SETS)
def test_halves_that_lose_nothing(name):
    """Small whole numbers and probabilities of 1/64 are bfloat16; all of this but log2(e) h is exact."""
    catalog = torch.randint(-3, 4, (64, 40)).float()
    targets = torch.arange(64)
    with on(name):
        loss, d_hidden, d_catalog = softmax_cross_entropy(torch.zeros(64, 40), catalog, targets, half=True)
    close(loss, torch.tensor(64.0).log(), 1e-6)
    close(d_hidden, (catalog.mean(0) - catalog) / 64, 1e-6)
    assert not d_catalog.any()


@pytest.mark.parametrize("name", SETS)
def test_halves_with_bad_input_none_and_the_same_bits(name):
    hidden, catalog, targets = problem(150, 200, 24)
    with on(name, 2):
        assert softmax_cross_entropy(hidden[:0], catalog, targets[:0], half=True)[0] == 0
        first, again = (softmax_cross_entropy(hidden, catalog, targets, half=True) for _ in range(2))
        alone, *nothing = softmax_cross_entropy(hidden, catalog, targets, False, half=True)
        assert alone == first[0]
        assert [t.numel() for t in nothing] == [0, 0]
        for bad in (torch.nan, torch.inf, -torch.inf):
            spoilt = catalog.clone()
            spoilt[199, 3] = bad
            assert softmax_cross_entropy(hidden, spoilt, targets, half=True)[0].isnan()
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", SETS)
def test_the_loss_in_halves(name):
    """The setting reaches the kernel, and what stands in for it."""
    hidden, catalog, targets = problem(150, 200, 24)
    settings_of_loss = LossConfig(precision="bfloat16")
    with on(name):
        found = loss(settings_of_loss, hidden, catalog, targets, 3.0)
        exact = loss(LossConfig(), hidden, catalog, targets, 3.0)
    rounded = reference((3.0 * hidden).bfloat16().float(), catalog.bfloat16().float(), targets)[0]
    assert found != exact
    close(found, rounded, 1e-2 if name == "tiles" else 1e-5)


def test_the_loss_takes_it_where_it_is_faster():
    hidden, catalog, targets = problem(150, 200, 24)
    assert softmax_fits(hidden, catalog) == (LOADED.isa != "plain")
    assert not softmax_fits(hidden.double(), catalog)
    assert not softmax_fits(hidden, catalog[:0])
    leaves = hidden.requires_grad_(), catalog.requires_grad_()
    loss = full_softmax(*leaves, targets, 3.0)
    expected, *exact = reference(hidden.detach() * 3.0, catalog.detach(), targets)
    close(loss.detach(), expected, 1e-6)
    for one, other, factor in zip(torch.autograd.grad(2 * loss, leaves), exact, (6.0, 2.0), strict=True):
        close(one, other * factor, 1e-5)


def test_operator():
    torch.library.opcheck(softmax_cross_entropy, problem(20, 30, 8))
    torch.library.opcheck(softmax_cross_entropy, (*problem(20, 30, 8), False))
    torch.library.opcheck(softmax_cross_entropy, (*problem(20, 30, 8), True, True))


def test_wrong_arguments_raise():
    hidden, catalog, targets = problem(20, 30, 8)
    for wrong in (
        (hidden[:, :7], catalog, targets),
        (hidden.double(), catalog, targets),
        (hidden, catalog[0], targets),
        (hidden, catalog[:0], targets),
        (hidden[:, :0], catalog[:, :0], targets),
        (hidden, catalog, targets[:-1]),
        (hidden, catalog, targets.int()),
        (hidden, catalog, targets + 30),
        (hidden, catalog, targets - 30),
    ):
        with pytest.raises(ValueError, match=r"hidden|catalog|targets"):
            softmax_cross_entropy(*wrong)
