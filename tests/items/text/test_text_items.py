"""The item encoder that reads texts, given their vectors."""

import pytest
import torch
from support import close

from hydrarec.items.table import ItemTable
from hydrarec.items.text.items import TextItems

V, H, D = 7, 5, 3
HAS_TEXT = torch.tensor([1, 1, 0, 1, 1, 1, 0], dtype=torch.bool)
DOMAINS = torch.tensor([0, 0, 0, 1, 1, 1, 1])


def vectors(n=5, seed=0):
    return torch.randn(n, H, generator=torch.Generator().manual_seed(seed)) + 3


def make(*, table=False, domains=DOMAINS, center=True):
    torch.manual_seed(1)
    items = TextItems(V, H, D, n_domains=2, table=ItemTable(V, D) if table else None)
    items.fill(vectors(), HAS_TEXT, domains, center=center)
    return items


def centred(domains):
    """(V, h) float64: what is mapped, by the definition."""
    found = torch.zeros(V, H, dtype=torch.float64)
    found[HAS_TEXT] = vectors().double()
    for domain in domains.unique():
        own = (domains == domain) & HAS_TEXT
        found[own] -= found[own].mean(0)
    return found / found[HAS_TEXT].square().sum(1).mean().sqrt()


@pytest.mark.parametrize("domains", [DOMAINS, None])
def test_vectors_are_centred_by_domain_scaled_and_mapped(domains):
    items = make(domains=domains)
    expected = centred(torch.zeros(V) if domains is None else domains) @ items.project.weight.double().T
    close(items.catalog(), expected, 1e-6)
    close(items.encode(torch.tensor([[5, 2], [0, 5]])), expected[torch.tensor([[5, 2], [0, 5]])], 1e-6)
    assert not items.catalog()[~HAS_TEXT].abs().max() > 1e-6


def test_without_centring():
    items = make(center=False)
    scaled = vectors() / vectors().square().sum(1).mean().sqrt()
    close(items.catalog()[HAS_TEXT], scaled @ items.project.weight.T, 1e-6)
    assert not items.catalog()[~HAS_TEXT].any()


def test_a_table_adds_to_known_items_by_a_learned_weight():
    items, plain = make(table=True), make()
    items.known[4] = 0
    with torch.no_grad():
        items.project.weight.copy_(plain.project.weight)
        items.gate.fill_(0.5)
    own = items.catalog() - plain.catalog()
    expected = 0.5 * items.table.weight
    assert not own[4].any()
    close(own[items.known > 0], expected[items.known > 0], 1e-5)
    close(items.encode(torch.arange(V)), items.catalog(), 1e-6)
    items.catalog().sum().backward()
    assert not items.table.weight.grad[4].any()
    assert items.gate.grad is not None


@pytest.mark.parametrize("table", [True, False])
def test_added_items_are_as_if_they_had_been_there_and_the_old_ones_stay(table):
    items = make(table=table)
    before = items.catalog().detach().clone()
    more = vectors(2, seed=9)
    items.add(more, torch.tensor([True, False, True]), torch.tensor([1, 0, 0]))
    assert items.n_items == V + 3
    after = items.catalog()
    close(after[:V], before, 1e-6)
    expected = (more - items.means[[1, 0]]) * items.scale @ items.project.weight.T
    close(after[[V, V + 2]], expected, 1e-5)
    assert after[V + 1].abs().max() < 1e-6
    close(items.encode(torch.tensor([V + 1, V + 2])), after[V + 1 :], 1e-5)
    with torch.no_grad():
        close(items.catalog(), after, 1e-6)


def test_without_gradient_the_catalog_is_mapped_once_until_something_changes():
    items = make(table=True).eval()
    with torch.no_grad():
        first = items.catalog()
        assert items.catalog() is first
        for change in (items.project.weight, items.gate, items.table.weight, items.vectors):
            change.mul_(2)
            second = items.catalog()
            close(second, items._catalog(), 1e-6)
            assert not torch.equal(second, first)
            first = second
    assert items.catalog().requires_grad


def test_an_optimiser_changes_weights_unseen_and_the_catalog_is_mapped_again():
    items = make().eval()
    optimiser = torch.optim.AdamW(items.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        first = items.catalog().clone()
    items.train().catalog().sum().backward()
    optimiser.step()
    with torch.no_grad():
        assert not torch.equal(items.eval().catalog(), first)


def test_a_saved_one_is_the_same():
    items = make(table=True)
    other = TextItems(V, H, D, n_domains=2, table=ItemTable(V, D))
    other.load_state_dict(items.state_dict())
    assert torch.equal(other.catalog(), items.catalog())
