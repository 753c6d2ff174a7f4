from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import (
    retrieval_hit_rate,
    retrieval_normalized_dcg,
    retrieval_reciprocal_rank,
)

from hydrarec.evaluate.metrics import accuracy, hit_rate, mrr, ndcg
from hydrarec.evaluate.ranks import MISSED, rank


def test_by_hand():
    greater, ties = np.array([0, 2, 9, 0, MISSED]), np.array([0, 0, 0, 1, 0])
    assert hit_rate(greater, ties, 1).tolist() == [1, 0, 0, 0.5, 0]
    assert hit_rate(greater, ties, 3).tolist() == [1, 1, 0, 1, 0]
    assert ndcg(greater, ties, 3) == pytest.approx([1, 0.5, 0, (1 + 1 / np.log2(3)) / 2, 0])
    assert mrr(greater, ties) == pytest.approx([1, 1 / 3, 0.1, 0.75, 0])
    assert mrr(greater, ties, 1) == pytest.approx([1, 0, 0, 0.5, 0])


def test_independent_implementation():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(50, 120, generator=generator)
    targets = torch.randint(120, (50,), generator=generator)
    ranks = rank([(0, scores)], targets)
    assert not ranks.ties.any()
    values = accuracy(ranks.greater.numpy(), ranks.ties.numpy(), (1, 5, 10, 50))
    for query in range(50):
        relevant = torch.zeros(120, dtype=torch.bool)
        relevant[targets[query]] = True
        for k in (1, 5, 10, 50):
            hit = retrieval_hit_rate(scores[query], relevant, top_k=k)
            gain = retrieval_normalized_dcg(scores[query], relevant, top_k=k)
            assert values[f"HR@{k}"][query] == hit
            reciprocal = retrieval_reciprocal_rank(scores[query], relevant, top_k=k)
            assert values[f"NDCG@{k}"][query] == pytest.approx(float(gain), abs=1e-6)
            assert values[f"MRR@{k}"][query] == pytest.approx(float(reciprocal))
        expected = retrieval_reciprocal_rank(scores[query], relevant)
        assert values["MRR"][query] == pytest.approx(float(expected))


@settings(max_examples=50)
@given(n_items=st.integers(1, 500), k=st.integers(1, 600))
def test_a_constant_scorer_gets_exactly_chance(n_items, k):
    ranks = rank([(0, torch.full((2, n_items), 7.0))], torch.tensor([0, n_items - 1]))
    greater, ties = ranks.greater.numpy(), ranks.ties.numpy()
    places = np.arange(1, n_items + 1)
    assert (hit_rate(greater, ties, k) == min(k, n_items) / n_items).all()
    assert ndcg(greater, ties, k) == pytest.approx(np.sum(1 / np.log2(1 + places[:k])) / n_items)
    assert mrr(greater, ties) == pytest.approx(np.sum(1 / places) / n_items)


@settings(max_examples=30)
@given(scores=st.lists(st.integers(0, 2), min_size=1, max_size=6), k=st.integers(1, 7))
def test_ties_are_the_average_over_all_orders(scores, k):
    ranks = rank([(0, torch.tensor([scores]).float())], torch.tensor([0]))
    greater, ties = ranks.greater.numpy(), ranks.ties.numpy()
    orders = list(permutations(range(len(scores))))
    places = [1 + sorted(order, key=lambda item: -scores[item]).index(0) for order in orders]
    assert hit_rate(greater, ties, k)[0] == pytest.approx(np.mean([p <= k for p in places]))
    assert ndcg(greater, ties, k)[0] == pytest.approx(np.mean([(p <= k) / np.log2(1 + p) for p in places]))
    assert mrr(greater, ties)[0] == pytest.approx(np.mean([1 / p for p in places]))
    assert mrr(greater, ties, k)[0] == pytest.approx(np.mean([(p <= k) / p for p in places]))
