"""An index proposes what exact search finds."""

import sys

import numpy as np
import pytest
import torch

from hydrarec.errors import InputError
from hydrarec.retrieve.approximate import Index, require_faiss
from hydrarec.retrieve.exact import top_k

V, D, CHUNK = 4_000, 16, 1_500


def made(seed=0):
    """Unit vectors (V, D) in 40 clusters, and 50 queries near some of them."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(40, D, generator=draw)
    vectors = centres[torch.randint(40, (V,), generator=draw)] + 0.5 * torch.randn(V, D, generator=draw)
    queries = vectors[:50] + 0.3 * torch.randn(50, D, generator=draw)
    return torch.nn.functional.normalize(vectors), torch.nn.functional.normalize(queries)


def chunks(vectors):
    return lambda: zip(range(0, V, CHUNK), vectors.split(CHUNK), strict=True)


def test_it_proposes_the_best_and_never_what_was_left_out():
    pytest.importorskip("faiss")
    vectors, queries = made()
    removed = np.zeros(V, bool)
    removed[::7] = True
    index = Index(chunks(vectors), V, removed)
    assert (len(index), index.left_out.tolist()) == (V - removed.sum(), np.flatnonzero(removed).tolist())
    index.probes = index.clusters
    found = index.search(queries, 80)
    assert found.shape == (50, 80)
    assert not removed[found.numpy()].any()
    scores = (queries @ vectors.T).masked_fill(torch.from_numpy(removed), -torch.inf)
    best, _ = top_k([(0, scores)], 50, 20, n_items=V)
    assert np.mean([len({*a} & {*b}) / 20 for a, b in zip(best.tolist(), found.tolist(), strict=True)]) > 0.97


def test_where_there_are_less_the_rest_is_no_row():
    pytest.importorskip("faiss")
    vectors, queries = made()
    index = Index(chunks(vectors), V, np.zeros(V, bool))
    found = index.search(queries, V)  # one cluster has not as many
    counts = (found >= 0).sum(1)
    assert counts.min() > 0
    assert counts.max() < V
    for row, count in zip(found, counts, strict=True):
        assert (row[count:] == -1).all()
        assert len({*row[:count].tolist()}) == count


def test_without_faiss_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'hydrarec\[ann\]'"):
        require_faiss()
