import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.errors import InputError
from hydrarec.retrieve.exact import top_k


def chunked(scores, chunk):
    for first in range(0, scores.shape[1], chunk):
        yield first, scores[:, first : first + chunk]


def pairs(histories):
    users = [user for user, history in enumerate(histories) for _ in history]
    return torch.tensor(users), torch.tensor([item for history in histories for item in history])


def by_full_sort(scores, histories, k, exclude_seen, candidates):
    rows, best = np.full((len(scores), k), -1), np.full((len(scores), k), -np.inf, np.float32)
    for user, given_scores in enumerate(scores.tolist()):
        allowed = set(range(scores.shape[1])) if candidates is None else set(candidates)
        if exclude_seen:
            allowed -= set(histories[user])
        ranked = sorted((-given_scores[item], item) for item in allowed if given_scores[item] > -np.inf)[:k]
        for place, (score, item) in enumerate(ranked):
            rows[user, place], best[user, place] = item, -score
    return rows, best


@st.composite
def cases(draw):
    users, items = draw(st.integers(1, 4)), draw(st.integers(1, 30))
    # Few levels, so that ties are everywhere, at every edge.
    level = st.sampled_from([-1.0, 0.0, 0.5, 0.5, 2.0, -np.inf, np.nan])
    row = st.lists(level, min_size=items, max_size=items)
    scores = torch.tensor(draw(st.lists(row, min_size=users, max_size=users)))
    item = st.integers(0, items - 1)
    histories = draw(st.lists(st.lists(item, min_size=1, max_size=5), min_size=users, max_size=users))
    return scores, histories, draw(st.none() | st.lists(item, max_size=12))


@given(cases(), st.integers(1, 35), st.integers(1, 31), st.booleans())
@settings(max_examples=200)
def test_as_a_full_sort_whatever_the_chunks(case, k, chunk, exclude_seen):
    scores, histories, candidates = case
    before = scores.clone()
    rows, best = top_k(
        chunked(scores, chunk),
        len(scores),
        k,
        n_items=scores.shape[1],
        seen=pairs(histories) if exclude_seen else None,
        candidates=None if candidates is None else torch.tensor(candidates, dtype=torch.int64),
    )
    expected_rows, expected_best = by_full_sort(scores, histories, k, exclude_seen, candidates)
    assert rows.tolist() == expected_rows.tolist()
    assert best.tolist() == expected_best.tolist()
    assert (rows.dtype, best.dtype) == (torch.int64, torch.float32)
    assert torch.equal(scores.nan_to_num(), before.nan_to_num())  # the model's own tensor is left alone


def test_a_larger_catalog():
    scores = torch.randn(20, 3000, generator=torch.Generator().manual_seed(0)).bfloat16()  # many ties
    for chunk in (3000, 700):
        rows, best = top_k(chunked(scores, chunk), 20, 50, n_items=3000)
        expected_rows, expected_best = by_full_sort(scores.float(), None, 50, False, None)
        assert rows.tolist() == expected_rows.tolist()
        assert best.tolist() == expected_best.tolist()


def test_bad_requests():
    scores = torch.zeros(1, 3)
    with pytest.raises(InputError, match="k is 0"):
        top_k(chunked(scores, 3), 1, 0, n_items=3)
    for row in (-1, 3):
        with pytest.raises(InputError, match=f"candidate row {row} is outside the catalog of 3"):
            top_k(chunked(scores, 3), 1, 1, n_items=3, candidates=torch.tensor([1, row]))


@settings(max_examples=60)
@given(st.integers(1, 700), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_many_columns_with_ties_and_without_numbers(n, k, seed):
    """As sorting all of a row: blocks of columns, the last one shorter, hide nothing and prefer nobody."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 5, (3, n), generator=draw).float()
    scores[torch.rand(3, n, generator=draw) < 0.05] = torch.nan
    scores[torch.rand(3, n, generator=draw) < 0.02] = torch.inf
    scores[0] = torch.arange(n).float()
    before = scores.clone()
    seen = torch.rand(3, n, generator=draw) < 0.2
    clean = torch.where(seen | scores.isnan(), -torch.inf, scores)
    values, order = clean.sort(dim=1, descending=True, stable=True)
    found = min(k, n)
    rows, best = top_k([(0, scores)], 3, k, n_items=n, seen=tuple(seen.nonzero().T))
    assert best[:, :found].equal(values[:, :found])
    assert rows[:, :found].equal(torch.where(values == -torch.inf, -1, order)[:, :found])
    assert scores.nan_to_num(7).equal(before.nan_to_num(7))  # what the model gave is as it was
