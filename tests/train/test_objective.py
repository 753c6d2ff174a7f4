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
    ("kind", "domains", "told_from", "expected"),
    [
        ("table", None, "own", None),
        ("table", SHOPS, "own", [0, 0, 1, 1, 1]),
        ("table", SHOPS, "all", None),
        ("text", None, "own", [0, 0, 0, 0, 1]),
        ("text", SHOPS, "own", [0, 0, 1, 1, 2]),
        ("text", None, "all", [0, 0, 0, 0, 1]),
        ("text", SHOPS, "all", [0, 0, 0, 0, 1]),
    ],
)
def test_items_without_an_event_are_a_set_of_their_own_where_text_is_read(kind, domains, told_from, expected):
    settings = resolve(overrides=[f"items.kind={kind}", f"loss.negatives_from={told_from}"])[0]
    sets = contrasted(settings, data(domains), COUNTS)
    assert sets is None if expected is None else sets.tolist() == expected


def test_a_target_is_told_from_the_items_of_its_set():
    """Equal scores: the loss is the logarithm of how many there are."""
    settings, targets = resolve()[0], torch.tensor([0, 2])
    scores = torch.zeros(2, 4), torch.zeros(5, 4), targets, 1.0
    alone = loss_of(settings, data(None), COUNTS)(*scores)
    assert float(alone) == pytest.approx(math.log(5))
    among = loss_of(settings, data(SHOPS), COUNTS)(*scores)
    assert float(among) == pytest.approx((math.log(2) + math.log(3)) / 2)


def test_in_batch_negatives_are_expected_as_often_as_the_mixture_of_domains_brings_them(monkeypatch):
    """Shop a has four times the events of shop b; at power 0.5 its items come half as often, against those of b."""
    expected = {}

    def sampled(hidden, catalog, targets, negatives, log_expected, *others):
        expected.update(zip(negatives.tolist(), log_expected.exp().tolist(), strict=True))
        return hidden.sum()

    monkeypatch.setattr("hydrarec.losses.config.sampled_softmax", sampled)
    drawn = ["loss.kind=sampled", "loss.sampler=in_batch", "loss.negatives_from=all"]
    for power, of_b in ((1, 10 / 50), (0.5, 2 * 10 / (40 + 2 * 10)), (0, 0.5)):
        settings = resolve(overrides=[*drawn, f"train.domain_power={power}"])[0]
        function = loss_of(settings, data(SHOPS), np.array([20, 20, 5, 5, 0]))
        function(torch.zeros(5, 4), torch.zeros(5, 4), torch.arange(5), 1.0)
        assert (expected[2] + expected[3]) / 5 == pytest.approx(of_b, rel=0.06)  # an item without events counts as one
    settings = resolve(overrides=[*drawn, "train.windows=carried"])[0]  # which brings all as they are
    loss_of(settings, data(SHOPS), np.array([20, 20, 5, 5, 0]))(
        torch.zeros(5, 4), torch.zeros(5, 4), torch.arange(5), 1.0
    )
    assert (expected[2] + expected[3]) / 5 == pytest.approx(10 / 51)
