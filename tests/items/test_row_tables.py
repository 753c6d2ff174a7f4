"""Every table of rows, beside the plain table and its dense gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import close

from hydrarec.items.compact import FloatTable, Int8Table
from hydrarec.items.mapped import MappedTable
from hydrarec.items.rows import RowTable, RowwiseAdagrad
from hydrarec.items.table import ItemTable

# Name -> how far a vector may be from what was written, against the largest number of its row.
STEPS = {"float32": 0.0, "float16": 2**-10, "bfloat16": 2**-7, "int8": 1 / 127, "mapped": 2**-10}


@pytest.fixture
def make(tmp_path):
    def table(name: str, n_items: int, width: int) -> RowTable:
        if name == "int8":
            return Int8Table(n_items, width)
        if name == "mapped":
            return MappedTable.create(tmp_path / f"table-{len(list(tmp_path.iterdir()))}", n_items, width)
        return FloatTable(n_items, width, dtype=getattr(torch, name))

    return table


@pytest.mark.parametrize("name", STEPS)
def test_the_start_is_that_of_the_plain_table(name, make):
    torch.manual_seed(1)
    table, plain = make(name, 2000, 32), ItemTable(2000, 32)
    vectors = table.catalog().detach()
    assert vectors.shape == (2000, 32)
    assert vectors.abs().max() <= 0.04 * (1 + 2**-7)
    assert vectors.std() == pytest.approx(plain.weight.detach().std().item(), rel=0.02)
    assert not table.squares.any()


@pytest.mark.parametrize("name", STEPS)
def test_what_is_written_is_read_to_a_step_of_the_format(name, make):
    table, vectors = make(name, 50, 8), torch.randn(3, 8)
    before = table.read(torch.arange(50))
    rows = torch.tensor([4, 49, 0])
    table.write(rows, vectors)
    error = (table.read(rows) - vectors).abs() / vectors.abs().amax(1, keepdim=True)
    assert error.max() <= STEPS[name]
    others = torch.tensor([row for row in range(50) if row not in rows])
    assert torch.equal(table.read(others), before[others])
    table.write(rows, torch.zeros(3, 8))
    assert not table.read(rows).any()


@pytest.mark.parametrize("name", STEPS)
def test_growth_keeps_the_old_vectors_and_their_state(name, make):
    table = make(name, 5, 3)
    before = table.catalog().detach()
    table.squares.fill_(2.0)
    table.add(70_000)
    assert table.n_items == 70_005
    assert torch.equal(table.read(torch.arange(5)), before)
    assert table.squares.tolist() == [2.0] * 5 + [0.0] * 70_000
    fresh = table.read(torch.arange(5, 70_005))
    assert fresh.std() == pytest.approx(0.0176, rel=0.03)
    assert (fresh.abs().amax(1) > 0).all()


@pytest.mark.parametrize("name", STEPS)
def test_catalog_and_chunks_and_shapes(name, make):
    table = make(name, 11, 3)
    catalog = table.catalog().detach()
    rows = torch.randint(11, (2, 4))
    assert torch.equal(table(rows).detach(), catalog[rows])
    chunks = list(table.chunks(4))
    assert [first for first, _ in chunks] == [0, 4, 8]
    assert torch.equal(torch.cat([part for _, part in chunks]), catalog)
    assert table.encode(torch.empty(0, dtype=torch.long)).shape == (0, 3)


def reference(weight, squares, gradient, lr):
    """Rowwise Adagrad on the dense gradient, in float64."""
    touched = gradient.abs().sum(1) > 0
    squares = squares + gradient.square().mean(1)
    change = lr * gradient / (squares.sqrt() + 1e-8)[:, None]
    return torch.where(touched[:, None], weight - change, weight), squares


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=4), st.integers(0, 99))
def test_steps_are_those_of_rowwise_adagrad_on_the_dense_gradient(steps, seed):
    torch.manual_seed(seed)
    table, lr = FloatTable(10, 4), 0.1
    weight, squares = table.weight.double(), torch.zeros(10, dtype=torch.float64)
    optimiser = RowwiseAdagrad(table, lr=lr)
    for rows in steps:
        rows, factor = torch.tensor(rows), torch.randn(len(rows), 4)
        half = len(rows) // 2
        # Inputs and targets are read apart and share rows.
        loss = (table.encode(rows[:half]).sin() * factor[:half]).sum()
        (loss + (table.encode(rows[half:]).sin() * factor[half:]).sum()).backward()
        optimiser.step()
        dense = weight.clone().requires_grad_()
        (dense[rows].sin() * factor.double()).sum().backward()
        weight, squares = reference(weight, squares, dense.grad, lr)
        close(table.weight, weight, 1e-5)
        close(table.squares, squares, 1e-5)
    assert not table.lent


@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8", "mapped"])
def test_small_updates_add_up(name, make):
    """A thousand updates of a tenth of a step: rounding to the nearest would lose every one."""
    torch.manual_seed(0)
    table, rows = make(name, 64, 32), torch.arange(64)
    start = torch.linspace(-0.9, 0.9, 32).repeat(64, 1)
    start[:, -1] = 1.0  # keeps the scale of int8
    table.write(rows, start)
    start = table.read(rows)
    step = STEPS[name] / 20
    for _ in range(100):
        change = torch.full_like(start, step)
        change[:, -1] = 0
        table.write(rows, table.read(rows) + change)
    moved = (table.read(rows) - start)[:, :-1]
    assert moved.mean().item() == pytest.approx(100 * step, rel=0.05)


@pytest.mark.parametrize("name", STEPS)
def test_training_reaches_what_the_plain_table_reaches(name, make):
    """Least squares to given vectors, by a tenth of the rows at a time."""
    torch.manual_seed(3)
    table, wanted = make(name, 200, 16), 0.05 * torch.randn(200, 16)
    optimiser = RowwiseAdagrad(table, lr=0.02)
    for step in range(300):
        rows = torch.randint(200, (20,))
        optimiser.lr = 0.02 * (1 - step / 300)
        (table.encode(rows) - wanted[rows]).square().sum().backward()
        optimiser.step()
    left = (table.read(torch.arange(200)) - wanted).square().mean() / wanted.square().mean()
    assert left < 0.02


@pytest.mark.parametrize("name", STEPS)
def test_nothing_is_lent_where_nothing_is_trained(name, make):
    table = make(name, 5, 3)
    with torch.no_grad():
        table.encode(torch.tensor([1]))
    table.eval()
    assert not table.encode(torch.tensor([1])).requires_grad
    assert not table.lent
    table.train()
    table.encode(torch.tensor([1, 1, 2]))
    ((rows, vectors),) = table.lent
    assert (rows.tolist(), vectors.shape) == ([1, 2], (2, 3))
    before = table.read(torch.arange(5))
    optimiser = RowwiseAdagrad(table)
    optimiser.step()  # lent, but without a gradient
    optimiser.zero_grad()
    assert torch.equal(table.read(torch.arange(5)), before)
    assert not table.lent


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int8"])
def test_saving_keeps_the_optimiser_state(name, make):
    table, other = make(name, 5, 3), make(name, 5, 3)
    table.encode(torch.tensor([1])).sum().backward()
    RowwiseAdagrad(table).step()
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.squares, table.squares)
    assert torch.equal(other.read(torch.arange(5)), table.read(torch.arange(5)))
    assert not list(table.parameters())


@pytest.mark.parametrize("name", STEPS)
def test_the_whole_catalog_is_lent_as_its_rows_are(name, make):
    torch.manual_seed(4)
    table = make(name, 9, 5)
    vectors = table.read(torch.arange(9))
    weights, rows = torch.randn(9, 5), torch.tensor([3, 3, 8])
    ((table.catalog() * weights).sum() + table.encode(rows).pow(2).sum()).backward()
    found_rows, gradient = table.take_gradient()
    assert torch.equal(found_rows, torch.arange(9))
    expected = weights.clone().index_add_(0, rows, 2 * vectors[rows])
    torch.testing.assert_close(gradient, expected)
    table.eval()
    assert torch.equal(table.catalog(), vectors)
    assert not table.lent
