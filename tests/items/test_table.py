import torch

from hydrarec.items.table import ItemTable


def test_start_is_truncated_normal_and_seeded():
    torch.manual_seed(1)
    table = ItemTable(2000, 32)
    assert table.catalog().shape == (2000, 32)
    assert table.catalog().abs().max() <= 0.04
    # Truncation at two deviations leaves 0.88 of the deviation.
    assert 0.016 < table.weight.data.std() < 0.02
    torch.manual_seed(1)
    assert torch.equal(ItemTable(2000, 32).weight, table.weight)


def test_encode_gives_rows_of_the_catalog_and_their_gradient():
    table = ItemTable(5, 3)
    rows = torch.tensor([4, 0, 4])
    assert torch.equal(table(rows), table.catalog()[rows])
    table.encode(rows).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.sum(1).tolist() == [3.0, 0.0, 0.0, 0.0, 6.0]


def test_growth_keeps_the_old_vectors():
    table = ItemTable(5, 3)
    before = table.catalog().clone()
    table.add(2)
    assert table.catalog().shape == (7, 3)
    assert torch.equal(table.catalog()[:5], before)
    assert table.weight.requires_grad
    assert list(table.state_dict()) == ["weight"]
