import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from hydrarec.errors import InputError
from hydrarec.losses.config import LossConfig, loss, make_sampler
from hydrarec.losses.gbce import gbce
from hydrarec.losses.sampled import sampled_softmax
from hydrarec.losses.samplers import InBatch, Mixed, Popularity, Sampler, Uniform

V, T, D = 40, 30, 6
SAMPLERS = ["uniform", "popularity", "in_batch", "mixed"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def skewed() -> torch.Tensor:
    return (1000 / torch.arange(1, V + 1) ** 1.2).long()


def problem(events: int = T):
    generator = seeded(3)
    hidden = torch.randn(events, D, generator=generator)
    catalog = torch.randn(V, D, generator=generator)
    targets = torch.multinomial(skewed().float(), events, replacement=True, generator=generator)
    return hidden, catalog, targets


def value_and_gradients(function, hidden, catalog):
    hidden, catalog = hidden.clone().requires_grad_(), catalog.clone().requires_grad_()
    value = function(hidden, catalog)
    value.backward()
    return value.detach()[None], hidden.grad, catalog.grad


def distance(got, expected) -> float:
    """The largest relative error (2-norm) of the value, the hidden gradient and the catalog gradient."""
    return max(float((a - b).norm() / b.norm()) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("kind", SAMPLERS)
def test_samplers_draw_as_often_as_they_say(kind):
    targets = torch.multinomial(skewed().float(), 200_000, replacement=True, generator=seeded())
    config = LossConfig(kind="sampled", sampler=kind, negatives=100_000)
    sampler = make_sampler(config, skewed(), seeded(1))
    rows, log_expected = sampler.sample(targets)
    assert len(rows) == 100_000
    drawn = torch.bincount(rows, minlength=V).float()
    expected = torch.zeros(V).index_put((rows,), log_expected.exp())
    assert ((drawn - expected).abs() <= 5 * expected.sqrt() + 1).all()
    again, _ = make_sampler(config, skewed(), seeded(1)).sample(targets)
    assert torch.equal(rows, again)


def test_popularity_reaches_items_without_events_and_never_leaves_the_catalog():
    sampler = Popularity(torch.tensor([0, 9, 0]), 5000, generator=seeded())
    rows, log_expected = sampler.sample(torch.tensor([1]))
    assert rows.unique().tolist() == [0, 1, 2]
    assert log_expected.isfinite().all()


def test_in_batch_takes_the_whole_of_a_small_batch():
    targets = torch.tensor([3, 3, 1])
    rows, log_expected = InBatch(torch.tensor([1, 2, 3, 4]), 8).sample(targets)
    assert torch.equal(rows, targets)
    torch.testing.assert_close(log_expected.exp(), 3 * torch.tensor([0.4, 0.4, 0.2]))


class Every(Sampler):
    """Each item once."""

    def draw(self, targets):
        return torch.arange(self.negatives)

    def expected(self, rows, n):
        return torch.ones(len(rows), dtype=torch.float64)


def test_mixed_with_every_item_from_both_is_the_full_softmax():
    """In float64: each of V items comes twice, is expected twice, and so counts once."""
    hidden, catalog, _ = (each.double() for each in problem(V))
    targets = torch.randperm(V, generator=seeded(2))
    rows, log_expected = Mixed(InBatch(torch.ones(V), V), Every(V)).sample(targets)
    torch.testing.assert_close(log_expected.exp(), torch.full((2 * V,), 2.0))
    got = value_and_gradients(lambda h, c: sampled_softmax(h, c, targets, rows, log_expected), hidden, catalog)
    expected = value_and_gradients(lambda h, c: cross_entropy(h @ c.T, targets), hidden, catalog)
    assert distance(got, expected) < 1e-6


@pytest.mark.parametrize("from_batch", [0.2, 0.5, 0.9])
def test_mixed_negatives_estimate_the_sum_over_all_items_without_bias(from_batch):
    logits, counts, generator = torch.randn(V, generator=seeded(1), dtype=torch.float64), skewed(), seeded(2)
    config = LossConfig(kind="sampled", sampler="mixed", negatives=30, from_batch=from_batch)
    sampler, estimates = make_sampler(config, counts, generator), []
    for _ in range(2000):
        targets = torch.multinomial(counts.float(), 50, replacement=True, generator=generator)
        rows, log_expected = sampler.sample(targets)
        estimates.append((logits[rows] - log_expected).exp().sum())
    found = torch.stack(estimates)
    assert abs(found.mean() - logits.exp().sum()) < 4 * found.std() / len(found) ** 0.5


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=12),
    st.integers(0, 30),
    st.integers(1, 40),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_what_is_expected_of_mixed_negatives_is_the_sum_of_both(counts, n_targets, negatives, share, smoothing, seed):
    targets = torch.randint(len(counts), (n_targets,), generator=seeded(seed))
    config = LossConfig(kind="sampled", sampler="mixed", negatives=negatives, from_batch=share, smoothing=smoothing)
    rows, log_expected = make_sampler(config, torch.tensor(counts), seeded(seed)).sample(targets)
    of_batch = min(round(share * negatives), n_targets)
    of_catalog = negatives - round(share * negatives)
    assert len(rows) == of_batch + of_catalog
    left = targets.tolist()
    for row in rows[:of_batch].tolist():
        left.remove(row)  # each target at most once
    assert all(0 <= row < len(counts) for row in rows.tolist())
    weight = torch.tensor(counts, dtype=torch.float64).clamp(min=1)
    by_hand = of_batch * weight / weight.sum() + of_catalog * weight**smoothing / (weight**smoothing).sum()
    torch.testing.assert_close(log_expected.double().exp(), by_hand[rows], rtol=1e-5, atol=0)


def test_sampled_softmax_over_every_item_once_is_the_full_softmax():
    hidden, catalog, targets = problem()
    got = value_and_gradients(
        lambda h, c: sampled_softmax(h, c, targets, torch.arange(V), torch.zeros(V), 1.5, chunk_events=7),
        hidden,
        catalog,
    )
    expected = value_and_gradients(lambda h, c: cross_entropy(1.5 * h @ c.T, targets), hidden, catalog)
    assert distance(got, expected) < 1e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampled_softmax_converges_to_the_full_softmax(sampler):
    """The error falls to 3% at 100,000 negatives; a skewed proposal without logQ stays above 20%."""
    hidden, catalog, targets = problem()
    expected = value_and_gradients(lambda h, c: cross_entropy(h @ c.T, targets), hidden, catalog)
    stream = torch.multinomial(skewed().float(), 100_000, replacement=True, generator=seeded(5))

    def error(negatives: int, log_q: bool = True) -> float:
        config = LossConfig(kind="sampled", sampler=sampler, negatives=negatives)
        # In-batch negatives are the targets of other events: here of a long stream.
        rows, log_expected = make_sampler(config, skewed(), seeded(7)).sample(stream)
        correction = log_expected if log_q else torch.full_like(log_expected, negatives / V).log()
        got = value_and_gradients(lambda h, c: sampled_softmax(h, c, targets, rows, correction), hidden, catalog)
        return distance(got, expected)

    errors = [error(n) for n in (100, 3000, 100_000)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.03
    if sampler != "uniform":
        assert error(100_000, log_q=False) > 0.2


def test_where_every_negative_is_the_target_nothing_is_learned():
    hidden, catalog, _ = problem(3)
    targets = torch.tensor([2, 2, 2])
    for function in (sampled_softmax, lambda *arguments: gbce(*arguments) - gbce(*arguments).detach()):
        got = value_and_gradients(
            lambda h, c, function=function: function(h, c, targets, targets, torch.zeros(3)), hidden, catalog
        )
        assert got[0] == 0
        assert all(tensor.isfinite().all() for tensor in got)
    assert sampled_softmax(hidden[:0], catalog, targets[:0], targets, torch.zeros(3)) == 0


def test_dispatch_and_bad_settings():
    hidden, catalog, targets = problem()
    full = loss(LossConfig(), hidden, catalog, targets, 2.0)
    torch.testing.assert_close(full, cross_entropy(2 * hidden @ catalog.T, targets))
    for kind in ("sampled", "gbce"):
        config = LossConfig(kind=kind, negatives=16)
        value = loss(config, hidden, catalog, targets, 2.0, make_sampler(config, skewed(), seeded(4)))
        assert value == loss(config, hidden, catalog, targets, 2.0, Uniform(V, 16, seeded(4)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert loss(config, hidden, catalog, targets, 2.0, Uniform(V, 16, seeded(4))) == value
        with pytest.raises(ValueError, match="sampler"):
            loss(config, hidden, catalog, targets)
    with pytest.raises(InputError, match=r"loss\.negatives is 0"):
        LossConfig(negatives=0)
    with pytest.raises(InputError, match=r"loss\.from_batch is -1"):
        LossConfig(from_batch=-1)
    with pytest.raises(InputError, match=r"loss\.calibration is 1\.5"):
        LossConfig(calibration=1.5)
