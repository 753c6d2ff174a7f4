import numpy as np
import pytest
import torch

from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.errors import InputError
from hydrarec.evaluate import answers as module
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.evaluate.queries import users_of
from hydrarec.items.compact import FloatTable
from hydrarec.models.hydra import Hydra, HydraConfig


class Recorder:
    """Scores each item by its row and the sum of the history; keeps the batches."""

    sees_request_time = False

    def __init__(self, n_items, chunk=7):
        self.n_items, self.chunk, self.batches = n_items, chunk, []

    def score(self, batch):
        self.batches.append(batch)
        row = torch.repeat_interleave(torch.arange(batch.n_users), batch.lengths)
        total = torch.zeros(batch.n_users).index_add(0, row, batch.items.float() + 1)
        for first in range(0, self.n_items, self.chunk):
            items = torch.arange(first, min(first + self.chunk, self.n_items))
            yield first, torch.cos(total[:, None] * (items + 1))


def shop(n_users=40, n_items=30, seed=0):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 25, n_users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = generator.integers(0, n_items, offsets[-1])
    return Dataset.from_arrays(items, offsets, item_ids=np.arange(n_items))


def run(dataset, protocol, **options):
    parts = split(dataset, protocol)
    model = Recorder(dataset.n_items)
    result = evaluate(model, dataset, parts.test, protocol=protocol, train_ends=parts.train_ends, **options)
    return parts, model, result


def test_agrees_with_one_query_at_a_time():
    dataset, protocol = shop(), Protocol.named("hstu", cutoffs=(1, 10))
    parts, model, result = run(dataset, protocol, max_len=6, batch_events=20)
    assert result.users == result.queries == len(parts.test)
    for query, position in enumerate(parts.test):
        user = np.searchsorted(dataset.offsets, position, side="right") - 1
        history = dataset.items[dataset.offsets[user] : position]
        target = dataset.items[position]
        scores = torch.cos((torch.tensor(history[-6:]) + 1.0).sum() * (torch.arange(30) + 1))
        others = [i for i in range(30) if i not in history and i != target]  # the whole history is excluded
        assert result.greater[query] == sum(bool(scores[i] > scores[target]) for i in others)
    assert all(batch.lengths.max() <= 6 for batch in model.batches)
    assert all(batch.items.numel() <= 20 for batch in model.batches)
    hits = (result.greater < 10).mean()
    assert result.metrics["HR@10"] == pytest.approx(hits)
    low, high = result.intervals["HR@10"]
    assert low <= hits <= high


def test_batching_and_progress_change_nothing(monkeypatch):
    dataset, protocol = shop(seed=1), Protocol.named("loo")
    calls = []
    parts, _, whole = run(dataset, protocol, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (len(parts.test), len(parts.test))
    monkeypatch.setattr(module, "_SCORE_BYTES", 4 * 30 * 3)
    _, model, pieces = run(dataset, protocol)
    assert max(batch.n_users for batch in model.batches) == 3
    assert whole.to_dict() == pieces.to_dict()


def test_candidates_seen_in_training_only():
    dataset = Dataset.from_arrays([0, 1, 0, 2], [0, 2, 4], item_ids=np.arange(4))
    _, _, result = run(dataset, Protocol.named("hstu", candidates="train", exclude_seen=False))
    assert result.metrics["HR@200"] == 0  # items 1 and 2 have no training event
    assert result.metrics["MRR"] == 0
    assert result.groups["item cold"]["queries"] == 2
    assert result.metrics["coverage@10"] == 1


def test_without_lists_only_what_they_are_for_is_missing():
    dataset = Dataset.from_arrays(np.arange(40) % 7, [0, 9, 24, 40], item_ids=np.arange(7))
    protocol = Protocol.named("hstu", exclude_seen=True)
    _, _, whole = run(dataset, protocol)
    _, _, short = run(dataset, protocol, lists=False)
    missing = {"coverage@10", "popularity@10"}
    assert set(whole.metrics) - set(short.metrics) == missing
    assert short.metrics == {name: value for name, value in whole.metrics.items() if name not in missing}
    assert (short.greater == whole.greater).all()


def timed(n_users=12, n_items=20, longest=40, seed=0):
    """Histories of all lengths over the same days, so that many targets of a user lie after the boundary."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, longest, n_users)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    times = np.concatenate([np.sort(generator.integers(0, 1000, n)) for n in lengths])
    items = generator.integers(0, n_items, offsets[-1])
    return Dataset.from_arrays(items, offsets, times=times, item_ids=np.arange(n_items))


def counting(model, monkeypatch):
    """How many events the model reads."""
    read, resume = [], model.resume
    monkeypatch.setattr(model, "resume", lambda batch, state: read.append(len(batch.items)) or resume(batch, state))
    return read


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("batch_events", [1, 50, 16384])
def test_one_pass_over_a_history_answers_all_targets_in_it(monkeypatch, exclude_seen, batch_events):
    protocol = Protocol.named("time", quantile=0.5, target="every", exclude_seen=exclude_seen)
    dataset = timed()
    parts = split(dataset, protocol)
    assert len(parts.test) > 5 * len(np.unique(users_of(dataset, parts.test)))
    torch.manual_seed(0)
    model = Hydra(HydraConfig(d_model=8, n_layers=1, n_heads=2, d_state=4), dataset.n_items).eval()
    options = {"protocol": protocol, "train_ends": parts.train_ends, "batch_events": batch_events, "confidence": False}
    apart = evaluate(model, dataset, parts.test, max_len=10**6, **options)
    monkeypatch.setattr(model, "read_events", 7)
    monkeypatch.setattr(module, "_PAIRS", 30)
    read = counting(model, monkeypatch)
    shuffled = np.random.default_rng(1).permutation(len(parts.test))  # the positions may come in any order
    together = evaluate(model, dataset, parts.test[shuffled], **options)
    assert np.array_equal(together.greater, apart.greater[shuffled])
    assert np.array_equal(together.ties, apart.ties[shuffled])
    users = np.unique(users_of(dataset, parts.test))
    last = np.array([parts.test[users_of(dataset, parts.test) == user].max() for user in users])
    assert sum(read) == (last - dataset.offsets[users]).sum()


@pytest.mark.parametrize("max_len", [0, 5])
def test_scores_that_are_not_held_give_the_same_ranks(monkeypatch, max_len):
    protocol = Protocol.named("time", quantile=0.5, target="every", exclude_seen=True)
    dataset = timed()
    parts = split(dataset, protocol)
    torch.manual_seed(0)
    model = Hydra(HydraConfig(d_model=8, n_layers=1, n_heads=2, d_state=4), FloatTable(dataset.n_items, 8)).eval()
    monkeypatch.setattr(model, "chunk_items", 7)

    def measured():
        options = {"protocol": protocol, "train_ends": parts.train_ends, "batch_events": 30, "max_len": max_len}
        return evaluate(model, dataset, parts.test, confidence=False, **options)

    walks = []
    chunks = model.items.chunks
    monkeypatch.setattr(model.items, "chunks", lambda size: walks.append(size) or chunks(size))
    held = measured()
    n_held = len(walks)
    monkeypatch.setattr(module, "_SCORE_BYTES", 1)
    monkeypatch.setattr(module, "_TOGETHER", 100)
    made_twice = measured()
    assert np.array_equal(held.greater, made_twice.greater)
    assert np.array_equal(held.ties, made_twice.ties)
    assert held.metrics == made_twice.metrics
    assert len(walks) - n_held == 2 * -(-len(parts.test) // 100) < n_held


def test_nothing_to_ask():
    dataset = shop()
    with pytest.raises(InputError, match="no target"):
        evaluate(
            Recorder(30),
            dataset,
            np.empty(0, np.int64),
            protocol=Protocol(),
            train_ends=dataset.offsets[1:],
        )
