"""What training minimises: which items a target is told from."""

import math

import numpy as np
import pytest
import torch

from hydrarec.data.protocol import Protocol
from hydrarec.data.store import Dataset
from hydrarec.train.objective import contrasted, loss_of
from hydrarec.train.settings import resolve


def data(domains=None):
    """Five items, of which nobody has had the last."""
    columns = None if domains is None else {"domain": domains}
    items, offsets = np.array([0, 1, 2, 3, 0, 1, 4]), np.array([0, 3, 6, 7])
    return Dataset.from_arrays(items, offsets, item_columns=columns, protocol=Protocol.named("loo"))


COUNTS = np.array([2, 2, 1, 1, 0])
SHOPS = ["a", "a", "b", "b", "b"]


@pytest.mark.parametrize(
    ("kind", "domains", "expected"),
    [
        ("table", None, None),
        ("table", SHOPS, [0, 0, 1, 1, 1]),
        ("text", None, [0, 0, 0, 0, 1]),
        ("text", SHOPS, [0, 0, 1, 1, 2]),
    ],
)
def test_items_without_an_event_are_a_set_of_their_own_where_text_is_read(kind, domains, expected):
    settings = resolve(overrides=[f"items.kind={kind}"])[0]
    sets = contrasted(settings, data(domains), COUNTS)
    assert sets is None if expected is None else sets.tolist() == expected


def test_a_target_is_told_from_the_items_of_its_set():
    """Equal scores: the loss is the logarithm of how many there are."""
    settings, targets = resolve()[0], torch.tensor([0, 2])
    scores = torch.zeros(2, 4), torch.zeros(5, 4), targets, 1.0
    alone = loss_of(settings, COUNTS, None)(*scores)
    assert float(alone) == pytest.approx(math.log(5))
    among = loss_of(settings, COUNTS, np.array([0, 0, 1, 1, 1]))(*scores)
    assert float(among) == pytest.approx((math.log(2) + math.log(3)) / 2)
