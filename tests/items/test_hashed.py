import pytest
import torch

from hydrarec.items.compact import FloatTable, Int8Table
from hydrarec.items.hashed import MultiHash, QuotientRemainder
from hydrarec.items.rows import RowwiseAdagrad


def encoders(n_items, width=16):
    yield QuotientRemainder(n_items, width)
    yield MultiHash(n_items, FloatTable(200, width))
    yield MultiHash(n_items, Int8Table(200, width), hashes=3)


@pytest.mark.parametrize("number", range(3))
def test_the_contract(number):
    torch.manual_seed(0)
    encoder = list(encoders(1000))[number]
    catalog = encoder.catalog().detach()
    assert catalog.shape == (1000, 16)
    rows = torch.tensor([[0, 999, 31], [32, 0, 5]])
    assert torch.equal(encoder(rows).detach(), catalog[rows])
    assert torch.equal(torch.cat([part for _, part in encoder.chunks(64)]), catalog)
    # Vectors differ from item to item, for few share all their rows.
    assert len(catalog.unique(dim=0)) > 950
    encoder.add(234)
    assert encoder.n_items == 1234
    assert torch.equal(encoder.catalog().detach()[:1000], catalog)


def test_the_start_has_the_size_of_the_plain_table():
    torch.manual_seed(0)
    std = 0.0176  # of the plain table
    assert QuotientRemainder(10_000, 32).catalog().std().item() == pytest.approx(std, rel=0.1)
    table = FloatTable(5000, 32, 0.02 / 2**0.5)
    assert MultiHash(10_000, table).catalog().std().item() == pytest.approx(std, rel=0.1)


def test_products_of_remainder_and_quotient():
    encoder = QuotientRemainder(10, 2, buckets=4)
    encoder.remainders.write(torch.arange(4), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]))
    encoder.quotients.write(torch.arange(3), torch.tensor([[1.0, 1.0], [10.0, 1.0], [0.0, -1.0]]))
    assert encoder.encode(torch.tensor([0, 5, 9])).tolist() == [[1, 2], [30, 4], [0, -4]]


def test_with_as_many_buckets_as_items_it_is_a_table_of_rows():
    torch.manual_seed(3)
    encoder = QuotientRemainder(20, 4, buckets=20)
    table = FloatTable(20, 4)
    table.write(torch.arange(20), encoder.remainders.read(torch.arange(20)))
    for _ in range(5):
        rows = torch.randint(20, (30,))
        for items in (encoder, table):
            items.encode(rows).pow(3).sum().backward()
            RowwiseAdagrad(*items.tables).step()
    assert torch.equal(encoder.catalog().detach(), table.catalog().detach())
    encoder.add(5)  # from here on they share
    assert torch.equal(encoder.catalog().detach()[:20], table.catalog().detach())
    assert torch.equal(encoder.catalog().detach()[20:].abs(), table.catalog().detach()[:5].abs())


@pytest.mark.parametrize("n_items", [1, 2, 16, 17, 10_000])
def test_no_two_items_share_both_rows_and_memory_is_bounded(n_items):
    encoder = QuotientRemainder(n_items, 1)
    buckets = encoder.remainders.n_items
    pairs = {(row % buckets, row // buckets) for row in range(n_items)}
    assert len(pairs) == n_items
    assert sum(table.n_items for table in encoder.tables) <= 2 * n_items**0.5 + 2
    assert encoder.catalog().shape == (n_items, 1)


def test_hashes_are_even_and_independent():
    encoder = MultiHash(10**9, FloatTable(100, 1), hashes=2)
    buckets = encoder.buckets(torch.arange(10**6, 10**6 + 200_000))
    assert buckets.shape == (200_000, 2)
    assert (buckets.min(), buckets.max()) == (0, 99)
    cells = torch.bincount(buckets[:, 0] * 100 + buckets[:, 1], minlength=10_000).double()
    statistic = ((cells - 20) ** 2 / 20).sum()
    assert abs(statistic - 9999) < 5 * (2 * 9999) ** 0.5  # chi-square: mean and five deviations
    assert (encoder.buckets(torch.tensor([2**40 + 7, 7])) >= 0).all()


def test_a_billion_items_cost_the_table_alone():
    encoder = MultiHash(10**9, FloatTable(1000, 4))
    encoder.add(10**9)
    rows = torch.tensor([0, 2 * 10**9 - 1])
    assert encoder.encode(rows).shape == (2, 4)
    assert sum(value.numel() for value in encoder.state_dict().values()) == 5000


@pytest.mark.parametrize("number", range(3))
def test_training_touches_the_rows_of_the_batch(number):
    torch.manual_seed(1)
    encoder = list(encoders(300, 16))[number]
    rows, wanted = torch.tensor([3, 77, 200, 205]), 0.1 * torch.randn(4, 16)
    before = [table.read(torch.arange(table.n_items)) for table in encoder.tables]
    optimiser = RowwiseAdagrad(*encoder.tables)
    for step in range(500):
        optimiser.lr = 0.1 * (1 - step / 500)
        loss = (encoder.encode(rows) - wanted).square().sum()
        loss.backward()
        optimiser.step()
    assert loss < 0.05 * wanted.square().sum()
    for old, table in zip(before, encoder.tables, strict=True):
        moved = (table.read(torch.arange(table.n_items)) != old).any(1)
        assert torch.equal(moved, table.squares > 0)
        assert moved.sum() <= 4 * getattr(encoder, "hashes", 1)
