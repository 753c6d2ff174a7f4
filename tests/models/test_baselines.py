import numpy as np
import pytest
import torch

from hydrarec.data.batch import pack
from hydrarec.data.protocol import Protocol
from hydrarec.data.split import Split, split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.models.itemknn import ItemKNN, ItemKNNConfig, bm25
from hydrarec.models.markov import Markov, MarkovConfig
from hydrarec.models.popularity import Popularity, PopularityConfig, Recent, RecentConfig
from hydrarec.models.registry import model_classes

DAY = 86400
# Twelve events of four users; user 3 trains on nothing, and item 4 is seen in no training event.
HISTORIES = [[0, 1, 2, 0, 1], [1, 2, 3], [0, 2, 3], [4]]
TIMES = [[0, 0, 1, 1, 2], [0, 1, 1], [0, 1, 2], [2]]
ALL = [
    (Popularity, PopularityConfig()),
    (Recent, RecentConfig(half_life_days=1)),
    (Markov, MarkovConfig()),
    (ItemKNN, ItemKNNConfig(neighbours=2)),
]


def table(with_times=True):
    offsets = np.concatenate([[0], np.cumsum([len(h) for h in HISTORIES])])
    times = DAY * np.concatenate(TIMES) if with_times else None
    dataset = Dataset.from_arrays(np.concatenate(HISTORIES), offsets, times=times, item_ids=np.arange(5))
    ends = offsets[1:] - np.array([0, 1, 1, 1])
    return dataset, Split(train_ends=ends, valid=np.empty(0, np.int64), test=ends[1:3])


def fitted(cls, config, **options):
    return cls.fit(config, *table(**options))


def scores(model, *histories):
    chunks = list(model.score(pack([np.array(h, np.int64) for h in histories])))
    assert [first for first, _ in chunks] == np.cumsum([0] + [c.shape[1] for _, c in chunks[:-1]]).tolist()
    return torch.cat([chunk for _, chunk in chunks], dim=1)


def test_popularity():
    model = fitted(Popularity, PopularityConfig())
    assert scores(model, [3], []).tolist() == [[3, 3, 3, 0, 0]] * 2


def test_recent_popularity_halves_each_half_life():
    model = fitted(Recent, RecentConfig(half_life_days=1))
    assert scores(model, [3]).tolist() == [[0.25 + 0.5 + 0.25, 0.25 + 1 + 0.25, 0.5 + 0.5 + 0.5, 0, 0]]
    with pytest.raises(InputError, match="event times"):
        fitted(Recent, RecentConfig(), with_times=False)


def test_recent_popularity_of_events_before_1970_is_that_of_events_after():
    dataset, parts = table()
    early = Dataset.from_arrays(
        dataset.items, dataset.offsets, times=np.asarray(dataset.times) - 20_000 * DAY, item_ids=np.arange(5)
    )
    model = Recent.fit(RecentConfig(half_life_days=1), early, parts)
    assert torch.equal(scores(model, [3]), scores(fitted(Recent, RecentConfig(half_life_days=1)), [3]))


def test_markov():
    # Steps: 0->1 twice, 0->2, 1->2 twice, 2->0. Popularity: 3/9 each of items 0, 1, 2.
    model = fitted(Markov, MarkovConfig(smoothing=3))
    after_0, after_3, after_nothing = scores(model, [2, 0], [3], []).tolist()
    assert after_0 == pytest.approx([1 / 6, 3 / 6, 2 / 6, 0, 0])
    assert after_3 == after_nothing == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0])
    assert scores(fitted(Markov, MarkovConfig(smoothing=0)), [0], [4]).sum(1).tolist() == [1, 0]


def test_itemknn():
    # Users by items, counts: [2 2 1], [0 1 1], [1 0 1]; item 2 is everyone's, so it says nothing.
    users, items = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([0, 1, 2, 1, 2, 0, 2])
    weights = bm25(users, items, np.array([2, 2, 1, 1, 1, 1, 1]), 4, 5, k1=1.2, b=0.75)
    lengths, usual = np.array([5, 2, 2]), 3
    by_hand = np.log(4 / 2) * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * lengths[0] / usual))
    assert weights[0] == weights[1] == pytest.approx(by_hand)
    matrix = np.zeros((4, 5))
    matrix[users, items] = weights
    similar = matrix.T @ matrix * (1 - np.eye(5))
    model = fitted(ItemKNN, ItemKNNConfig(neighbours=5, decay=0.5))
    expected = 0.25 * similar[0] + 0.5 * similar[3] + similar[1]
    assert scores(model, [0, 3, 1])[0].numpy() == pytest.approx(expected, rel=1e-5)
    assert scores(model, []).tolist() == [[0.0] * 5]
    one = fitted(ItemKNN, ItemKNNConfig(neighbours=1))
    assert scores(one, [0])[0].count_nonzero() == 1
    cosine = fitted(ItemKNN, ItemKNNConfig(neighbours=5, similarity="cosine"))
    norms = np.maximum(np.linalg.norm(matrix, axis=0), 1e-12)
    assert scores(cosine, [0])[0].numpy() == pytest.approx((similar / norms / norms[:, None])[0], rel=1e-5)


def test_itemknn_in_blocks(monkeypatch):
    whole = fitted(ItemKNN, ItemKNNConfig())
    monkeypatch.setattr("hydrarec.models.itemknn._CELLS", 6)
    pieces = fitted(ItemKNN, ItemKNNConfig())
    assert torch.equal(scores(whole, [0, 1, 2]), scores(pieces, [0, 1, 2]))


@pytest.mark.parametrize(("cls", "config"), ALL)
def test_tensors_are_the_whole_model(cls, config):
    model = fitted(cls, config)
    copy = cls.from_tensors(config, 5, {name: tensor.clone() for name, tensor in model.tensors().items()})
    assert copy.n_items == model.n_items == 5
    histories = [[0, 1], [4], []]
    assert torch.equal(scores(model, *histories), scores(copy, *histories))
    assert torch.isfinite(scores(model, *histories)).all()
    assert (scores(model, *histories)[:, 4] == 0).all()  # held out, so never counted


@pytest.mark.parametrize(("cls", "config"), ALL)
def test_no_training_event_at_all(cls, config):
    dataset, parts = table()
    nothing = Split(train_ends=dataset.offsets[:-1], valid=parts.valid, test=parts.test)
    assert (scores(cls.fit(config, dataset, nothing), [0, 1], []) == 0).all()


def test_checkerboard():
    """Even users see even items only: neighbours and successors must stay on their colour."""
    generator = np.random.default_rng(0)
    items = np.concatenate([generator.permutation(20) * 2 + user % 2 for user in range(60)])
    dataset = Dataset.from_arrays(items, np.arange(61) * 20, item_ids=np.arange(40))
    protocol = Protocol.named("hstu", cutoffs=(1, 20), exclude_seen=True)
    parts = split(dataset, protocol)
    for cls, config, hits in ((Markov, MarkovConfig(), 0.7), (ItemKNN, ItemKNNConfig(), 1.0)):
        model = cls.fit(config, dataset, parts)
        options = {"protocol": protocol, "train_ends": parts.train_ends}
        result = evaluate(model, dataset, parts.test, **options)
        assert result.metrics["HR@1"] >= hits  # one item of its colour is left (chance 1 of 21)
        given = scores(model, [0, 2, 4])[0]
        assert given[::2].sum() > given[1::2].sum()


def test_registry():
    for name in ("popularity", "recent", "markov", "itemknn"):
        config, model = model_classes(name)
        assert model.name == name
        assert config()
    with pytest.raises(InputError, match="did you mean 'markov'"):
        model_classes("markow")
