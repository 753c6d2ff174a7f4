"""Vectors that stand for items that training never saw."""

import numpy as np
import pytest
import torch

from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.items.config import ItemsConfig
from hydrarec.items.fallback import Fallback
from hydrarec.items.make import new_items
from hydrarec.progress import Silent


def fallback(known, buckets=4, share=0.5):
    torch.manual_seed(0)
    return Fallback(buckets, 8, torch.tensor(known), share=share)


def is_stand_in(module, vectors):
    """(n,) which of ``vectors`` are among the shared ones."""
    return (vectors[:, None] == module.weight).all(2).any(1)


def test_only_unknown_items_are_replaced_when_nothing_is_learned():
    module = fallback([True, False, True]).eval()
    vectors = torch.randn(5, 8)
    rows = torch.tensor([0, 1, 2, 3, 99])  # the last two have no row
    found = module(vectors, rows)
    assert torch.equal(found[[0, 2]], vectors[[0, 2]])
    assert is_stand_in(module, found).tolist() == [False, True, False, True, True]
    assert torch.equal(found, module(vectors, rows))


def test_an_unknown_item_keeps_its_vector_and_others_have_others():
    module = fallback([True] * 3, buckets=16).eval()
    rows = torch.arange(3, 203)
    found = module(torch.zeros(200, 8), rows)
    assert torch.equal(module(torch.zeros(400, 8), rows.repeat(2)), found.repeat(2, 1))
    used = (found[:, None] == module.weight).all(2).sum(0)
    assert (used > 0).all()
    assert used.max() < 40  # 12.5 each


def test_a_step_reads_its_share_of_items_as_unknown_and_each_step_others():
    module = fallback([True] * 2000, share=0.1)
    rows = torch.arange(2000).repeat(2)
    vectors = torch.zeros(4000, 8)
    replaced = [is_stand_in(module, module(vectors, rows).detach()) for _ in range(2)]
    for each in replaced:
        assert torch.equal(each[:2000], each[2000:])  # all events of an item
        assert 0.07 < each.float().mean() < 0.13
    both = (replaced[0] & replaced[1]).float().mean()
    assert both < 0.03


def test_stand_ins_learn_and_what_they_replace_does_not():
    module = fallback([True] * 400, share=0.5)
    vectors = torch.randn(400, 8, requires_grad=True)
    found = module(vectors, torch.arange(400))
    found.sum().backward()
    replaced = is_stand_in(module, found.detach())
    assert torch.equal(vectors.grad[replaced], torch.zeros(int(replaced.sum()), 8))
    assert torch.equal(vectors.grad[~replaced], torch.ones(int((~replaced).sum()), 8))
    assert module.weight.grad[:, 0].sum() == replaced.sum()


def test_new_and_reused_rows_are_unknown():
    module = fallback([True, True, False]).eval()
    module.admit(torch.tensor([1]), grown=2)
    assert module.known.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("storage", ["full", "rows", "half", "int8", "hashed"])
def test_histories_read_it_and_the_catalog_does_not(storage):
    dataset = Dataset.from_arrays(np.array([0, 1, 2, 3]), np.array([0, 4]), item_ids=np.arange(4))
    config = ItemsConfig(storage=storage, unseen=0.1)
    items, _ = new_items(config, dataset, 8, np.array([3, 1, 0, 2]), Silent())
    items.eval()
    rows = torch.arange(6)  # two beyond the table
    read = items.encode_history(rows)
    assert is_stand_in(items.fallback, read).tolist() == [False, False, True, False, True, True]
    assert torch.equal(read[[0, 1, 3]], items.encode(torch.tensor([0, 1, 3])))
    assert items.catalog().shape == (4, 8)
    assert not is_stand_in(items.fallback, items.catalog()).any()


def test_without_it_histories_read_the_table():
    dataset = Dataset.from_arrays(np.array([0, 1]), np.array([0, 2]), item_ids=np.arange(2))
    items, _ = new_items(ItemsConfig(), dataset, 8, np.array([1, 0]), Silent())
    assert items.fallback is None
    assert torch.equal(items.encode_history(torch.arange(2)), items.encode(torch.arange(2)))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"unseen": 1.0}, "items.unseen"),
        ({"unseen": -0.1}, "items.unseen"),
        ({"unseen_vectors": 0}, "items.unseen_vectors"),
        ({"unseen": 0.1, "kind": "text"}, "items.unseen"),
    ],
)
def test_settings_that_cannot_be(fields, field):
    with pytest.raises(InputError, match=field):
        ItemsConfig(**fields)
