import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.errors import HydrarecError
from hydrarec.evaluate.ranks import MISSED, rank

SCORES = torch.tensor([[3.0, 1.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])


def test_greater_and_ties_by_hand():
    ranks = rank([(0, SCORES)], torch.tensor([2, 4]), top=3)
    assert ranks.greater.tolist() == [1, 0]
    assert ranks.ties.tolist() == [1, 4]
    assert ranks.top[0].tolist()[0] == 0
    assert sorted(ranks.top[0].tolist()[1:]) == [2, 3]


def test_seen_items_leave_but_the_target_stays():
    seen = (torch.tensor([0, 0, 0, 1]), torch.tensor([0, 3, 2, 1]))  # query 0 has seen its own target, 2
    ranks = rank([(0, SCORES)], torch.tensor([2, 4]), seen=seen, top=5)
    assert ranks.greater.tolist() == [0, 0]
    assert ranks.ties.tolist() == [0, 3]
    assert ranks.top[0].tolist() == [2, 1, 4, -1, -1]
    assert 1 not in ranks.top[1].tolist()


def test_a_target_outside_the_candidates_is_missed():
    candidates = torch.tensor([True, True, False, True, False])
    ranks = rank([(0, SCORES)], torch.tensor([2, 3]), candidates=candidates, top=4)
    assert ranks.greater.tolist() == [MISSED, 0]
    assert ranks.ties.tolist() == [0, 2]
    assert ranks.top[0].tolist() == [0, 3, 1, -1]


def test_nan_is_refused():
    with pytest.raises(HydrarecError, match="not a number"):
        rank([(0, torch.tensor([[0.0, torch.nan]]))], torch.tensor([0]))


@settings(max_examples=40)
@given(data=st.data(), n_items=st.integers(2, 30), n_queries=st.integers(1, 6), levels=st.integers(1, 30))
def test_chunks_do_not_matter(data, n_items, n_queries, levels):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    scores = torch.randint(levels, (n_queries, n_items), generator=generator).float()
    targets = torch.randint(n_items, (n_queries,), generator=generator)
    seen = (torch.arange(n_queries).repeat(3), torch.randint(n_items, (3 * n_queries,), generator=generator))
    candidates = torch.rand(n_items, generator=generator) < 0.8
    size = data.draw(st.integers(1, n_items))
    chunks = [(first, scores[:, first : first + size]) for first in range(0, n_items, size)]
    rules = {"seen": seen, "candidates": candidates, "top": 4}
    whole, pieces = rank([(0, scores)], targets, **rules), rank(chunks, targets, **rules)
    anew = rank(lambda: iter(chunks), targets, **rules)
    assert all(torch.equal(getattr(anew, name), getattr(pieces, name)) for name in ("greater", "ties", "top"))
    assert torch.equal(whole.greater, pieces.greater)
    assert torch.equal(whole.ties, pieces.ties)
    best = [torch.where(r.top < 0, -1.0, scores.gather(1, r.top.clamp(min=0))) for r in (whole, pieces)]
    assert torch.equal(*best)  # tied items may change places

    for query in range(n_queries):  # the definition, item by item
        target = int(targets[query])
        left = {int(i) for q, i in zip(*seen, strict=True) if q == query} - {target}
        others = [i for i in range(n_items) if candidates[i] and i not in left and i != target]
        if candidates[target]:
            assert whole.greater[query] == sum(bool(scores[query, i] > scores[query, target]) for i in others)
            assert whole.ties[query] == sum(bool(scores[query, i] == scores[query, target]) for i in others)
        else:
            assert whole.greater[query] == MISSED
