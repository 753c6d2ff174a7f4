import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydrarec.data.batch import pack
from hydrarec.errors import InputError
from hydrarec.models.contract import Model
from hydrarec.retrieve.exact import top_k


class Fixed(Model):
    """Gives the scores (B, V) it was made with, in chunks."""

    name = "fixed"

    def __init__(self, scores, chunk):
        self.scores, self.chunk, self.n_items = scores, chunk, scores.shape[1]

    def score(self, batch):
        for first in range(0, self.n_items, self.chunk):
            yield first, self.scores[:, first : first + self.chunk]

    def tensors(self):
        return {}

    @classmethod
    def from_tensors(cls, config, n_items, tensors):
        raise NotImplementedError


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
@settings(deadline=None, max_examples=200)
def test_as_a_full_sort_whatever_the_chunks(case, k, chunk, exclude_seen):
    scores, histories, candidates = case
    before = scores.clone()
    rows, best = top_k(
        Fixed(scores, chunk),
        pack([np.array(history) for history in histories]),
        k,
        exclude_seen=exclude_seen,
        candidates=None if candidates is None else torch.tensor(candidates, dtype=torch.int64),
    )
    expected_rows, expected_best = by_full_sort(scores, histories, k, exclude_seen, candidates)
    assert rows.tolist() == expected_rows.tolist()
    assert best.tolist() == expected_best.tolist()
    assert (rows.dtype, best.dtype) == (torch.int64, torch.float32)
    assert torch.equal(scores.nan_to_num(), before.nan_to_num())  # the model's own tensor is left alone


def test_a_larger_catalog():
    scores = torch.randn(20, 3000, generator=torch.Generator().manual_seed(0)).bfloat16()  # many ties
    histories = [np.array([user]) for user in range(20)]
    for chunk in (3000, 700):
        rows, best = top_k(Fixed(scores, chunk), pack(histories), 50)
        expected_rows, expected_best = by_full_sort(scores.float(), histories, 50, False, None)
        assert rows.tolist() == expected_rows.tolist()
        assert best.tolist() == expected_best.tolist()


def test_bad_requests():
    model, batch = Fixed(torch.zeros(1, 3), 3), pack([np.array([0])])
    with pytest.raises(InputError, match="k is 0"):
        top_k(model, batch, 0)
    for row in (-1, 3):
        with pytest.raises(InputError, match=f"candidate row {row} is outside the catalog of 3"):
            top_k(model, batch, 1, candidates=torch.tensor([1, row]))
