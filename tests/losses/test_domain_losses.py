"""Losses among the items of the target's own domain, against the softmax over a masked row of logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close
from torch.nn.functional import cross_entropy

from hydrarec.config import build
from hydrarec.errors import InputError
from hydrarec.losses.config import LossConfig, loss, make_loss
from hydrarec.losses.domains import ByDomain
from hydrarec.losses.gbce import gbce

V, T, D = 40, 60, 6
SCATTERED = torch.arange(V) * 7 % 3
TOGETHER = torch.tensor([2, 0, 1]).repeat_interleave(torch.tensor([20, 5, 15]))  # not in the order of their codes


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(events=T, items=V, width=D, seed=0, dtype=torch.float64):
    generator = seeded(seed)
    hidden = torch.randn(events, width, generator=generator, dtype=dtype)
    catalog = torch.randn(items, width, generator=generator, dtype=dtype)
    return hidden, catalog, torch.randint(items, (events,), generator=generator)


def found(function, hidden, catalog, *others):
    """Value and both gradients."""
    hidden, catalog = hidden.clone().requires_grad_(), catalog.clone().requires_grad_()
    value = function(hidden, catalog, *others)
    value.backward()
    return value.detach(), hidden.grad, catalog.grad


def masked(item_domains):
    """Cross-entropy where logits of other domains' items are minus infinity, in float64."""

    def function(hidden, catalog, targets, scale):
        logits = hidden.double() @ catalog.double().T * scale
        other = item_domains[targets][:, None] != item_domains
        return cross_entropy(logits.masked_fill(other, -torch.inf), targets)

    return function


@given(
    events=st.integers(1, 30),
    codes=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    width=st.integers(1, 9),
    scale=st.floats(0.1, 30),
    chunk=st.integers(1, 50),
    together=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(max_examples=80)
def test_it_is_the_masked_full_softmax(events, codes, width, scale, chunk, together, seed):
    domains = torch.tensor(sorted(codes, key=lambda code: (code * 3) % 5) if together else codes, dtype=torch.int16)
    given_problem = problem(events, len(codes), width, seed)
    config = LossConfig(chunk_events=chunk, chunk_items=chunk)
    got = found(make_loss(config, torch.ones(len(codes)), domains), *given_problem, scale)
    for mine, theirs in zip(got, found(masked(domains), *given_problem, scale), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("domains", [SCATTERED, TOGETHER], ids=["scattered", "together"])
def test_in_float32_at_a_real_size(domains):
    domains = domains.repeat_interleave(25)
    hidden, catalog, targets = problem(700, 25 * V, 32, dtype=torch.float32)
    hidden, catalog = (torch.nn.functional.normalize(each, dim=1) for each in (hidden, catalog))
    got = found(make_loss(LossConfig(), torch.ones(len(catalog)), domains), hidden, catalog, targets, 10.0)
    expected = found(masked(domains), hidden.double(), catalog.double(), targets, 10.0)
    for mine, theirs in zip(got, expected, strict=True):
        close(mine, theirs, 1e-5)


@pytest.mark.parametrize("kind", ["softmax", "sampled", "gbce"])
def test_without_domains_nothing_changes(kind):
    hidden, catalog, targets = problem(dtype=torch.float32)
    counts = targets.bincount(minlength=V)
    config = LossConfig(kind=kind, negatives=8)
    plain = make_loss(config, counts, None, seeded(1))
    expected = found(plain, hidden, catalog, targets, 2.0)
    single = torch.zeros(V, dtype=torch.int16)
    got = found(make_loss(config, counts, single, seeded(1)), hidden, catalog, targets, 2.0)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(got, expected, strict=True))
    if kind == "softmax":
        assert expected[0] == loss(config, hidden, catalog, targets, 2.0)


# In-batch negatives are the targets of other events: of these there are fewer than draws of the other samplers.
@pytest.mark.parametrize(
    ("sampler", "events", "most", "near"),
    [("uniform", T, 100_000, 0.03), ("popularity", T, 100_000, 0.03), ("in_batch", 6000, 1000, 0.1)],
)
@pytest.mark.parametrize("domains", [SCATTERED, TOGETHER], ids=["scattered", "together"])
def test_sampled_softmax_converges_to_the_masked_full_softmax(sampler, events, most, near, domains):
    popularity = 1000 / torch.arange(1, V + 1) ** 0.7
    hidden, catalog, _ = problem(dtype=torch.float32)
    hidden = hidden[torch.arange(events) % T]
    targets = torch.multinomial(popularity, events, replacement=True, generator=seeded(5))
    expected = found(masked(domains), hidden, catalog, targets, 1.0)

    def error(negatives):
        config = LossConfig(kind="sampled", sampler=sampler, negatives=negatives)
        function = make_loss(config, (100 * popularity).long(), domains, seeded(7))
        got = found(function, hidden, catalog, targets, 1.0)
        return max(float((a - b).norm() / b.norm()) for a, b in zip(got, expected, strict=True))

    errors = [error(negatives) for negatives in (20, 200, most)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < near


def test_gbce_is_that_of_each_domains_catalog_by_itself():
    hidden, catalog, targets = problem()
    config = LossConfig(kind="gbce", sampler="popularity", negatives=7)
    counts = torch.arange(1, V + 1)
    got = make_loss(config, counts, TOGETHER, seeded(2))(hidden, catalog, targets, 3.0)
    generator, total = seeded(2), 0.0
    for code in (2, 0, 1):  # in the order of their first items
        items, events = (domains.eq(code).nonzero()[:, 0] for domains in (TOGETHER, TOGETHER[targets]))
        weight = counts[items] ** config.smoothing
        chosen = torch.rand(7, generator=generator, dtype=torch.float64)
        rows = torch.searchsorted(weight.double().cumsum(0) / weight.sum(), chosen)
        log_expected = (7 * weight / weight.sum())[rows].log()
        local = targets[events] - items[0]
        total += len(events) * gbce(hidden[events], catalog[items], local, rows, log_expected, 3.0, 0.75)
    torch.testing.assert_close(got, total / T, rtol=1e-6, atol=0)


def test_items_that_stand_together_are_not_copied():
    catalog = torch.randn(V, D)
    parts = ByDomain(TOGETHER).split(catalog)
    assert [len(part) for part in parts] == [20, 5, 15]
    assert all(part.untyped_storage().data_ptr() == catalog.untyped_storage().data_ptr() for part in parts)
    scattered = ByDomain(SCATTERED)
    parts = scattered.split(catalog)
    for row in range(V):
        assert torch.equal(parts[scattered.number[row]][scattered.place[row]], catalog[row])


def test_a_domain_without_items_no_events_and_non_finite_input():
    hidden, catalog, targets = problem()
    domains = torch.where(SCATTERED == 1, 4, SCATTERED)  # codes 0, 2 and 4
    for kind in ("softmax", "sampled"):
        function = make_loss(LossConfig(kind=kind), torch.ones(V), domains)
        assert function(hidden, catalog, targets, 1.0).isfinite()
        assert function(hidden[:0], catalog, targets[:0], 1.0) == 0
    hidden[1, 1] = torch.nan
    assert make_loss(LossConfig(), torch.ones(V), domains)(hidden, catalog, targets, 1.0).isnan()


def test_half_precision_is_computed_in_float32():
    hidden, catalog, targets = problem(dtype=torch.float32)
    function = make_loss(LossConfig(), torch.ones(V), SCATTERED)
    half = hidden.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = found(function, half, catalog, targets, 5.0)
    expected = found(function, half.float(), catalog, targets, 5.0)
    assert got[0] == expected[0]
    assert got[0].dtype == torch.float32
    assert got[1].dtype == torch.bfloat16
    torch.testing.assert_close(got[2], expected[2])


def test_the_setting():
    assert build(LossConfig, {}, "loss").negatives_from == "own"
    with pytest.raises(InputError, match=r"loss\.negatives_from is 'others'; it must be one of 'own', 'all'"):
        build(LossConfig, {"negatives_from": "others"}, "loss")


def test_numbers_follow_the_first_items():
    domains = ByDomain(torch.tensor([5, 1, 5, 0, 1], dtype=torch.int16))
    assert domains.number.tolist() == [0, 1, 0, 2, 1]
    assert domains.place.tolist() == [0, 0, 1, 0, 1]
    assert domains.sizes == [2, 2, 1, 0, 0, 0]
