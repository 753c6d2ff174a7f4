"""An index proposes what exact search finds."""

import json
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from hydrarec.errors import InputError
from hydrarec.retrieve.approximate import Index, index_bytes, n_clusters, require_faiss
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


SIZES = (6_000, 20_000, 60_000)
MEASURE = """
import ctypes, gc, json, sys
import numpy as np
import torch
from hydrarec.retrieve import approximate

class Heap(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Heap

def built(n):
    vectors = torch.randn(n, 16, generator=torch.Generator().manual_seed(1))
    chunks = lambda: zip(range(0, n, 4_000), vectors.split(4_000))
    before = in_use()
    index = approximate.Index(chunks, n, np.zeros(n, bool))
    gc.collect()
    return in_use() - before, len(approximate.require_faiss().serialize_index(index._index))

def in_use():
    gc.collect()
    found = libc.mallinfo2()
    return found.uordblks + found.hblkhd

approximate._ROUNDS, approximate._SAMPLE = 1, 40  # clusters may be poor; their sizes differ all the same
torch.set_num_threads(1)
built(2_000)  # what is made once
print(json.dumps([built(n) for n in map(int, sys.argv[1:])]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks the allocator of glibc")
def test_memory_of_three_sizes():
    pytest.importorskip("faiss")
    command = [sys.executable, "-c", MEASURE, *map(str, SIZES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for n, (used, written) in zip(SIZES, json.loads(done.stdout), strict=True):
        assert index_bytes(n, 16) == pytest.approx(used, rel=0.15)
        held = n * (16 // 2 + 8) + n_clusters(n) * (4 * 16 + 16 * 16 // 2)  # lists end in half a block of 32
        assert held == pytest.approx(written, rel=0.05)
