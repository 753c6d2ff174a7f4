"""Ranks among the items of the target's own domain, and figures by domain."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data.protocol import Protocol
from hydrarec.data.split import split
from hydrarec.data.store import Dataset
from hydrarec.evaluate.evaluate import evaluate
from hydrarec.evaluate.groups import grouped, has_domains
from hydrarec.evaluate.metrics import accuracy
from hydrarec.evaluate.queries import users_of
from hydrarec.evaluate.ranks import MISSED, rank
from hydrarec.models.hydra import Hydra, HydraConfig


class Table:
    """Scores each item by a table of (last item of the history, item), with many ties."""

    sees_request_time = False

    def __init__(self, n_items, seed, chunk):
        self.scores = torch.randint(4, (n_items, n_items), generator=torch.Generator().manual_seed(seed)).float()
        self.chunk = chunk

    def score(self, batch):
        rows = self.scores[batch.items[batch.last]]
        for first in range(0, rows.shape[1], self.chunk):
            yield first, rows[:, first : first + self.chunk]


@st.composite
def shops(draw):
    """Histories of users who shop in several domains; some items and some domains have no event at all."""
    n_items = draw(st.integers(2, 12))
    names = draw(st.lists(st.sampled_from(["beauty", "toys", "head", "5-20"]), min_size=n_items, max_size=n_items))
    item = st.integers(0, n_items - 1)
    histories = draw(st.lists(st.lists(item, min_size=2, max_size=7), min_size=1, max_size=6))
    events, offsets = [i for history in histories for i in history], np.cumsum([0, *map(len, histories)])
    return Dataset.from_arrays(events, offsets, item_ids=np.arange(n_items), item_columns={"domain": names})


PROTOCOLS = st.builds(
    Protocol,
    split=st.just("hstu"),
    candidates=st.sampled_from(["all", "train"]),
    domains=st.sampled_from(["own", "all"]),
    exclude_seen=st.booleans(),
    cutoffs=st.just((1, 3)),
)


def measured(dataset, protocol, seed=0, chunk=5):
    parts = split(dataset, protocol)
    model = Table(dataset.n_items, seed, chunk)
    found = evaluate(model, dataset, parts.test, protocol=protocol, train_ends=parts.train_ends, confidence=False)
    return parts, model, found


def by_hand(dataset, protocol, parts, model):
    """(greater, ties) of each target, and the set of candidates of any, item by item."""
    names = dataset.item_table["domain"].to_pylist()
    trained = {int(i) for a, b in zip(dataset.offsets[:-1], parts.train_ends, strict=True) for i in dataset.items[a:b]}
    greater, ties, possible = [], [], set()
    for position in parts.test:
        target = int(dataset.items[position])
        start = dataset.offsets[users_of(dataset, np.array([position]))[0]]
        candidates = set(trained) if protocol.candidates == "train" else set(range(dataset.n_items))
        if protocol.domains == "own":
            candidates = {item for item in candidates if names[item] == names[target]}
        possible |= candidates
        if protocol.exclude_seen:
            candidates -= set(dataset.items[start:position].tolist()) - {target}
        scores = model.scores[int(dataset.items[position - 1])]
        inside = target in candidates
        others = candidates - {target}
        greater.append(sum(bool(scores[i] > scores[target]) for i in others) if inside else MISSED)
        ties.append(sum(bool(scores[i] == scores[target]) for i in others) if inside else 0)
    return greater, ties, possible


@given(shops(), PROTOCOLS, st.integers(0, 99), st.integers(1, 12))
@settings(max_examples=80)
def test_as_item_by_item(dataset, protocol, seed, chunk):
    parts, model, found = measured(dataset, protocol, seed, chunk)
    greater, ties, possible = by_hand(dataset, protocol, parts, model)
    assert found.greater.tolist() == greater
    assert found.ties.tolist() == ties
    # Every list of ten holds all candidates of its target that were not seen.
    assert 0 <= found.metrics["coverage@10"] <= 1
    if not protocol.exclude_seen and len(possible) <= 10:
        assert found.metrics["coverage@10"] == (1 if possible else 0)
    names = np.array(dataset.item_table["domain"].to_pylist())[dataset.items[parts.test]]
    values = accuracy(found.greater, found.ties, protocol.cutoffs)
    assert [name for name in found.groups if has_domains([name])] == [f"domain {name}" for name in sorted(set(names))]
    for name in set(names):
        group = found.groups[f"domain {name}"]
        assert group["queries"] == (names == name).sum()
        assert group["NDCG@3"] == pytest.approx(values["NDCG@3"][names == name].mean())


@given(shops(), PROTOCOLS)
@settings(max_examples=30)
def test_one_domain_changes_nothing_but_its_group(dataset, protocol):
    arrays, ids = (dataset.items, dataset.offsets), np.arange(dataset.n_items)
    plain = Dataset.from_arrays(*arrays, item_ids=ids)
    single = Dataset.from_arrays(*arrays, item_ids=ids, item_columns={"domain": ["x"] * len(ids)})
    expected, found = (measured(each, protocol)[2].to_dict() for each in (plain, single))
    whole = found["groups"].pop("domain x")
    assert found == expected
    assert not has_domains(expected["groups"])
    assert whole["queries"] == expected["queries"]
    assert whole["MRR"] == pytest.approx(expected["metrics"]["MRR"])


def test_the_best_items_are_of_the_targets_domain():
    scores = torch.arange(6.0).repeat(2, 1)
    domains = torch.tensor([0, 1, 0, 1, 0, 1], dtype=torch.int16)
    ranks = rank([(0, scores)], torch.tensor([0, 3]), domains=domains, top=4)
    assert ranks.top.tolist() == [[4, 2, 0, -1], [5, 3, 1, -1]]
    assert ranks.greater.tolist() == [2, 1]


def test_ranks_in_blocks_keep_the_domain_of_each_query(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(5, (40, 30), generator=generator).float()
    targets = torch.randint(30, (40,), generator=generator)
    domains = torch.randint(3, (30,), generator=generator).to(torch.int16)
    whole = rank([(0, scores)], targets, domains=domains)
    monkeypatch.setattr("hydrarec.evaluate.ranks._BLOCK", 30 * 7)
    pieces = rank([(0, scores[:, :11]), (11, scores[:, 11:])], targets, domains=domains)
    assert torch.equal(whole.greater, pieces.greater)
    assert torch.equal(whole.ties, pieces.ties)


def test_groups_of_domains_with_the_names_of_other_groups_stay_in_order():
    labels = np.array(["domain tail", "domain 100+", "domain head", "item tail", "item head", "history 5-19"])
    assert list(grouped({"x": np.arange(6.0)}, labels)) == [
        "domain 100+",
        "domain head",
        "domain tail",
        "history 5-19",
        "item head",
        "item tail",
    ]


@given(st.integers(0, 2**31), st.integers(1, 4), st.booleans(), st.integers(0, 3))
def test_domains_in_one_piece_are_looked_at_alone_with_the_same_result(seed, n_domains, trained_only, top):
    """However items are numbered: whether each domain stands together, which is faster, or not."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(n_domains, (12,), generator=generator).to(torch.int16)
    scores = torch.randperm(7 * 12, generator=generator).view(7, 12).float() // 3  # ties
    targets = torch.randint(12, (7,), generator=generator)
    seen = torch.randint(7, (9,), generator=generator), torch.randint(12, (9,), generator=generator)
    known = torch.rand(12, generator=generator) < 0.7 if trained_only else None
    cuts = [(0, 5), (5, 12)]

    def of(order):
        """Ranks with the items in another order, and the best in the old one."""
        place = order.argsort()
        found = rank(
            [(a, scores[:, order][:, a:b]) for a, b in cuts],
            place[targets],
            seen=(seen[0], place[seen[1]]),
            candidates=None if known is None else known[order],
            domains=codes[order],
            top=top,
        )
        best = torch.where(found.top < 0, -1, order[found.top.clamp(min=0)])
        value = torch.where(best < 0, -1.0, scores.gather(1, best.clamp(min=0)))
        return found.greater.tolist(), found.ties.tolist(), value.tolist()

    together = codes.argsort(stable=True)
    assert of(together) == of(torch.arange(12)) == of(torch.randperm(12, generator=generator))


@pytest.mark.parametrize("held", [True, False])
def test_a_neural_model_scores_the_items_of_the_targets_domain_and_no_others(monkeypatch, held):
    generator = np.random.default_rng(0)
    offsets = np.cumsum([0, *generator.integers(2, 9, 50)])
    names = ["beauty"] * 30 + ["books"] + ["toys"] * 20
    events = generator.choice(np.flatnonzero(np.array(names) != "books"), offsets[-1])
    dataset = Dataset.from_arrays(events, offsets, item_ids=np.arange(51), item_columns={"domain": names})
    protocol = Protocol.named("hstu", exclude_seen=True)
    parts = split(dataset, protocol)
    model = Hydra.for_data(HydraConfig(d_model=8, n_heads=2, n_layers=1), dataset).eval()
    model.chunk_items = 7  # chunks end inside of domains
    if not held:
        monkeypatch.setattr("hydrarec.evaluate.answers._SCORE_BYTES", 1)
    scored = []
    score = model.score_hidden

    def counted(hidden, *among):
        for first, scores in score(hidden, *among):
            scored.append(tuple(scores.shape))
            yield first, scores

    monkeypatch.setattr(model, "score_hidden", counted)

    def found():
        scored.clear()
        result = evaluate(model, dataset, parts.test, protocol=protocol, train_ends=parts.train_ends, confidence=False)
        return result.greater.tolist(), result.ties.tolist(), sum(rows * n for rows, n in scored)

    *own, pairs = found()
    targets = np.array(names)[dataset.items[parts.test]]
    walks = 1 if held else 2
    assert pairs == walks * ((targets == "beauty").sum() * 30 + (targets == "toys").sum() * 20)
    monkeypatch.setattr("hydrarec.evaluate.evaluate.spans", lambda domains: None)
    assert found() == (*own, walks * len(targets) * 51)
